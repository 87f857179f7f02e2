"""Compare polygons of this service and of other methods: fit to the masks, number of vertices.

    python -m benchmarks.polygon_accuracy ANNOTATIONS.json [--every N] [--masks coco|centres]

ANNOTATIONS.json is a COCO file with polygons, e.g. of https://github.com/dsmlr/Car-Parts-Segmentation
(the printed figures are on its 400 training photos, 3,073 parts). Needs matplotlib and pycocotools.
Writes polygon_accuracy.md and polygon_accuracy.png to the folder of this script.

IoU is of exact areas: the geometric area of the polygon against the region that the pixels cover.
The other methods are rebuilt here from their descriptions, with the options of their tools.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contourpy
import cv2
import numpy as np
import shapely
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from pycocotools import mask as coco

from poligons_from_seg import Polygon, mask_to_polygons, rasterize

HERE = Path(__file__).parent

Mask = NDArray[np.bool_]
Shapes = list[shapely.Polygon]
Way = Callable[[Mask], Shapes]

OURS = (0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0)
GOALS = ((16, 0.980), (24, 0.985))


@dataclass(frozen=True)
class Part:
    """One annotated part: its mask, cut to its box, and the annotator's polygons in it."""

    mask: Mask
    drawn: Shapes


@dataclass(frozen=True)
class Row:
    """The figures of one method over all parts."""

    name: str
    family: str
    iou: float
    low: float
    small: float
    per_mask: float
    per_polygon: float
    invalid: int


def read_parts(path: Path, every: int, coco_masks: bool) -> Iterator[Part]:
    """Read the parts of a COCO file, drawn as pycocotools does or by the pixel-centre rule."""
    content = json.loads(path.read_text())
    sizes = {str(i["id"]): (int(i["height"]), int(i["width"])) for i in content["images"]}
    for annotation in content["annotations"][::every]:
        rings = annotation["segmentation"]
        rings = json.loads(rings) if isinstance(rings, str) else rings
        height, width = sizes[str(annotation["image_id"])]
        points = [np.reshape(ring, (-1, 2)).astype(float) for ring in rings]
        if coco_masks:
            encoded = coco.merge(coco.frPyObjects(rings, height, width))
            mask = coco.decode(encoded).astype(np.bool_)
        else:
            mask = rasterize(
                [Polygon([(x, y) for x, y in p.tolist()]) for p in points], height, width
            )
        if mask.any():
            x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
            shapes = [shapely.Polygon(ring - (x, y)) for ring in points]
            yield Part(mask[y : y + h, x : x + w], shapes)


# The methods


def shapes_of(polygons: Iterable[Polygon]) -> Shapes:
    return [shapely.Polygon(polygon.exterior, polygon.holes) for polygon in polygons]


def ours(tolerance: float) -> Way:
    return lambda mask: shapes_of(mask_to_polygons(mask, tolerance=tolerance))


def of_rings(rings: Iterable[NDArray[Any]]) -> Shapes:
    return [shapely.Polygon(ring) for ring in rings if len(ring) >= 3]


def cv2_outlines(mask: Mask, mode: int) -> list[NDArray[Any]]:
    return list(cv2.findContours(mask.view(np.uint8), mode, cv2.CHAIN_APPROX_SIMPLE)[0])


def supervision_like(mask: Mask) -> Shapes:
    """Return all outlines of cv2 unchanged, with holes as separate polygons."""
    return of_rings(ring[:, 0] for ring in cv2_outlines(mask, cv2.RETR_TREE))


def label_studio_like(mask: Mask, epsilon: float = 1.5, shift: float = 0.0) -> Shapes:
    """Return the outer outlines of cv2 after approxPolyDP."""
    rings = cv2_outlines(mask, cv2.RETR_EXTERNAL)
    return of_rings(cv2.approxPolyDP(ring, epsilon, True)[:, 0] + shift for ring in rings)


def iso_lines(mask: Mask, level: float) -> list[NDArray[np.float64]]:
    """Return sub-pixel outlines of the padded mask, in pixel-corner coordinates, closed."""
    lines = contourpy.contour_generator(z=np.pad(mask, 1).astype(float)).lines(level)
    return [np.asarray(line, np.float64) - 0.5 for line in lines]


