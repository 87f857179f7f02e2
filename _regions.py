"""Simplified outlines that are valid polygons (private helper of ``poligons_from_seg``)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from _geometry import BoolArray, FloatArray, IntArray, Rings, ragged_ranges
from _simplify import Approximation, Chains

# An edge is refined this many times corner by corner before all its corners are taken at once.
_PATIENCE = 5

Outlines = tuple[FloatArray, IntArray]
"""Points (P, 2) of all rings, not closed, and offsets (R + 1,) of the rings in them."""


def independent_outlines(
    rings: Rings, price: FloatArray, tolerance: float, most: int, size: tuple[int, int]
) -> Outlines:
    """Simplify every ring by itself.

    Args:
        rings: exact rings, of `trace`.
        price: (R,) pixels of area that one more vertex of a ring has to gain.
        tolerance: pixels the outlines may stray.
        most: vertices a ring may have.
        size: width and height of the picture.
    """
    chains = _closed_chains(rings, price, most - 1)
    approximation = Approximation(chains, tolerance, size)
    for attempt in itertools.count():
        points, offsets = approximation.points, approximation.offsets
        invalid = np.flatnonzero(~_valid(points, offsets, rings.regions))
        if not len(invalid):
            return _opened(points, offsets)
        chosen = np.isin(rings.regions, invalid)
        edges = ragged_ranges(offsets[:-1][chosen], np.diff(offsets)[chosen] - 1)
        crossing = _crossing(points, edges)
        fully = attempt >= _PATIENCE
        if not (len(crossing) and approximation.refine(crossing, fully=fully)):
            approximation.refine(edges, fully=fully)
    raise AssertionError("unreachable")


def _closed_chains(rings: Rings, price: FloatArray, most: int) -> Chains:
    """Make one closed chain of each ring, from an extreme corner to itself."""
    corners, first, length = rings.corners, rings.offsets[:-1], np.diff(rings.offsets)
    count = len(length)
    # The corner farthest in a direction is nearly always a vertex of a good polygon; a direction
    # along no usual edge has just one such corner.
    reach = 3 * corners[:, 0] + 5 * corners[:, 1]
    ring = np.repeat(np.arange(count), length)
    extreme = np.flatnonzero(reach == np.maximum.reduceat(reach, first)[ring])
    shift = np.empty(count, np.int64)
    shift[ring[extreme]] = extreme - first[ring[extreme]]
    ring = np.repeat(np.arange(count), length + 1)
    step = ragged_ranges(shift, length + 1) % length[ring]
    ends = np.repeat(np.arange(count)[:, None], 2, axis=1)
    offsets = np.concatenate(([0], np.cumsum(length + 1)))
    fewest, limit = np.full(count, 2), np.full(count, most)
    return Chains(corners[first[ring] + step], offsets, ends, price, fewest, limit)


def _opened(points: FloatArray, offsets: IntArray) -> Outlines:
    """Drop the last point of every closed polyline."""
    keep = np.ones(len(points), np.bool_)
    keep[offsets[1:] - 1] = False
    return points[keep], offsets - np.arange(len(offsets))


def _valid(points: FloatArray, offsets: IntArray, regions: IntArray) -> BoolArray:
    """Which regions, of closed rings in flat arrays, are valid polygons."""
    index = np.repeat(np.arange(len(regions)), np.diff(offsets))
    closed: NDArray[Any] = np.asarray(shapely.linearrings(points, indices=index))
    return np.asarray(shapely.is_valid(shapely.polygons(closed, indices=regions)))


def _crossing(points: FloatArray, edges: IntArray) -> IntArray:
    """Those of the given edges that meet another one elsewhere than in a common end."""
    ends = np.stack((points[edges], points[edges + 1]), axis=1)
    lines: NDArray[Any] = np.asarray(shapely.linestrings(ends))
    one, other = shapely.STRtree(lines).query(lines, predicate="intersects")
    once = one < other
    one, other = one[once], other[once]
    joined = (ends[one][:, :, None] == ends[other][:, None, :]).all(axis=3).any(axis=(1, 2))
    overlap = shapely.length(shapely.intersection(lines[one], lines[other])) > 0
    bad = ~joined | overlap
    found: IntArray = edges[np.unique(np.concatenate((one[bad], other[bad])))]
    return found
