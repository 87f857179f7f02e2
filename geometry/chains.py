"""Select the corners of the outlines that are worth a vertex.

Every corner of the pixel outline starts as a vertex. The vertex whose removal adds least to the
area between outline and polygon is removed first, as long as that area is below the price of a
vertex. The area is estimated from the least-squares line through the outline between two vertices.
Sums of moments yield this line in constant time for any pair of corners (an idea of Perez and
Vidal, "Optimum polygonal approximation of digitized curves", Pattern Recognition Letters 15, 1994).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from geometry.arrays import BoolArray, FloatArray, IntArray

# Ratio of the mean to the root mean square distance to a line: between that of uniformly (.866) and
# that of normally (.798) distributed distances.
_MEAN_OVER_RMS = 0.85
# The first rounds remove every second corner that costs less than this share of the price.
_FAST_ROUNDS = 2
_FAST_SHARE = 0.25


@dataclass(frozen=True)
class Chains:
    """The pieces of outline to approximate: C chains of pixel corners in one flat array.

    A chain keeps its first and its last corner as vertices. Chains that meet share that vertex.

    Attributes:
        corners: (M, 2) corners; a closed chain repeats its first corner at its end.
        offsets: (C + 1,) chain ``c`` is ``corners[offsets[c]:offsets[c + 1]]``.
        ends: (C, 2) number of the shared vertex at the start and at the end of each chain.
        price: (C,) pixels of area that a further vertex has to gain.
        fewest: (C,) minimum number of vertices between the ends.
        most: (C,) maximum number of vertices between the ends; takes precedence over the tolerance.
    """

    corners: IntArray
    offsets: IntArray
    ends: IntArray
    price: FloatArray
    fewest: IntArray
    most: IntArray


@dataclass
class Breaks:
    """The corners at which the outline passes from one edge of the polygon to the next.

    Attributes:
        at: (K,) indices into the corners, ascending, with both ends of every chain.
        is_end: (K,) True for the ends of chains.
        chain: (K,) the chain of each break.
    """

    at: IntArray
    is_end: BoolArray
    chain: IntArray

    def edges(self) -> IntArray:
        """Return the indices (E,) of the breaks from which an edge leads to the next break."""
        return np.flatnonzero(self.chain[1:] == self.chain[:-1])


def breaks_at(chains: Chains, at: IntArray) -> Breaks:
    """Make breaks at the given corners."""
    chain = np.searchsorted(chains.offsets, at, side="right") - 1
    is_end = (at == chains.offsets[chain]) | (at == chains.offsets[chain + 1] - 1)
    return Breaks(at, is_end, chain)


def moments_of(chains: Chains) -> FloatArray:
    """Return the integrals (6, M) of 1, x, y, xx, xy, yy along the outline up to each corner."""
    x, y = chains.corners.T.astype(np.float64)
    sum_x, sum_y = x[:-1] + x[1:], y[:-1] + y[1:]
    length = np.abs(x[1:] - x[:-1]) + np.abs(y[1:] - y[:-1])
    length[chains.offsets[1:-1] - 1] = 0  # from the end of one chain to the start of the next
    parts = np.empty((6, len(length)))
    parts[0] = length
    parts[1] = length * sum_x / 2
    parts[2] = length * sum_y / 2
    parts[3] = length * (sum_x * sum_x - x[:-1] * x[1:]) / 3
    parts[4] = length * sum_x * sum_y / 4  # exact, since x or y is constant along a run
    parts[5] = length * (sum_y * sum_y - y[:-1] * y[1:]) / 3
    moments = np.zeros((6, len(x)))
    np.cumsum(parts, axis=1, out=moments[:, 1:])
    return moments


def _area_beside_line(stretch: FloatArray) -> FloatArray:
    """Estimate the area between each stretch of outline and its total least-squares line.

    The mean squared distance to that line is the smaller eigenvalue of the points' covariance.

    Args:
        stretch: (6, K) moments of K stretches.
    """
    length = np.maximum(stretch[0], 1e-9)
    means = stretch[1:3] / length
    var_x, var_y = stretch[3::2] - stretch[1:3] * means
    cov = stretch[4] - stretch[1] * means[1]
    half = (var_x - var_y) / 2
    smaller = (var_x + var_y) / 2 - np.sqrt(half * half + cov * cov)
    area: FloatArray = _MEAN_OVER_RMS * np.sqrt(length * np.maximum(smaller, 0))
    return area


def merge(chains: Chains, moments: FloatArray) -> Breaks:
    """Remove vertices in rounds until each remaining one is worth its price.

    Args:
        chains: the C chains.
        moments: (6, M), see `moments_of`.

    Returns:
        The breaks at the remaining vertices.
    """
    lengths = np.diff(chains.offsets)
    counts = lengths - 2
    at = np.arange(len(chains.corners))
    chain = np.repeat(np.arange(len(counts)), lengths)
    # Columns of the corners that are still vertices: moments, what is added to the cost, price.
    # Equal costs are common on pixel outlines. A tiny offset breaks ties. Ends stay.
    columns = np.empty((8, len(at)))
    sums, grain, price = columns[:6], columns[6], columns[7]
    sums[:] = moments
    grain[:] = 1e-6 * (((at - chains.offsets[chain]) * 40503) & 1023)
    grain[chains.offsets[:-1]] = grain[chains.offsets[1:] - 1] = np.inf
    price[:] = chains.price[chain]
    boost = np.ones(len(counts))
    alone = _area_beside_line(sums[:, 1:] - sums[:, :-1])
    for round_number in itertools.count():
        over = counts > chains.most
        is_over = bool(over.any())
        joined = _area_beside_line(sums[:, 2:] - sums[:, :-2])
        cost = joined - alone[:-1] - alone[1:]
        cost += grain[1:-1]
        worth = price[1:-1]
        if is_over:
            boost = np.where(over, boost * 1.5, 1.0)
            worth = worth * boost[chain[1:-1]]
        asked = _needless(cost, worth, chain, round_number)
        spare = counts - (np.where(over, chains.most, chains.fewest) if is_over else chains.fewest)
        asked, taken = _within(spare, chain[1:-1][asked], cost, asked)
        if round_number >= _FAST_ROUNDS and not (len(asked) or is_over):
            return Breaks(at, grain == np.inf, chain)
        counts = counts - taken
        # No two neighbours are removed at once, so the edges around each of them become one.
        alone[asked] = joined[asked]
        keep = np.ones(len(at), np.bool_)
        keep[asked + 1] = False
        kept = keep.nonzero()[0]
        at, chain, alone, columns = at[kept], chain[kept], alone[kept[:-1]], columns.take(kept, 1)
        sums, grain, price = columns[:6], columns[6], columns[7]
    raise AssertionError("unreachable")


def _needless(cost: FloatArray, price: FloatArray, chain: IntArray, round_number: int) -> IntArray:
    """Return the corners that are not worth their price, no two of them neighbours.

    Args:
        cost: (K - 2,) area that the removal of each corner adds; infinite for ends of chains.
        price: (K - 2,) of each corner.
        chain: (K,) the chain of each corner, with those before the first and after the last.
        round_number: from 0.

    Returns:
        Indices into `cost`.
    """
    if round_number < _FAST_ROUNDS:
        # Fast start: remove every second clearly needless corner of a chain at once.
        gone = cost < _FAST_SHARE * price
        place = np.arange(len(chain)) - np.searchsorted(chain, np.arange(chain[-1] + 1))[chain]
        gone[place[:-2] % 2 == round_number % 2] = False
    else:
        gone = cost < price
        gone[1:] &= cost[1:] < cost[:-1]
        gone[:-1] &= cost[:-1] <= cost[1:]
    return gone.nonzero()[0]


def _within(
    spare: IntArray, chain: IntArray, cost: FloatArray, asked: IntArray
) -> tuple[IntArray, IntArray]:
    """Limit the corners to remove to those that the chains can spare, the cheapest first.

    Args:
        spare: (C,) number of corners that each chain can spare.
        chain: (K,) the chain of each asked corner.
        cost: cost of each corner.
        asked: (K,) indices into `cost`.

    Returns:
        The remaining ones of `asked`, and their number in each chain.
    """
    taken = np.bincount(chain, minlength=len(spare))
    if (taken > spare).any():
        chosen = cheapest_within(spare, chain, cost[asked])
        asked = asked[chosen]
        taken = np.bincount(chain[chosen], minlength=len(spare))
    return asked, taken


def cheapest_within(allowed: IntArray, chain: IntArray, cost: FloatArray) -> BoolArray:
    """Choose the cheapest candidates of each chain, up to the number allowed for the chain.

    Args:
        allowed: (C,) maximum number for each chain.
        chain: (K,) the chain of each candidate.
        cost: (K,) of each candidate.

    Returns:
        (K,) bool, True for the chosen candidates.
    """
    order = np.lexsort((cost, chain))
    in_order = chain[order]
    rank = np.arange(len(chain)) - np.searchsorted(in_order, in_order)
    chosen = np.empty(len(chain), np.bool_)
    chosen[order] = rank < allowed[in_order]
    return chosen
