"""Convert rings, boxes and masks to the coordinates and run lengths of the formats."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from analysis.photo_damage import Damage
from exports.annotation import ImageAnnotation
from photo_result import Part
from poligons_from_seg import Polygon, Ring

_CLOSEST = 500  # pairs of vertices that are tried for a bridge


def scaled(ring: Ring, x_factor: float, y_factor: float) -> Ring:
    """Scale a ring to another unit."""
    return [(x * x_factor, y * y_factor) for x, y in ring]


def rounded(ring: Ring, decimals: int = 2) -> list[list[float]]:
    """Return the ring as [x, y] pairs, rounded to some decimals of a pixel."""
    return [[round(x, decimals), round(y, decimals)] for x, y in ring]


def points(ring: Ring, annotation: ImageAnnotation) -> Ring | list[list[float]]:
    """Return a ring in pixels, or from 0 to 1 if the annotation is normalized."""
    if annotation.normalized:
        return rounded(scaled(ring, 1 / annotation.width, 1 / annotation.height), 6)
    return ring  # has at most two decimals, see `poligons_from_seg`


def box(shown: Part | Damage, annotation: ImageAnnotation) -> list[float]:
    """Return the [x, y, width, height] of a part or damage, in the unit of `points`."""
    x, y, width, height = shown.bbox
    if annotation.normalized:
        return [
            round(value, 6)
            for value in (
                x / annotation.width,
                y / annotation.height,
                width / annotation.width,
                height / annotation.height,
            )
        ]
    return [x, y, width, height]


def number(value: float) -> str:
    """Format a coordinate as short text: two decimals, no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def run_lengths(pixels: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of the runs in a flat mask, starting with a run of zeros.

    >>> run_lengths(np.array([True, True, False]))
    [0, 2, 1]
    """
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts: list[int] = np.diff(np.concatenate(([0], changes, [pixels.size]))).tolist()
    return [0, *counts] if pixels[0] else counts


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
