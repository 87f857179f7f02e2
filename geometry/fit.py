"""Fit the vertices of the polygons to the outlines, within the tolerance.

All vertices move together to minimise the sum of squared distances between the outlines and the
edges (Gauss-Newton with Jacobi steps). Between the steps each break between two stretches of
outline moves to the corner at which the two edges fit the outline best. If an outline is farther
than the tolerance from its edge, the farthest corner becomes a vertex again, and the fit is
repeated.
"""

from __future__ import annotations

import numpy as np

from geometry.arrays import BoolArray, FloatArray, IntArray, offsets_of, ragged_ranges
from geometry.chains import Breaks, Chains, breaks_at, cheapest_within, merge, moments_of

# Decimals of a coordinate: hundredths of a pixel.
_DECIMALS = 2
# Steps before and after the breaks move, and of a repeated fit after a few vertices were added.
_FIT_STEPS = (3, 2)
_AGAIN = (2,)
_DAMPING = 0.05
_LONGEST_STEP = 2.0
# Largest move of a break at once, in corners.
_WINDOW = 4
# Largest distance in pixels by which a fit is expected to bring a corner nearer to its edge.
_NEARER_BY_FIT = 0.7


class Approximation:
    """The polylines that approximate chains of pixel corners.

    Every corner of a chain lies within ``tolerance`` pixels of its polyline, and every point of the
    polyline within ``tolerance`` of the chain, unless `Chains.most` allows too few vertices.

    Attributes:
        points: (P, 2) vertices of all polylines, both ends included.
        offsets: (C + 1,) polyline ``c`` is ``points[offsets[c]:offsets[c + 1]]``.
    """

    def __init__(self, chains: Chains, tolerance: float, size: tuple[int, int]) -> None:
        """Simplify the chains.

        Args:
            chains: the chains to approximate.
            tolerance: pixels.
            size: (width, height) of the picture. No vertex lies outside of it.
        """
        self._chains = chains
        self._bound = max(tolerance - 0.01, 0.0)  # room for the rounding
        self._box = np.array(size, np.float64)
        self._moments = moments_of(chains)
        self._breaks = merge(chains, self._moments)
        self._corners = np.ascontiguousarray(chains.corners.T, np.float64)
        self._pinned = np.zeros(len(chains.corners), np.bool_)
        self.points = chains.corners[self._breaks.at].astype(np.float64)
        self._settle(np.ones(len(chains.price), np.bool_), _FIT_STEPS)

    @property
    def offsets(self) -> IntArray:
        return offsets_of(self._counts())

    def _counts(self) -> IntArray:
        """Return the number of vertices of each chain, (C,)."""
        return np.bincount(self._breaks.chain, minlength=len(self._chains.price))

    def refine(self, edges: IntArray, *, fully: bool = False) -> bool:
        """Make the given edges follow their outlines more closely.

        The ends of each edge are pinned to pixel corners, and the farthest corner between them
        becomes a vertex. An edge that is refined often enough becomes its exact outline.

        Args:
            edges: indices of the points from which the edges lead to the next point.
            fully: make every corner between the ends a vertex, not just the farthest.

        Returns:
            False if no edge could be refined further.
        """
        at = self._breaks.at
        if fully:
            added = ragged_ranges(at[edges] + 1, at[edges + 1] - at[edges] - 1)
        else:
            added = self._farthest(edges, 0.0)[0]
        ends = np.concatenate((at[edges], at[edges + 1]))
        if not len(added) and self._pinned[ends].all():
            return False
        self._pinned[ends] = True
        self._pinned[added] = fully
        # Chains that share a vertex that was just pinned have to be fitted again, too.
        numbers = _vertex_numbers(self._chains, self._breaks)
        moved = np.isin(numbers, numbers[np.concatenate((edges, edges + 1))])
        active = np.zeros(len(self._chains.price), np.bool_)
        active[self._breaks.chain[moved]] = True
        self._add(added)
        self._settle(active, _AGAIN)
        return True

    def _settle(self, active: BoolArray, turns: tuple[int, ...]) -> None:
        """Fit the active chains and add vertices at corners that stray, until none does.

        Args:
            active: (C,) True for the chains to fit.
            turns: of the first fit, see `_fit`. Later ones are repeated fits.
        """
        while True:
            edges = self._breaks.edges()
            edges = edges[active[self._breaks.chain[edges]]]
            self._fit(edges, active[self._breaks.chain], turns)
            turns = _AGAIN
            strayed = self._strayed(edges, self._bound + 0.005)
            if not len(strayed):
                return
            active = np.zeros(len(self._chains.price), np.bool_)
            while len(strayed):
                self._add(strayed)
                place = np.searchsorted(self._breaks.at, strayed)
                active[self._breaks.chain[place]] = True
                # A corner this far out before the fit will hardly be near enough after it.
                around = np.unique(np.concatenate((place - 1, place)))
                strayed = self._strayed(around, self._bound + _NEARER_BY_FIT)

    def _strayed(self, edges: IntArray, bound: float) -> IntArray:
        """Return the farthest corner from each edge that strays, if its chain has room for it.

        Args:
            edges: indices of the points from which the edges lead to the next point.
            bound: pixels; an edge strays if a corner is farther than this from it.
        """
        corners, distances = self._farthest(edges, bound)
        chain = np.searchsorted(self._chains.offsets, corners, side="right") - 1
        room = self._chains.most - (self._counts() - 2)
        if (np.bincount(chain, minlength=len(room)) <= room).all():
            return corners
        return corners[cheapest_within(room, chain, -distances)]

    def _add(self, corners: IntArray) -> None:
        """Add vertices at corners of the outline."""
        at = np.concatenate((self._breaks.at, corners))
        order = np.argsort(at)
        points = self._chains.corners[corners].astype(np.float64)
        self.points = np.concatenate((self.points, points))[order]
        self._breaks = breaks_at(self._chains, at[order])

    def _fit(self, edges: IntArray, active: BoolArray, turns: tuple[int, ...]) -> None:
        """Move vertices and breaks so that the edges follow their outlines best.

        Vertices and breaks that are pinned, or not of an active chain, do not move.

        Args:
            edges: indices of the points from which the edges to fit lead to the next point.
            active: (K,) True for the breaks of active chains.
            turns: number of steps of the vertices in each turn. Before each turn but the first, the
                breaks move.
        """
        numbers = _vertex_numbers(self._chains, self._breaks)
        vertices = np.empty((2, int(numbers.max()) + 1))
        vertices[:, numbers] = self.points.T
        pinned = self._pinned[self._breaks.at]
        vertices[:, numbers[pinned]] = self._chains.corners[self._breaks.at[pinned]].T
        held = pinned | ~active
        free = np.ones(vertices.shape[1])
        free[numbers[held]] = 0
        ends = numbers[edges], numbers[edges + 1]
        for turn, steps in enumerate(turns):
            if turn:
                self._breaks = _moved(self._moments, self._breaks, vertices[:, numbers], held)
            at = self._breaks.at
            stretches = self._moments.take(at[edges + 1], 1) - self._moments.take(at[edges], 1)
            for _ in range(steps):
                vertices += free * _step(stretches, vertices, *ends)
        # Rounding moves a vertex at the bound slightly each time, so inactive vertices are kept.
        confined = self._confined(vertices[:, numbers].T)
        self.points = np.where(active[:, None], confined, self.points)

    def _confined(self, points: FloatArray) -> FloatArray:
        """Limit each vertex to the bound around its break and to the picture, and round it."""
        corners = self._chains.corners[self._breaks.at]
        away = points - corners
        squares = away * away
        far = np.sqrt(squares[:, 0] + squares[:, 1])
        away *= (self._bound / np.maximum(far, max(self._bound, 1e-9)))[:, None]
        return np.clip(np.round(corners + away, _DECIMALS), 0, self._box)

    def _farthest(self, edges: IntArray, bound: float) -> tuple[IntArray, FloatArray]:
        """Find the farthest corner of the outline from each edge, if farther than ``bound``.

        Only corners need checking. If all corners are near their edge, and all vertices are near
        the corner at their break, then all points of the edge are near the outline, too, since the
        outline connects the two ends.

        Args:
            edges: indices of the points from which the edges lead to the next point.
            bound: pixels.

        Returns:
            Indices of corners and their distances, at most one for each edge.
        """
        at = self._breaks.at
        lengths = at[edges + 1] - at[edges]
        first = lengths.cumsum() - lengths
        corner = ragged_ranges(at[edges], lengths)
        start = self.points[edges].T
        ahead = self.points[edges + 1].T - start
        scale = 1 / (ahead[0] * ahead[0] + ahead[1] * ahead[1] + 1e-12)
        away = self._corners.take(corner, 1) - start.repeat(lengths, 1)
        along = away * (ahead * scale).repeat(lengths, 1)
        share = along[0] + along[1]
        np.maximum(share, 0, out=share)
        np.minimum(share, 1, out=share)
        away -= share * ahead.repeat(lengths, 1)
        away *= away
        squared = away[0] + away[1]
        squared[first] = 0  # the corner at the break, near its vertex anyway
        farthest = np.maximum.reduceat(squared, first) if len(first) else squared
        bad = (farthest > bound * bound).nonzero()[0]
        ranges = zip(first[bad].tolist(), lengths[bad].tolist(), strict=True)
        places = [start + int(squared[start : start + count].argmax()) for start, count in ranges]
        return corner[places], np.sqrt(farthest[bad])