def iso_line_way(level: float, tolerance: float) -> Way:
    """Return a method: sub-pixel outlines, then Douglas-Peucker; inner rings are holes."""

    def way(mask: Mask) -> Shapes:
        found: Any = shapely.Polygon()
        for line in iso_lines(mask, level):
            ring = np.asarray(shapely.LineString(line).simplify(tolerance).coords)
            if len(ring) >= 4:
                found = found.symmetric_difference(shapely.Polygon(ring).buffer(0))
        return [shape for shape in shapely.get_parts(found).tolist() if shape.area]

    return way


def pixel_edge_way(simplify: Callable[[shapely.Polygon], Any]) -> Way:
    def way(mask: Mask) -> Shapes:
        return [simplify(shape) for shape in shapes_of(mask_to_polygons(mask, tolerance=0))]

    return way


def visvalingam(tolerance: float) -> Way:
    return pixel_edge_way(lambda shape: shapely.coverage_simplify(shape, tolerance))


def peucker(tolerance: float) -> Way:
    return pixel_edge_way(lambda shape: shapely.simplify(shape, tolerance))


WAYS: list[tuple[str, str, Way]] = [
    ("cv2 outlines as they are (supervision)", "cv2", supervision_like),
    ("cv2 + approxPolyDP 1.5 (Label Studio)", "cv2", label_studio_like),
    ("the same, moved by half a pixel", "cv2", lambda mask: label_studio_like(mask, shift=0.5)),
    ("cv2 + approxPolyDP 3", "cv2", lambda mask: label_studio_like(mask, 3.0)),
    ("iso-line at .8 + Douglas-Peucker 2.5 (CVAT)", "CVAT", iso_line_way(0.8, 2.5)),
    *[
        (f"iso-line at .5, padded + Douglas-Peucker {t:g}", "iso-line + DP", iso_line_way(0.5, t))
        for t in (0.75, 1.0, 1.25, 1.5)
    ],
    *[
        (f"pixel edges + Douglas-Peucker {t:g}", "pixel edges + DP", peucker(t))
        for t in (1.0, 1.5, 2.5)
    ],
    *[
        (f"pixel edges + Visvalingam-Whyatt {t:g}", "pixel edges + VW", visvalingam(t))
        for t in (1.5, 3.0, 5.0)
    ],
    *[(f"**this service, tolerance {t:g}**", "this service", ours(t)) for t in OURS],
]


# Measuring


def overlaps(found: list[Shapes], regions: NDArray[Any]) -> NDArray[np.float64]:
    """Return the IoU of each part; invalid polygons are repaired first, and counted elsewhere."""
    united = [shapely.union_all([shape.buffer(0) for shape in shapes]) for shapes in found]
    shapes = np.array(united, object)
    common = shapely.area(shapely.intersection(shapes, regions))
    return np.asarray(common / (shapely.area(shapes) + shapely.area(regions) - common))


def row(name: str, family: str, found: list[Shapes], regions: NDArray[Any]) -> Row:
    flat = [shape for shapes in found for shape in shapes]
    overlap = overlaps(found, regions)
    vertices = sum(shapely.get_num_coordinates(s) - 1 - len(s.interiors) for s in flat)
    return Row(
        name=name,
        family=family,
        iou=float(overlap.mean()),
        low=float(np.quantile(overlap, 0.05)),
        small=float(overlap[shapely.area(regions) < 32 * 32].mean()),
        per_mask=vertices / len(found),
        per_polygon=vertices / len(flat),
        invalid=sum(not shape.is_valid for shape in flat),
    )


def measured(parts: list[Part]) -> list[Row]:
    exact = [shapes_of(mask_to_polygons(part.mask, tolerance=0)) for part in parts]
    regions = np.array([shapely.MultiPolygon(shapes) for shapes in exact], object)
    rows = [row("the annotators' own polygons", "annotators", [p.drawn for p in parts], regions)]
    for name, family, way in WAYS:
        rows.append(row(name, family, [way(part.mask) for part in parts], regions))
        print(f"{rows[-1].name:50} {rows[-1].iou:.4f} {rows[-1].per_polygon:6.1f}", flush=True)
    return rows


