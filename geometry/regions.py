"""Cut rings into arcs, simplify the arcs, and join them to rings that are valid polygons.

Rings are cut at the corners where more than two outlines meet. Two regions that touch share the
arcs between them. Each arc is simplified once, so the regions still meet without gaps.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geometry.arrays import BoolArray, FloatArray, IntArray, Outlines, offsets_of, ragged_ranges
from geometry.chains import Chains
from geometry.fit import Approximation
from geometry.limit import limited
from geometry.rings import Rings

# Rounds in which edges are refined corner by corner. Later rounds add all corners of an edge.
_PATIENCE = 5
# Edges are perhaps in line below this cross product. Coordinates are multiples of 0.01, so that of
# edges that are not in line is 1e-4 or more.
_IN_LINE = 1e-5


@dataclass(frozen=True)
class _Arcs:
    """The rings as sequences of arcs.

    Attributes:
        ring: (A,) int64, ascending, the ring of each arc.
        chain: (A,) int64, the chain that holds the points of the arc.
        forward: (A,) bool, True if the arc runs along its chain, False if against it.
        corners: (N, 2) int64, the corners of all chains, both ends included.
        offsets: (C + 1,) int64, of the chains in ``corners``.
        ends: (C, 2) int64, number of the vertex at both ends of a chain.
    """

    ring: IntArray
    chain: IntArray
    forward: BoolArray
    corners: IntArray
    offsets: IntArray
    ends: IntArray


def simplified(
    rings: Rings, price: FloatArray, tolerance: float, most: int, size: tuple[int, int]
) -> Outlines:
    """Simplify all rings. Regions stay valid polygons.

    If the rings were traced with ``neighbours``, neighbours share their borders and stay in touch.

    Args:
        rings: exact rings from `geometry.rings.trace`.
        price: (R,) pixels of area that a further vertex of a ring has to gain.
        tolerance: pixels that the outlines may stray.
        most: vertices that a ring may have. With shared borders a ring may have more, if more
            borders meet in it or if it would be invalid otherwise.
        size: (width, height) of the picture.
    """
    arcs = _cut_into_arcs(rings)
    chains = _priced_chains(arcs, price, most)
    approximation = Approximation(chains, tolerance, size)
    shared = bool(len(rings.twins))
    checked = np.arange(len(rings.sizes))
    for attempt in itertools.count():
        outlines = _assembled(arcs, approximation.points, approximation.offsets)
        invalid = checked[~_valid(outlines, rings.regions, checked, shared)]
        if not len(invalid):
            return outlines if shared else limited(outlines, rings.regions, most)
        # Independent regions may overlap, and none changes the outline of another: refine each,
        # and check only these again.
        checked = checked if shared else invalid
        for group in [invalid] if shared else invalid[:, None]:
            _refine(approximation, arcs, rings.regions, group, fully=attempt >= _PATIENCE)
    raise AssertionError("unreachable")


def _refine(
    approximation: Approximation, arcs: _Arcs, regions: IntArray, chosen: IntArray, *, fully: bool
) -> None:
    """Refine the crossing edges of the chosen regions.

    All their edges are refined if none cross, or if none of the crossing ones can be refined.

    Args:
        approximation: refined in place.
        arcs: of all rings.
        regions: (R,) the region of each ring.
        chosen: regions to refine.
        fully: see `Approximation.refine`.
    """
    chains = np.unique(arcs.chain[np.isin(regions[arcs.ring], chosen)])
    offsets = approximation.offsets
    edges = ragged_ranges(offsets[chains], np.diff(offsets)[chains] - 1)
    crossing = _crossing(approximation.points, edges)
    if not (len(crossing) and approximation.refine(crossing, fully=fully)):
        approximation.refine(edges, fully=fully)


def _cut_into_arcs(rings: Rings) -> _Arcs:
    """Cut rings into arcs at their nodes.

    A ring without nodes becomes one arc from an extreme corner to itself.
    """
    turned, begin = _turned_to_cuts(rings)
    itself = np.arange(len(begin))
    runs = np.diff(begin, append=len(turned))
    ring = np.searchsorted(rings.offsets, begin, side="right") - 1
    twin = _twin_arcs(rings, turned, begin, runs)
    chains = np.flatnonzero(twin >= itself)
    number = np.empty(len(begin), np.int64)
    number[chains] = np.arange(len(chains))
    own = np.minimum(twin, itself)
    # Find the corners of the chains. The last corner of a ring's last arc is the ring's first one.
    place = ragged_ranges(begin[chains], runs[chains] + 1)
    offsets = offsets_of(runs[chains] + 1)
    last = offsets[1:] - 1
    past = place[last] == rings.offsets[1:][ring[chains]]
    place[last] -= np.where(past, np.diff(rings.offsets)[ring[chains]], 0)
    index = turned[place]
    return _Arcs(
        ring=ring,
        chain=number[own],
        forward=own == itself,
        corners=rings.corners[index],
        offsets=offsets,
        ends=_vertex_of_end(rings, np.stack((index[offsets[:-1]], index[last]), axis=1)),
    )


def _turned_to_cuts(rings: Rings) -> tuple[IntArray, IntArray]:
    """Rotate each ring so that it starts at its first cut.

    Returns:
        Indices (M,) of the corners in that order, and the positions (A,) in them at which arcs
        begin.
    """
    count, first, length = len(rings.areas), rings.offsets[:-1], np.diff(rings.offsets)
    ring = np.repeat(np.arange(count), length)
    # The farthest corner in a direction is nearly always a vertex of a good polygon. The last term
    # breaks ties.
    x, y = rings.corners.T.astype(np.float64)
    reach = 3 * x + 5 * y + 1e-6 * x
    is_cut = reach == np.maximum.reduceat(reach, first)[ring]
    if len(rings.nodes):
        has_node = np.logical_or.reduceat(rings.nodes, first)
        is_cut = np.where(has_node[ring], rings.nodes, is_cut)
    cuts = np.flatnonzero(is_cut)
    shift = cuts[np.searchsorted(cuts, first)] - first
    turned = first[ring] + (np.arange(len(ring)) - first[ring] + shift[ring]) % length[ring]
    return turned, np.flatnonzero(is_cut[turned])


def _twin_arcs(rings: Rings, turned: IntArray, begin: IntArray, runs: IntArray) -> IntArray:
    """Return the arc on the other side of each arc, or the arc itself if there is none.

    Args:
        rings: the rings.
        turned: (M,), see `_turned_to_cuts`.
        begin: (A,), see `_turned_to_cuts`.
        runs: (A,) number of runs in each arc.
    """
    itself = np.arange(len(begin))
    if not len(rings.twins):
        return itself
    arc = np.empty(len(turned), np.int64)
    arc[turned] = np.repeat(itself, runs)
    twin = rings.twins[turned[begin + runs - 1]]
    return np.where(twin < 0, itself, arc[twin])


def _vertex_of_end(rings: Rings, ends: IntArray) -> IntArray:
    """Return the number of the vertex at each chain end, (C, 2).

    Ends at the same node have the same number. An end that is not at a node has its own number.
    """
    if not len(rings.nodes):
        return np.repeat(np.arange(len(ends))[:, None], 2, axis=1)
    x, y = rings.corners[ends.ravel()].T
    alone = ~rings.nodes[ends.ravel()]
    place = np.where(alone, -1 - ends.ravel(), y * (x.max() + 1) + x)
    numbers: IntArray = np.unique(place, return_inverse=True)[1].reshape(ends.shape)
    return numbers


def _priced_chains(arcs: _Arcs, price: FloatArray, most: int) -> Chains:
    """Compute the price of a vertex and the limits of vertices of each chain.

    Args:
        arcs: of all rings.
        price: (R,), see `simplified`.
        most: see `simplified`.
    """
    count = len(arcs.ends)
    # A vertex between two regions serves both, so its price is the harmonic mean of theirs.
    rings_beside = np.bincount(arcs.chain, minlength=count)
    worth = np.bincount(arcs.chain, 1 / price[arcs.ring], minlength=count)
    length = np.diff(arcs.offsets)
    closed = arcs.ends[:, 0] == arcs.ends[:, 1]
    fewest = np.where(closed, 2, 0)
    arcs_of_ring = np.bincount(arcs.ring)
    pair = np.flatnonzero(arcs_of_ring[arcs.ring] == 2).reshape(-1, 2)
    longer = pair[np.arange(len(pair)), length[arcs.chain[pair]].argmax(axis=1)]
    fewest[arcs.chain[longer]] = np.maximum(fewest[arcs.chain[longer]], 1)
    # Each ring divides ``most``, less the ends of its arcs, among its arcs by their lengths.
    around = np.bincount(arcs.ring, length[arcs.chain])[arcs.ring]
    share = (most - arcs_of_ring[arcs.ring]) * (length[arcs.chain] / around)
    limit = np.full(count, most)
    np.minimum.at(limit, arcs.chain, np.floor(share + 1e-9).astype(np.int64))
    return Chains(
        corners=arcs.corners,
        offsets=arcs.offsets,
        ends=arcs.ends,
        price=rings_beside / worth,
        fewest=fewest,
        most=np.maximum(limit, fewest),
    )


def _assembled(arcs: _Arcs, points: FloatArray, offsets: IntArray) -> Outlines:
    """Join the polylines of the chains to rings."""
    number = np.diff(offsets)[arcs.chain] - 1
    step = np.where(arcs.forward, 1, -1)
    start = np.where(arcs.forward, offsets[:-1][arcs.chain], offsets[1:][arcs.chain] - 1)
    within = ragged_ranges(np.zeros_like(number), number)
    index = np.repeat(start, number) + np.repeat(step, number) * within
    sizes = np.bincount(arcs.ring, number).astype(np.int64)
    return points[index], offsets_of(sizes)


def _valid(outlines: Outlines, regions: IntArray, chosen: IntArray, shared: bool) -> BoolArray:
    """Check the polygon of each chosen region, and if ``shared``, the coverage.

    Args:
        outlines: points and offsets of R rings.
        regions: (R,) the region of each ring.
        chosen: regions to check, ascending; all if ``shared``.
        shared: True if neighbours share their borders.

    Returns:
        True for each region whose polygon is valid. If all are, and borders are shared, True for
        each region that meets its neighbours edge to edge.
    """
    points, offsets = outlines
    rings = np.flatnonzero(np.isin(regions, chosen))
    lengths = np.diff(offsets)[rings]
    points = points[ragged_ranges(offsets[rings], lengths)]
    index = np.repeat(np.arange(len(rings)), lengths)
    closed: NDArray[Any] = np.asarray(shapely.linearrings(points, indices=index))
    numbers = np.searchsorted(chosen, regions[rings])
    polygons: NDArray[Any] = np.asarray(shapely.polygons(closed, indices=numbers))
    valid: BoolArray = np.asarray(shapely.is_valid(polygons))
    if shared and valid.all():
        valid = np.asarray(shapely.is_empty(shapely.coverage_invalid_edges(polygons)))
    return valid


def _crossing(points: FloatArray, edges: IntArray) -> IntArray:
    """Return the given edges that meet another given edge outside a common end."""
    ends = np.stack((points[edges], points[edges + 1]), axis=1)
    lines: NDArray[Any] = np.asarray(shapely.linestrings(ends))
    one, other = shapely.STRtree(lines).query(lines, predicate="intersects")
    once = one < other
    one, other = one[once], other[once]
    joined = (ends[one][:, :, None] == ends[other][:, None, :]).all(axis=3).any(axis=(1, 2))
    bad = ~joined
    # Edges with a common end overlap only if they are in line.
    d, e = (ends[each, 1] - ends[each, 0] for each in (one, other))
    in_line = joined & (np.abs(d[:, 0] * e[:, 1] - d[:, 1] * e[:, 0]) < _IN_LINE)
    if in_line.any():
        common = shapely.intersection(lines[one[in_line]], lines[other[in_line]])
        bad[in_line] = shapely.length(common) > 0
    found: IntArray = edges[np.unique(np.concatenate((one[bad], other[bad])))]
    return found
