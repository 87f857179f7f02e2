"""Convert masks to polygons and back. All functions are pure and thread-safe.

Coordinates are pixel corners: x to the right, y down, floats, (0, 0) the outer corner of the top
left pixel; pixel (row r, column c) is the unit square from (c, r) to (c + 1, r + 1) and its centre
is (c + 0.5, r + 0.5). Rings are not closed: the last point differs from the first. Exterior rings
run clockwise on screen, holes counter-clockwise. Coordinates have at most two decimals.

A piece of a mask is 4-connected: pixels that touch only at a corner belong to different pieces.
Every polygon is valid in the sense of the OGC simple feature model, for any mask and any options.

The package ``geometry`` implements the steps, one per module.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geometry.arrays import FloatArray, IntArray, Outlines, ragged_ranges
from geometry.regions import simplified
from geometry.rings import Rings, label_boxes, large_rings, ring_areas, trace
from options import Topology

Point = tuple[float, float]
Ring = list[Point]

DEFAULT_TOLERANCE = 2.0
"""Pixels. On 3,073 car parts drawn by hand: 14 vertices per polygon at .983 IoU."""

_EXACT_BELOW = 0.1
# A vertex has to correct this share of a mask's area per pixel of tolerance. So large and small
# masks lose the same share. The constant keeps tiny masks from following every step of pixels.
_PRICE = 5.6e-4
_PRICE_AREA = 200


@dataclass(frozen=True)
class Polygon:
    """A connected region: its exterior ring and the rings of its holes.

    Attributes:
        exterior: (x, y) points in pixel-corner coordinates, clockwise on screen, not closed.
        holes: rings of the same kind, counter-clockwise on screen.
    """

    exterior: Ring
    holes: list[Ring] = field(default_factory=list)


@dataclass(frozen=True)
class Outline:
    """The pieces of one label.

    Attributes:
        polygons: one for each piece, largest first.
        area: pixels of all pieces.
        bbox: (x, y, width, height) around the pixels of all pieces.
    """

    polygons: list[Polygon]
    area: int
    bbox: tuple[int, int, int, int]


def mask_to_polygons(
    mask: NDArray[np.bool_],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    max_vertices: int | None = None,
    min_area: float = 0.0,
) -> list[Polygon]:
    """Outline a mask: one polygon for each 4-connected piece, largest first.

    Args:
        mask: (H, W) bool.
        tolerance: largest distance in pixels, in both directions, between a polygon's outline and
            the exact outline of its piece along the pixel edges. Below 0.1 the exact outlines are
            returned, and `rasterize` restores the mask bit for bit. Within the tolerance, each
            vertex must correct a minimum area. This area grows with the tolerance and with the size
            of the mask.
        max_vertices: most vertices of any ring, at least 3; None for no limit. It takes precedence
            over the tolerance. A hole that cannot be kept within it is dropped.
        min_area: pieces of fewer pixels than this are left out. Holes are not affected.

    Raises:
        ValueError: the mask is not two-dimensional, or an option is out of range.

    >>> import numpy as np
    >>> mask = np.zeros((4, 5), bool)
    >>> mask[1:3, 1:4] = True
    >>> mask_to_polygons(mask)[0].exterior
    [(4.0, 3.0), (1.0, 3.0), (1.0, 1.0), (4.0, 1.0)]
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
        labels: (H, W) uint8; other integer types work, too.
        topology: "independent" outlines each piece separately, so outlines of neighbours may
            overlap or leave a gap within the tolerance. With "shared", neighbours have the same
            vertices along their border, without gap or overlap: together they are a valid coverage.
            Points at which more than two outlines meet then stay vertices. So there are more
            vertices, and ``max_vertices`` may be exceeded for these points and for validity.
        tolerance: as in `mask_to_polygons`, with the size of the label as that of the mask.
        max_vertices: as in `mask_to_polygons`.
        min_area: as in `mask_to_polygons`.

    Returns:
        The polygons of each label in the map, largest first.

    Raises:
        ValueError: the map is not two-dimensional, or an option is out of range.

    >>> import numpy as np
    >>> labels = np.array([[1, 1, 2], [1, 1, 2]], np.uint8)
    >>> label_map_to_polygons(labels, tolerance=0)[2][0].exterior
    [(2.0, 0.0), (3.0, 0.0), (3.0, 2.0), (2.0, 2.0)]
    """
    outlines = label_map_to_outlines(
        labels,
        topology=topology,
        tolerance=tolerance,
        max_vertices=max_vertices,
        min_area=min_area,
    )
    return {label: outline.polygons for label, outline in outlines.items()}


def label_map_to_outlines(
    labels: NDArray[np.uint8],
    *,
    topology: Topology = "independent",
    tolerance: float = DEFAULT_TOLERANCE,
    max_vertices: int | None = None,
    min_area: float = 0.0,
    scale: int = 1,
) -> dict[int, Outline]:
    """Outline every label like `label_map_to_polygons`, with areas and bounding boxes.

    Both are by-products of the outlines.

    Args:
        labels: see `label_map_to_polygons`.
        topology: see `label_map_to_polygons`.
        tolerance: see `label_map_to_polygons`.
        max_vertices: see `label_map_to_polygons`.
        min_area: see `label_map_to_polygons`.
        scale: the map is one in which each pixel is a square of this side. All lengths, areas and
            points refer to that larger map, which need not exist.

    Raises:
        ValueError: see `label_map_to_polygons`.

    >>> outline = label_map_to_outlines(np.array([[0, 7, 7], [0, 7, 0]], np.uint8))[7]
    >>> outline.area, outline.bbox
    (3, (1, 0, 2, 2))
    """
    _check(tolerance, max_vertices, min_area, topology)
    rings = large_rings(trace(labels, neighbours=topology == "shared"), min_area / scale**2)
    return rings_to_outlines(
        rings, labels.shape, tolerance=tolerance, max_vertices=max_vertices, scale=scale
    )


def rings_to_outlines(
    rings: Rings,
    shape: tuple[int, ...],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    max_vertices: int | None = None,
    scale: int = 1,
) -> dict[int, Outline]:
    """Outline every label of a label map that was traced, see `label_map_to_outlines`.

    Args:
        rings: from `geometry.rings.trace`.
        shape: (H, W) of the label map.
        tolerance: see `label_map_to_polygons`.
        max_vertices: see `label_map_to_polygons`.
        scale: see `label_map_to_outlines`.
    """
    height, width = shape
    points, offsets = _outlines(rings, tolerance, max_vertices, (width, height), scale)
    if scale > 1:
        points = np.round(points * scale, 2)
    polygons = _by_label(rings, points, offsets)
    areas = np.bincount(rings.labels, rings.sizes) * scale**2
    return {
        label: Outline(found, int(areas[label]), (scale * x, scale * y, scale * wide, scale * high))
        for (label, found), (x, y, wide, high) in zip(
            polygons.items(), label_boxes(rings), strict=True
        )
    }


def _by_label(rings: Rings, points: FloatArray, offsets: IntArray) -> dict[int, list[Polygon]]:
    """Build the polygons of each label from ring points; within a label they stay in order."""
    ring_of_region: dict[int, list[Ring]] = {}
    flat: list[Point] = [(x, y) for x, y in points.tolist()]
    bounds = offsets.tolist()
    for ring, region in enumerate(rings.regions.tolist()):
        if bounds[ring] < bounds[ring + 1]:  # a dropped hole is empty
            ring_of_region.setdefault(region, []).append(flat[bounds[ring] : bounds[ring + 1]])
    result: dict[int, list[Polygon]] = {}
    for region, label in enumerate(rings.labels.tolist()):
        exterior, *holes = ring_of_region[region]
        result.setdefault(label, []).append(Polygon(exterior, holes))
    return result


def polygon_area(polygon: Polygon) -> float:
    """Return the area in pixels, without holes.

    >>> polygon_area(Polygon([(0, 0), (4, 0), (4, 3), (0, 3)], [[(1, 1), (1, 2), (2, 2), (2, 1)]]))
    11.0
    """
    return _ring_area(polygon.exterior) - sum(_ring_area(hole) for hole in polygon.holes)


def bounding_box(polygons: Iterable[Polygon]) -> tuple[float, float, float, float] | None:
    """Return the smallest box (x0, y0, x1, y1) around the polygons, or None if there are none.

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
    # Direct all edges downwards, so that an edge that two polygons share cuts the rows at exactly
    # the same points for both.
    down = (start[:, 1] <= end[:, 1])[:, None]
    start, end = np.where(down, start, end), np.where(down, end, start)
    # Row r is cut by edges with start <= r + 0.5 < end.
    low = np.clip(np.ceil(start[:, 1] - 0.5), 0, height).astype(np.int64)
    count = np.clip(np.ceil(end[:, 1] - 0.5), 0, height).astype(np.int64) - low
    edge = np.repeat(np.arange(len(start)), count)
    row = ragged_ranges(low, count)
    if not len(row):
        return
    dx, dy = (end - start)[edge].T
    x = start[edge, 0] + (row + 0.5 - start[edge, 1]) * dx / dy
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    first, last = int(row.min()), int(row.max()) + 1
    crossings = np.zeros((last - first, width + 1), np.uint8)
    np.add.at(crossings, (row - first, column), 1)
    inside = np.cumsum(crossings[:, :width], axis=1, dtype=np.uint8) & 1
    mask[first:last] |= inside.view(np.bool_)


