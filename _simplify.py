"""Polygonal approximation of outlines that run along pixel edges.

Private helper of ``poligons_from_seg``. It works on all outlines of a picture at once, as flat
arrays, so that the cost of a numpy call is paid once per picture and not once per ring.

1. Merge. Every corner of the pixel outline starts as a vertex. The vertex whose removal adds
   least to the area between outline and polygon goes first, as long as that area is below the
   price of a vertex. The area is taken from the least-squares line through the outline between
   two vertices, which sums of moments give in constant time for any pair of corners (the idea of
   Perez and Vidal, "Optimum polygonal approximation of digitized curves", 1994).
2. Fit. All vertices move together to make the sum of squared distances between the outline and
   the edges least (Gauss-Newton with Jacobi steps); between the steps every boundary between two
   stretches of outline moves to where the two edges meet best.
3. Check. Where the outline is farther than the tolerance from its edge, the farthest corner
   becomes a vertex again, and the fit is repeated.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from _geometry import BoolArray, FloatArray, IntArray, ragged_ranges

DECIMALS = 2
"""Digits kept behind the point of a coordinate: a hundredth of a pixel."""

# Mean distance over root mean square distance to a line, between that of a uniform (.866) and
# that of a normal distribution (.798) of the distances.
_MEAN_OVER_RMS = 0.85
_PARITY_ROUNDS = 2
_PARITY_SHARE = 0.25
_FIT_STEPS = (3, 2)
_NEARER_BY_FIT = 0.7
_DAMPING = 0.05
_LONGEST_STEP = 2.0
_WINDOW = 4


@dataclass(frozen=True)
class Chains:
    """Pieces of outline to approximate: C chains of pixel corners, one after the other.

    A chain keeps its first and its last corner as vertices; chains that meet share that vertex.

    Attributes:
        corners: (M, 2) corners; a closed chain repeats its first corner at its end.
        offsets: (C + 1,) chain ``c`` is ``corners[offsets[c]:offsets[c + 1]]``.
        ends: (C, 2) number of the shared vertex at the start and at the end of each chain.
        price: (C,) pixels of area that one more vertex has to gain.
        fewest: (C,) vertices to keep between the ends at least.
        most: (C,) vertices to keep between the ends at most; goes before the tolerance.
    """

    corners: IntArray
    offsets: IntArray
    ends: IntArray
    price: FloatArray
    fewest: IntArray
    most: IntArray


@dataclass
class _Breaks:
    """The corners where the outline passes from one edge of the polygon to the next.

    ``at`` (K,) indices into the corners, rising, with both ends of every chain; ``is_end`` (K,)
    marks those; ``chain`` (K,) the chain of each.
    """

    at: IntArray
    is_end: BoolArray
    chain: IntArray

    def kept(self, keep: BoolArray) -> _Breaks:
        return _Breaks(self.at[keep], self.is_end[keep], self.chain[keep])

    def edges(self) -> IntArray:
        """Indices (E,) of the breaks from which an edge leads to the next break."""
        return np.flatnonzero(self.chain[1:] == self.chain[:-1])


class Approximation:
    """Polylines that follow chains of pixel corners.

    Every corner of a chain lies within ``tolerance`` pixels of its polyline and every point of
    the polyline within ``tolerance`` of the chain, except where ``most`` stands against it.

    Attributes:
        points: (P, 2) vertices of all polylines, both ends included.
        offsets: (C + 1,) polyline ``c`` is ``points[offsets[c]:offsets[c + 1]]``.
    """

    def __init__(self, chains: Chains, tolerance: float, size: tuple[int, int]) -> None:
        """Simplify the chains. ``size``: width and height; no vertex lies outside of that."""
        self._chains = chains
        self._bound = max(tolerance - 0.01, 0.0)  # room for the rounding
        self._box = np.array(size, np.float64)
        self._moments = _moments(chains)
        self._breaks = _merge(chains, self._moments)
        self._pinned = np.zeros(len(chains.corners), np.bool_)
        self.points = chains.corners[self._breaks.at].astype(np.float64)
        self._settle(np.ones(len(chains.price), np.bool_))

    @property
    def offsets(self) -> IntArray:
        counts = np.bincount(self._breaks.chain, minlength=len(self._chains.price))
        return np.concatenate(([0], np.cumsum(counts)))

    def refine(self, edges: IntArray, *, fully: bool = False) -> bool:
        """Make the given edges follow their outlines more closely.

        Their ends are pinned to pixel corners, and the farthest corner between, or every one if
        ``fully``, becomes a vertex. An edge that has been refined often enough is the outline.

        Args:
            edges: numbers of points from which the edges lead to the next point.

        Returns:
            False if no edge could be refined any more.
        """
        at = self._breaks.at
        between, edge, distance = self._distances(edges)
        if fully:
            added = between[between != at[edges][edge]]
        else:
            added = between[_one_per_edge(edge, distance, 0.0)]
        ends = np.concatenate((at[edges], at[edges + 1]))
        if not len(added) and self._pinned[ends].all():
            return False
        self._pinned[ends] = True
        self._pinned[added] = fully
        active = np.zeros(len(self._chains.price), np.bool_)
        active[self._breaks.chain[edges]] = True
        self._add(added)
        self._settle(active)
        return True

    def _settle(self, active: BoolArray) -> None:
        """Fit the active chains, make vertices of the corners that lie too far away, and so on."""
        while True:
            edges = self._breaks.edges()
            edges = edges[active[self._breaks.chain[edges]]]
            self._fit(edges, active[self._breaks.chain])
            strayed = self._strayed(edges, self._bound + 0.005)
            if not len(strayed):
                return
            active = np.zeros(len(self._chains.price), np.bool_)
            while len(strayed):
                self._add(strayed)
                place = np.searchsorted(self._breaks.at, strayed)
                active[self._breaks.chain[place]] = True
                # What is far out before the fit will hardly be near enough after it.
                around = np.unique(np.concatenate((place - 1, place)))
                strayed = self._strayed(around, self._bound + _NEARER_BY_FIT)

    def _strayed(self, edges: IntArray, bound: float) -> IntArray:
        """The farthest corner of each edge's stretch, where that is farther than ``bound``."""
        corner, edge, distance = self._distances(edges)
        bad = _one_per_edge(edge, distance, bound)
        room = self._chains.most - (np.diff(self.offsets) - 2)
        chosen = _within(room, self._breaks.chain[edges[edge[bad]]], -distance[bad])
        return corner[bad[chosen]]

    def _add(self, corners: IntArray) -> None:
        """Make corners of the outline vertices."""
        at = np.concatenate((self._breaks.at, corners))
        order = np.argsort(at)
        points = self._chains.corners[corners].astype(np.float64)
        self.points = np.concatenate((self.points, points))[order]
        self._breaks = _breaks_at(self._chains, at[order])

    def _fit(self, edges: IntArray, active: BoolArray) -> None:
        """Move vertices and breaks to where the edges follow their outlines best.

        Vertices and breaks that are pinned or not of an active chain stay where they are.
        """
        numbers = _vertex_numbers(self._chains, self._breaks)
        vertices = np.empty((int(numbers.max()) + 1, 2))
        vertices[numbers] = self.points
        pinned = self._pinned[self._breaks.at]
        vertices[numbers[pinned]] = self._chains.corners[self._breaks.at[pinned]]
        held = pinned | ~active
        free = np.ones((len(vertices), 1))
        free[numbers[held]] = 0
        for turn, steps in enumerate(_FIT_STEPS):
            if turn:
                self._breaks = _moved(self._moments, self._breaks, vertices[numbers], held)
            at = self._breaks.at
            stretches = self._moments[:, at[edges + 1]] - self._moments[:, at[edges]]
            for _ in range(steps):
                vertices += free * _step(stretches, vertices, numbers[edges], numbers[edges + 1])
        self.points = self._confined(vertices[numbers])

    def _confined(self, points: FloatArray) -> FloatArray:
        """Keep every vertex near the corner at its break and inside the picture; round it."""
        corners = self._chains.corners[self._breaks.at]
        away = points - corners
        far = np.hypot(away[:, 0], away[:, 1])
        away *= (self._bound / np.maximum(far, max(self._bound, 1e-9)))[:, None]
        return np.clip(np.round(corners + away, DECIMALS), 0, self._box)

    def _distances(self, edges: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
        """Distance of every corner of the outline to its edge.

        If all corners are near their edge, and all vertices are near the corner at their break,
        then all points of the edge are near the outline too, since the outline joins the two.

        Returns:
            corner (N,), number of the edge within ``edges`` (N,), rising, and distance (N,).
            The corner at an edge's first break is there too, with distance 0.
        """
        at = self._breaks.at
        lengths = at[edges + 1] - at[edges]
        corner = ragged_ranges(at[edges], lengths)
        edge = np.repeat(np.arange(len(edges)), lengths)
        start = self.points[edges]
        ahead = self.points[edges + 1] - start
        squared = (ahead * ahead).sum(axis=1) + 1e-12
        offset = self._chains.corners[corner] - start[edge]
        share = np.clip((offset * ahead[edge]).sum(axis=1) / squared[edge], 0, 1)
        offset -= share[:, None] * ahead[edge]
        distance = np.hypot(offset[:, 0], offset[:, 1])
        distance[np.cumsum(lengths) - lengths] = 0
        return corner, edge, distance


def _one_per_edge(edge: IntArray, distance: FloatArray, bound: float) -> IntArray:
    """Index of the greatest distance above ``bound`` on each edge that has one; edge rises."""
    if not len(edge):
        return edge
    first = np.flatnonzero(np.diff(edge, prepend=-1))
    farthest = np.maximum.reduceat(distance, first)
    bad = np.flatnonzero((distance == farthest[edge]) & (distance > bound))
    return bad[np.unique(edge[bad], return_index=True)[1]]


def _moments(chains: Chains) -> FloatArray:
    """Integrals of 1, x, y, xx, xy, yy along the outline up to each corner: (6, M)."""
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
    """Estimate the area between stretches of outline, given as moments (6, K), and a line each.

    The line is the total least-squares line: its mean squared distance is the smaller eigenvalue
    of the covariance of the points.
    """
    length, x, y, xx, xy, yy = stretch
    length = np.maximum(length, 1e-9)
    mean_x, mean_y = x / length, y / length
    var_x, var_y, cov = xx - x * mean_x, yy - y * mean_y, xy - x * mean_y
    smaller = (var_x + var_y) / 2 - np.hypot((var_x - var_y) / 2, cov)
    area: FloatArray = _MEAN_OVER_RMS * np.sqrt(length * np.maximum(smaller, 0))
    return area


def _merge(chains: Chains, moments: FloatArray) -> _Breaks:
    """Remove vertices in rounds until every one that is left is worth its price."""
    breaks = _breaks_at(chains, np.arange(len(chains.corners)))
    counts = np.diff(chains.offsets) - 2
    # Equal costs are common on pixel outlines; a grain of difference lets one of them go first.
    grain = 1e-9 * ((np.arange(moments.shape[1]) * 40503) & 1023)
    boost = np.ones(len(counts))
    for round_number in itertools.count():
        over = counts > chains.most
        boost = np.where(over, boost * 1.5, 1.0)
        sums = moments[:, breaks.at]
        alone = _area_beside_line(sums[:, 1:] - sums[:, :-1])
        cost = _area_beside_line(sums[:, 2:] - sums[:, :-2]) - alone[:-1] - alone[1:]
        cost += grain[breaks.at[1:-1]]
        cost[breaks.is_end[1:-1]] = np.inf
        price = (chains.price * boost)[breaks.chain[1:-1]]
        if round_number < _PARITY_ROUNDS:
            # Fast start: of the clearly needless corners every second one at once.
            gone = cost < _PARITY_SHARE * price
            gone[round_number % 2 :: 2] = False
        else:
            gone = cost < price
            gone[1:] &= cost[1:] < cost[:-1]
            gone[:-1] &= cost[:-1] <= cost[1:]
        spare = counts - np.where(over, chains.most, chains.fewest)
        asked = np.flatnonzero(gone)
        asked = asked[_within(spare, breaks.chain[1:-1][asked], cost[asked])]
        if round_number >= _PARITY_ROUNDS and not (len(asked) or over.any()):
            return breaks
        counts = counts - np.bincount(breaks.chain[1:-1][asked], minlength=len(counts))
        keep = np.ones(len(breaks.at), np.bool_)
        keep[1:-1][asked] = False
        breaks = breaks.kept(keep)
    raise AssertionError("unreachable")


def _within(allowed: IntArray, chain: IntArray, cost: FloatArray) -> BoolArray:
    """Choose the cheapest wishes of each chain, no more than the chain is allowed."""
    if not (np.bincount(chain, minlength=len(allowed)) > allowed).any():
        return np.ones(len(chain), np.bool_)
    order = np.lexsort((cost, chain))
    in_order = chain[order]
    rank = np.arange(len(chain)) - np.searchsorted(in_order, in_order)
    chosen = np.empty(len(chain), np.bool_)
    chosen[order] = rank < allowed[in_order]
    return chosen


def _breaks_at(chains: Chains, at: IntArray) -> _Breaks:
    chain = np.searchsorted(chains.offsets, at, side="right") - 1
    is_end = (at == chains.offsets[chain]) | (at == chains.offsets[chain + 1] - 1)
    return _Breaks(at, is_end, chain)


def _vertex_numbers(chains: Chains, breaks: _Breaks) -> IntArray:
    """Number the vertices: shared ends first, as in ``chains.ends``, then all others."""
    numbers: IntArray = np.cumsum(~breaks.is_end) + chains.ends.max(initial=-1)
    numbers[breaks.is_end] = chains.ends.ravel()
    return numbers


def _step(
    stretches: FloatArray, vertices: FloatArray, starts: IntArray, ends: IntArray
) -> FloatArray:
    """One Jacobi step of Gauss-Newton for the squared distances of outline and edges.

    A point of the outline at the share t of its edge pulls the start of the edge by (1 - t) times
    its distance along the normal, and the end by t times. The sums over the outline follow from
    the moments (6, E). Returns the displacement of each vertex, (V, 2).
    """
    ax, ay = vertices[starts].T
    dx, dy = (vertices[ends] - vertices[starts]).T
    squared = dx * dx + dy * dy + 1e-12
    root = np.sqrt(squared)
    nx, ny = -dy / root, dx / root
    length, x, y, xx, xy, yy = stretches
    # moments about the start of the edge
    rx, ry = x - length * ax, y - length * ay
    rxx = xx - ax * (x + rx)
    ryy = yy - ay * (y + ry)
    rxy = xy - ax * y - ay * rx
    t = (dx * rx + dy * ry) / squared
    tt = (dx * dx * rxx + 2 * dx * dy * rxy + dy * dy * ryy) / squared**2
    pull = nx * rx + ny * ry
    pull_t = (nx * dx * rxx + (nx * dy + ny * dx) * rxy + ny * dy * ryy) / squared
    vertex = np.concatenate((starts, ends))
    weight = np.concatenate((length - 2 * t + tt, tt))
    force = np.concatenate((pull - pull_t, pull_t))
    nx, ny = np.concatenate((nx, nx)), np.concatenate((ny, ny))

    def summed(values: FloatArray) -> FloatArray:
        return np.bincount(vertex, values, len(vertices)).astype(np.float64, copy=False)

    hxx, hxy, hyy = summed(weight * nx * nx), summed(weight * nx * ny), summed(weight * ny * ny)
    fx, fy = summed(force * nx), summed(force * ny)
    # Damping holds a vertex still along a straight outline, where nothing says where it belongs.
    damping = _DAMPING * (hxx + hyy) + 1e-9
    hxx, hyy = hxx + damping, hyy + damping
    step = np.stack((hyy * fx - hxy * fy, hxx * fy - hxy * fx), axis=1)
    step /= (hxx * hyy - hxy * hxy)[:, None]
    far = np.hypot(step[:, 0], step[:, 1])
    step *= (_LONGEST_STEP / np.maximum(far, _LONGEST_STEP))[:, None]
    return step


def _moved(moments: FloatArray, breaks: _Breaks, points: FloatArray, held: BoolArray) -> _Breaks:
    """Move each break, within a few corners, to where its two edges explain the outline best."""
    inner = np.flatnonzero(~(breaks.is_end | held))
    if not len(inner):
        return breaks
    ahead = points[1:] - points[:-1]
    root = np.hypot(ahead[:, 0], ahead[:, 1]) + 1e-12
    nx, ny = -ahead[:, 1] / root, ahead[:, 0] / root
    offset = nx * points[:-1, 0] + ny * points[:-1, 1]
    # squared distance to the line of each edge, as weights of the moments
    terms = (offset * offset, -2 * offset * nx, -2 * offset * ny, nx * nx, 2 * nx * ny, ny * ny)
    weights = np.stack(terms)
    at = breaks.at
    low = at[inner] - np.minimum(_WINDOW, (at[inner] - at[inner - 1] - 1) // 2)
    high = at[inner] + np.minimum(_WINDOW, (at[inner + 1] - at[inner] - 1) // 2)
    tried = at[inner] + np.arange(-_WINDOW, _WINDOW + 1)[:, None]
    tried = np.clip(tried, low, high)
    change = (weights[:, inner - 1] - weights[:, inner])[:, None, :]
    cost = (moments[:, tried] * change).sum(axis=0)
    moved = at.copy()
    moved[inner] = tried[cost.argmin(axis=0), np.arange(len(inner))]
    return _Breaks(moved, breaks.is_end, breaks.chain)
