"""Convert the rings of polygons to the coordinates of the formats."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from poligons_from_seg import Polygon, Ring

_CLOSEST = 500  # pairs of vertices that are tried for a bridge


def scaled(ring: Ring, x_factor: float, y_factor: float) -> Ring:
    """Scale a ring to another unit."""
    return [(x * x_factor, y * y_factor) for x, y in ring]


def number(value: float) -> str:
    """Format a coordinate as short text: two decimals, no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def keyhole(polygon: Polygon) -> Ring:
    """Return one ring with the polygon's area, for formats whose polygons have no holes.

    Each hole is joined to the ring by a bridge of zero width, which is traversed both ways.
    A bridge lies inside the polygon, so it is not visible even where its outline is drawn.
    """
    ring = np.asarray(polygon.exterior, np.float64)
    if polygon.holes:
        shape = shapely.Polygon(polygon.exterior, polygon.holes)
        shapely.prepare(shape)
        # From right to left: all holes between this one and the outside are joined already.
        holes = sorted(polygon.holes, key=lambda hole: -max(x for x, _ in hole))
        for hole in holes:
            ring = _tied(ring, np.asarray(hole, np.float64), shape)
    return [(x, y) for x, y in ring.tolist()]


def _tied(
    ring: NDArray[np.float64], hole: NDArray[np.float64], shape: shapely.Polygon
) -> NDArray[np.float64]:
    """Join a hole to a ring by the shortest bridge that stays inside the shape."""
    distance = ((ring[:, None] - hole[None]) ** 2).sum(axis=2)
    closest = np.argsort(distance, axis=None, kind="stable")[:_CLOSEST]
    starts, ends = np.unravel_index(closest, distance.shape)
    bridges = shapely.linestrings(np.stack([ring[starts], hole[ends]], axis=1))
    # These polygons always have a bridge that fits. Otherwise the shortest one keeps the area.
    best = int(np.argmax(shapely.covers(shape, bridges) | (distance[starts, ends] == 0)))
    start, end = int(starts[best]), int(ends[best])
    around = np.concatenate([hole[end:], hole[: end + 1]])
    return np.concatenate([ring[: start + 1], around, ring[start:]])
