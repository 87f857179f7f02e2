"""Masks to polygons, and back.

Coordinates are pixel corners: x to the right, y down, floats, (0, 0) the outer corner of the top
left pixel; pixel (row r, column c) is the unit square from (c, r) to (c + 1, r + 1) and its centre
is (c + 0.5, r + 0.5). Rings are not closed: the last point differs from the first. Exterior rings
run clockwise on screen, holes counter-clockwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geometry.arrays import FloatArray, IntArray, Outlines
from geometry.regions import simplified
from geometry.rings import Rings, large_rings, ring_areas, trace

Point = tuple[float, float]
Ring = list[Point]
Topology = Literal["independent", "shared"]

DEFAULT_TOLERANCE = 2.0
_EXACT_BELOW = 0.1
_PRICE = 5.6e-4
_PRICE_AREA = 200


@dataclass(frozen=True)
class Polygon:
    """One connected region: an exterior ring and the rings of its holes.

    Attributes:
        exterior: (x, y) points in pixel-corner coordinates, clockwise on screen, not closed.
        holes: rings of the same kind, counter-clockwise on screen.
    """

    exterior: Ring
    holes: list[Ring] = field(default_factory=list)


def mask_to_polygons(
    mask: NDArray[np.bool_],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    max_vertices: int | None = None,
    min_area: float = 0.0,
) -> list[Polygon]:
    """Outline a mask: one polygon per 4-connected piece, largest first.

    Args:
        mask: (H, W) bool.
        tolerance: pixels the outline may stray from the pixel edges; 0 gives the exact outline.
        max_vertices: most vertices a ring may have (at least 3), or None for no limit.
        min_area: pieces of fewer pixels than this are left out.

    Raises:
        ValueError: the mask is not two-dimensional, or an option is out of range.

    >>> import numpy as np
    >>> mask = np.zeros((4, 5), bool)
    >>> mask[1:3, 1:4] = True
    >>> mask_to_polygons(mask, tolerance=0)[0].exterior
    [(1.0, 1.0), (4.0, 1.0), (4.0, 3.0), (1.0, 3.0)]
    """
    found = label_map_to_polygons(
        np.asarray(mask, dtype=np.bool_).view(np.uint8),
        tolerance=tolerance,
        max_vertices=max_vertices,
        min_area=min_area,
    )
    return found.get(1, [])


def label_map_to_polygons(
    labels: NDArray[np.uint8],
    *,
    topology: Topology = "independent",
    tolerance: float = DEFAULT_TOLERANCE,
    max_vertices: int | None = None,
    min_area: float = 0.0,
) -> dict[int, list[Polygon]]:
    """Outline every label of a label map; label 0 is background and has no polygons.

    Args:
        labels: (H, W) uint8.
        topology: "independent" outlines each piece by itself; "shared" leaves no gap and no
            overlap between neighbours (for now by giving the exact outlines).
        tolerance, max_vertices, min_area: as in `mask_to_polygons`.

    Returns:
        Label to its polygons, largest first; labels that are not in the map are missing.

    >>> import numpy as np
    >>> labels = np.array([[1, 1, 2], [1, 1, 2]], np.uint8)
    >>> label_map_to_polygons(labels, tolerance=0)[2][0].exterior
    [(2.0, 0.0), (3.0, 0.0), (3.0, 2.0), (2.0, 2.0)]
    """
    _check(tolerance, max_vertices, topology)
    rings = large_rings(trace(labels, neighbours=topology == "shared"), min_area)
    height, width = labels.shape
    points, offsets = _outlines(rings, tolerance, max_vertices, (width, height))
    return _by_label(rings, points, offsets)


def _by_label(rings: Rings, points: FloatArray, offsets: IntArray) -> dict[int, list[Polygon]]:
    """Make polygons of ring points; within a label they stay in order."""
    ring_of_region: dict[int, list[Ring]] = {}
    flat: list[Point] = [(x, y) for x, y in points.tolist()]
    bounds = offsets.tolist()
    for ring, region in enumerate(rings.regions.tolist()):
        if bounds[ring] < bounds[ring + 1]:  # a hole that had to go is empty
            ring_of_region.setdefault(region, []).append(flat[bounds[ring] : bounds[ring + 1]])
    result: dict[int, list[Polygon]] = {}
    for region, label in enumerate(rings.labels.tolist()):
        exterior, *holes = ring_of_region[region]
        result.setdefault(label, []).append(Polygon(exterior, holes))
    return result


def polygon_area(polygon: Polygon) -> float:
    """Area in pixels, holes taken off.

    >>> polygon_area(Polygon([(0, 0), (4, 0), (4, 3), (0, 3)], [[(1, 1), (1, 2), (2, 2), (2, 1)]]))
    11.0
    """
    return _ring_area(polygon.exterior) - sum(_ring_area(hole) for hole in polygon.holes)


def bounding_box(polygons: Iterable[Polygon]) -> tuple[float, float, float, float] | None:
    """Smallest box (x0, y0, x1, y1) around the polygons, or None if there are none.

    >>> bounding_box([Polygon([(0, 1), (2, 1), (2, 5)]), Polygon([(7, 0), (9, 0), (9, 2)])])
    (0.0, 0.0, 9.0, 5.0)
    """
    exteriors = [point for polygon in polygons for point in polygon.exterior]
    if not exteriors:
        return None
    points = np.asarray(exteriors, np.float64)
    x0, y0 = points.min(axis=0).tolist()
    x1, y1 = points.max(axis=0).tolist()
    return x0, y0, x1, y1


def rasterize(polygons: Iterable[Polygon], height: int, width: int) -> NDArray[np.bool_]:
    """Draw polygons into a mask: a pixel is set if its centre lies inside any of them.

    A centre exactly on an edge counts as inside on the left and top edges of a region and as
    outside on the right and bottom ones, so polygons that share an edge never share a pixel.
    Parts outside the mask are cut off.

    Returns:
        (height, width) bool.

    >>> rasterize([Polygon([(0, 0), (2, 0), (2, 1), (0, 1)])], 2, 3).astype(int)
    array([[1, 1, 0],
           [0, 0, 0]])
    """
    mask = np.zeros((height, width), np.bool_)
    for polygon in polygons:
        rings = [np.asarray(ring, np.float64) for ring in (polygon.exterior, *polygon.holes)]
        _fill(mask, rings)
    return mask


def _fill(mask: NDArray[np.bool_], rings: list[FloatArray]) -> None:
    """Set the pixels whose centres lie inside an odd number of the rings (scan conversion)."""
    height, width = mask.shape
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    top_y, bottom_y = start[:, 1].min(), start[:, 1].max()
    first, last = (int(np.clip(np.ceil(y - 0.5), 0, height)) for y in (top_y, bottom_y))
    low = np.clip(np.ceil(np.minimum(start[:, 1], end[:, 1]) - 0.5), first, last).astype(np.int64)
    high = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1]) - 0.5), first, last).astype(np.int64)
    count = high - low
    edge = np.repeat(np.arange(len(start)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + low[edge]
    slope = (end - start)[edge]
    x = start[edge, 0] + (row + 0.5 - start[edge, 1]) * slope[:, 0] / slope[:, 1]
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    crossings = np.zeros((last - first, width + 1), np.uint8)
    np.add.at(crossings, (row - first, column), 1)
    mask[first:last] |= (np.cumsum(crossings, axis=1, dtype=np.uint8)[:, :width] & 1).view(np.bool_)


def _ring_area(ring: Ring) -> float:
    """Unsigned shoelace area of one ring."""
    points = np.asarray(ring, np.float64)
    return abs(float(ring_areas(points, np.array([0, len(points)]))[0]))


def _check(tolerance: float, max_vertices: int | None, topology: str) -> None:
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance must be a number of pixels from 0 up, not {tolerance}")
    if max_vertices is not None and max_vertices < 3:
        raise ValueError(f"max_vertices must be at least 3, not {max_vertices}")
    if topology not in ("independent", "shared"):
        raise ValueError(f"topology must be 'independent' or 'shared', not {topology!r}")


def _outlines(
    rings: Rings, tolerance: float, max_vertices: int | None, size: tuple[int, int]
) -> Outlines:
    """Simplify all rings; see `label_map_to_polygons`."""
    if not len(rings.areas) or (tolerance < _EXACT_BELOW and max_vertices is None):
        return rings.corners.astype(np.float64), rings.offsets
    of_label = np.bincount(rings.labels, rings.sizes).astype(np.float64)
    area = of_label[rings.labels[rings.regions]]
    price = _PRICE * max(tolerance, _EXACT_BELOW) * (area + _PRICE_AREA)
    most = len(rings.corners) if max_vertices is None else max_vertices
    return simplified(rings, price, tolerance, most, size)