def _ring_area(ring: Ring) -> float:
    """Return the unsigned shoelace area of a ring."""
    points = np.asarray(ring, np.float64)
    return abs(float(ring_areas(points, np.array([0, len(points)]))[0]))


def _check(tolerance: float, max_vertices: int | None, min_area: float, topology: str) -> None:
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance must be a number of pixels from 0 up, not {tolerance}")
    if max_vertices is not None and max_vertices < 3:
        raise ValueError(f"max_vertices must be at least 3, not {max_vertices}")
    if not min_area >= 0:
        raise ValueError(f"min_area must be a number of pixels from 0 up, not {min_area}")
    if topology not in ("independent", "shared"):
        raise ValueError(f"topology must be 'independent' or 'shared', not {topology!r}")


def _outlines(
    rings: Rings,
    tolerance: float,
    max_vertices: int | None,
    size: tuple[int, int],
    scale: int,
) -> Outlines:
    """Simplify all rings, in the pixels of the label map.

    Args:
        rings: the exact rings.
        tolerance: see `label_map_to_polygons`.
        max_vertices: see `label_map_to_polygons`.
        size: (width, height) of the label map.
        scale: see `label_map_to_outlines`.
    """
    if not len(rings.areas) or (tolerance < _EXACT_BELOW and max_vertices is None):
        return rings.corners.astype(np.float64), rings.offsets
    of_label = np.bincount(rings.labels, rings.sizes).astype(np.float64)
    area = of_label[rings.labels[rings.regions]]
    price = _PRICE * max(tolerance, _EXACT_BELOW) * (area + _PRICE_AREA / scale**2)
    most = len(rings.corners) if max_vertices is None else max_vertices
    return simplified(rings, price, tolerance / scale, most, size)
