"""Reduce rings to the allowed number of vertices, and keep the polygons valid."""

from __future__ import annotations

import numpy as np
import shapely

from geometry.arrays import FloatArray, IntArray, Outlines, offsets_of

# Above this number of vertices the search for ears would take too long. Holes are dropped first.
_MANY = 400


def limited(outlines: Outlines, regions: IntArray, most: int) -> Outlines:
    """Remove vertices from rings that have more than ``most``.

    Only rings that had to be refined to become valid have so many.

    Args:
        outlines: points and offsets of R rings.
        regions: (R,) the region of each ring.
        most: vertices that a ring may have.
    """
    points, offsets = outlines
    counts = np.diff(offsets)
    if not (counts > most).any():
        return outlines
    rings = np.split(points, offsets[1:-1])
    for region in np.unique(regions[counts > most]).tolist():
        members = np.flatnonzero(regions == region).tolist()
        reduced = _reduced([rings[ring] for ring in members], most)
        for ring, fewer in zip(members, reduced, strict=True):
            rings[ring] = fewer
    return np.concatenate(rings), offsets_of(np.array([len(ring) for ring in rings]))


def _reduced(rings: list[FloatArray], most: int) -> list[FloatArray]:
    """Remove vertices from a valid polygon one at a time, the smallest ears first; it stays valid.

    A simple ring always has an ear that can be removed. But holes may block every ear. Then the
    last hole is dropped and becomes an empty ring.
    """
    rings = list(rings)
    if sum(len(ring) for ring in rings) > _MANY:
        rings = [_coarse(rings[0]), *(ring[:0] for ring in rings[1:])]
    while True:
        long = [index for index, ring in enumerate(rings) if len(ring) > most]
        if not long:
            return rings
        shorter = _without_an_ear(rings, long[-1])
        if shorter is not None:
            rings[long[-1]] = shorter
        else:
            last_hole = max(index for index, ring in enumerate(rings) if index and len(ring))
            rings[last_hole] = rings[last_hole][:0]


def _coarse(ring: FloatArray) -> FloatArray:
    """Simplify a simple ring to few enough vertices for the search for ears."""
    tolerance = 1.0
    while len(ring) > _MANY and tolerance < 1e6:
        coarse = shapely.simplify(shapely.Polygon(ring), tolerance, preserve_topology=True)
        ring = shapely.get_coordinates(coarse)[:-1]
        tolerance *= 2
    return ring


def _without_an_ear(rings: list[FloatArray], which: int) -> FloatArray | None:
    """Remove the removable vertex of least area from one ring of a polygon.

    Args:
        rings: of the polygon, the exterior first.
        which: index of the ring.

    Returns:
        The shorter ring, or None if no vertex can be removed.
    """
    ring = rings[which]
    before, after = np.roll(ring, 1, axis=0) - ring, np.roll(ring, -1, axis=0) - ring
    area = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
    for vertex in np.argsort(area).tolist():
        shorter = np.delete(ring, vertex, axis=0)
        changed = [*rings[:which], shorter, *rings[which + 1 :]]
        if shapely.Polygon(changed[0], [hole for hole in changed[1:] if len(hole)]).is_valid:
            return shorter
    return None