def drawn_by_others(parts: list[Part]) -> list[tuple[str, float]]:
    """Return the pixel IoU of our default polygons when other tools draw them."""
    found = [mask_to_polygons(part.mask) for part in parts]

    def by_coco(part: Part, polygons: list[Polygon]) -> Mask:
        rings = [np.ravel(polygon.exterior).tolist() for polygon in polygons]
        drawn: Mask = coco.decode(coco.merge(coco.frPyObjects(rings, *part.mask.shape))) > 0
        return drawn

    def by_cv2(part: Part, polygons: list[Polygon]) -> Mask:
        canvas = np.zeros(part.mask.shape, np.uint8)
        for polygon in polygons:
            # pixel centres, rounded: cv2 draws the pixels on the outline too
            ring = np.round(np.asarray(polygon.exterior) - 0.5).astype(np.int32)
            cv2.fillPoly(canvas, [ring], 1)
        return canvas > 0

    def by_centres(part: Part, polygons: list[Polygon]) -> Mask:
        return rasterize(polygons, *part.mask.shape)

    drawers = {
        "pixel centres (`rasterize`)": by_centres,
        "pycocotools": by_coco,
        "cv2.fillPoly, half a pixel off and rounded": by_cv2,
    }
    return [
        (
            name,
            float(
                np.mean(
                    [
                        (drawn & part.mask).sum() / (drawn | part.mask).sum()
                        for part, polygons in zip(parts, found, strict=True)
                        for drawn in [drawer(part, polygons)]
                    ]
                )
            ),
        )
        for name, drawer in drawers.items()
    ]


# Writing

NOTES = """\
IoU is of exact areas: the polygon as geometry against the region that the pixels cover. No way can
tell a true outline from the steps of its pixels: what goes beyond the annotators' own polygons is
closeness to the mask, not to the car.

Outlines through pixel centres lose half a pixel all around, which some drawing functions add
again. So these are our polygons at the default tolerance, drawn into pixels by others:"""


def table(rows: list[Row], others: list[tuple[str, float]], about: str) -> str:
    lines = [
        "# Polygons: overlap against number of vertices",
        "",
        about,
        "",
        "| way | mean IoU | 5th percentile | below 32² px | vertices per mask "
        "| per polygon | invalid |",
        "|---|---|---|---|---|---|---|",
        *[
            f"| {r.name} | {r.iou:.4f} | {r.low:.4f} | {r.small:.4f} | {r.per_mask:.1f} "
            f"| {r.per_polygon:.1f} | {r.invalid} |"
            for r in rows
        ],
        "",
        "![IoU against vertices](polygon_accuracy.png)",
        "",
        NOTES,
        "",
        "| drawn by | mean IoU of pixels |",
        "|---|---|",
        *[f"| {name} | {value:.4f} |" for name, value in others],
        "",
    ]
    return "\n".join(lines)


def plot(rows: list[Row], path: Path) -> None:
    """Plot IoU against vertices per polygon; each family of methods has one colour."""
    families = list(dict.fromkeys(r.family for r in rows))
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for number, family in enumerate(families):
        members = sorted((r.per_polygon, r.iou) for r in rows if r.family == family)
        counts, overlap = zip(*members, strict=True)
        width = 2.5 if family == "this service" else 1.0
        axes.plot(counts, overlap, "o-", label=family, color=f"C{number}", linewidth=width)
    for goal in GOALS:
        axes.plot(*goal, "k+", markersize=12, markeredgewidth=1.5, zorder=4)
    axes.plot([], [], "k+", label="goals")
    axes.set(xscale="log", xlabel="vertices per polygon (mean)", ylabel="IoU (mean)")
    ticks = (8, 12, 16, 24, 32, 48, 64, 128)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every n-th part only")
    parser.add_argument("--masks", choices=("coco", "centres"), default="coco")
    options = parser.parse_args()
    parts = list(read_parts(options.annotations, options.every, options.masks == "coco"))
    rows = measured(parts)
    way = "as pycocotools does" if options.masks == "coco" else "by the pixel-centre rule"
    about = (
        f"{len(parts):,} parts of {options.annotations.name}, drawn into masks {way}, median area "
        f"{np.median([part.mask.sum() for part in parts]):,.0f} px. Made by `polygon_accuracy.py`."
    )
    (HERE / "polygon_accuracy.md").write_text(table(rows, drawn_by_others(parts), about))
    plot(rows, HERE / "polygon_accuracy.png")


if __name__ == "__main__":
    main()