def _vertex_numbers(chains: Chains, breaks: Breaks) -> IntArray:
    """Return the number of each vertex: shared ends as in ``chains.ends``, then all others."""
    numbers: IntArray = np.cumsum(~breaks.is_end) + chains.ends.max(initial=-1)
    numbers[breaks.is_end] = chains.ends.ravel()
    return numbers


def _step(
    stretches: FloatArray, vertices: FloatArray, starts: IntArray, ends: IntArray
) -> FloatArray:
    """Compute one Jacobi step of Gauss-Newton for the squared distances of outline and edges.

    A point of the outline at the share t of its edge pulls the start of the edge by (1 - t) times
    its distance along the normal, and the end by t times. The sums over the outline follow from
    the moments.

    Args:
        stretches: (6, E) moments of the outline along each edge.
        vertices: (2, V).
        starts: (E,) vertex at the start of each edge.
        ends: (E,) vertex at the end of each edge.

    Returns:
        The displacement of each vertex, (2, V).
    """
    # Pairs are (x, y) of vectors, or xx and yy of moments: each call of numpy does both.
    a = vertices.take(starts, 1)
    d = vertices.take(ends, 1) - a
    dd = d * d
    squared = dd[0] + dd[1] + 1e-12
    n = d[::-1] / np.sqrt(squared)
    np.negative(n[0], out=n[0])
    length, sums = stretches[0], stretches[1:3]
    # moments about the start of the edge
    r = sums - length * a
    rr = stretches[3::2] - a * (sums + r)
    rxy = stretches[4] - a[0] * sums[1] - a[1] * r[0]
    t = _total(d * r) / squared
    tt_pair = dd * rr
    tt = (tt_pair[0] + 2 * d[0] * d[1] * rxy + tt_pair[1]) / (squared * squared)
    pull_pair = n * d * rr
    pull_t = (pull_pair[0] + _total(n * d[::-1]) * rxy + pull_pair[1]) / squared
    vertex = np.concatenate((starts, ends))
    weight = np.concatenate((length - 2 * t + tt, tt))
    force = np.concatenate((_total(n * r) - pull_t, pull_t))
    n = np.concatenate((n, n), axis=1)

    def summed(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(vertex, values, vertices.shape[1]), np.float64)

    h, f = np.empty_like(vertices), np.empty_like(vertices)
    weighted, forces = weight * n, force * n
    hxy = summed(weighted[0] * n[1])
    weighted *= n
    h[0], h[1] = summed(weighted[0]), summed(weighted[1])
    f[0], f[1] = summed(forces[0]), summed(forces[1])
    # Along a straight outline the position of a vertex is undetermined; damping holds it still.
    h += _DAMPING * _total(h) + 1e-9
    step: FloatArray = h[::-1] * f - hxy * f[::-1]
    step /= h[0] * h[1] - hxy * hxy
    step *= _LONGEST_STEP / np.maximum(np.sqrt(_total(step * step)), _LONGEST_STEP)
    return step


def _total(pair: FloatArray) -> FloatArray:
    """Return the sum (E,) of a pair (2, E)."""
    total: FloatArray = pair[0] + pair[1]
    return total


def _moved(moments: FloatArray, breaks: Breaks, points: FloatArray, held: BoolArray) -> Breaks:
    """Move each break by up to `_WINDOW` corners to the one at which its edges fit best.

    Args:
        moments: (6, M) integrals up to each corner.
        breaks: the K breaks.
        points: (2, K) vertex of each break.
        held: (K,) True for breaks that must not move.
    """
    inner = np.flatnonzero(~(breaks.is_end | held))
    if not len(inner):
        return breaks
    ahead = points[:, 1:] - points[:, :-1]
    root = np.hypot(ahead[0], ahead[1]) + 1e-12
    nx, ny = -ahead[1] / root, ahead[0] / root
    offset = nx * points[0, :-1] + ny * points[1, :-1]
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
    return Breaks(moved, breaks.is_end, breaks.chain)
