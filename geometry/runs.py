"""Find straight runs of pixel edges, and link them to outlines of 4-connected regions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from geometry.arrays import BoolArray, IntArray, LabelArray


class Runs(NamedTuple):
    """The straight runs of all outlines: first those that run right, then down, left and up."""

    starts: IntArray  # (N, 2) start corner of each run
    labels: IntArray  # (N,) label of the run's region
    following: IntArray  # (N,) the next run on the same outline
    rightward: IntArray  # sorted keys, y * width + x, of the starts of the runs to the right
    touching: bool  # True if a region touches another pixel of its label at a corner
    twins: IntArray  # (N,) the opposite run of the region on the other side, or -1
    nodes: BoolArray  # (N,) True if more than two outlines meet in the start corner


class _Scan(NamedTuple):
    """The horizontal runs of pixel edges with their region on one side, sorted by y, then x."""

    y: IntArray
    first_x: IntArray
    last_x: IntArray
    label: IntArray


class _Stretches(NamedTuple):
    """The runs before they are linked: direction (0 right, 1 down, 2 left, 3 up), ends, label."""

    direction: IntArray
    start_x: IntArray
    start_y: IntArray
    end_x: IntArray
    end_y: IntArray
    label: IntArray


def find_runs(padded: LabelArray, neighbours: bool) -> Runs:
    """Find the runs of all outlines and link each to the one that follows it.

    Args:
        padded: label map with a frame of background, one pixel wide.
        neighbours: also end runs at corners where the neighbouring region changes, and find
            ``twins`` and ``nodes``, which are empty otherwise.
    """
    runs = _stretches(padded, neighbours)
    ends = _keys(padded, runs.direction, runs.end_x, runs.end_y)
    ahead_right, ahead_left = _pixels_ahead(padded, runs)
    # Turn right if the pixel ahead on the right is not of the region. This separates diagonal
    # neighbours, since regions are 4-connected.
    turn = np.where(ahead_right != runs.label, 1, np.where(ahead_left != runs.label, 0, 3))
    after = _keys(padded, (runs.direction + turn) & 3, runs.end_x, runs.end_y)
    # Runs are sorted by the keys of their starts, and each run follows exactly one other.
    following = np.empty(len(ends), np.int64)
    following[np.argsort(after)] = np.arange(len(ends))
    keys = _keys(padded, runs.direction, runs.start_x, runs.start_y)
    twins, nodes = np.empty(0, np.int64), np.empty(0, np.bool_)
    if neighbours:
        back = _keys(padded, (runs.direction + 2) & 3, runs.end_x, runs.end_y)
        twins = np.searchsorted(keys, back)
        twins[keys[np.minimum(twins, len(keys) - 1)] != back] = -1
        nodes = _is_node(padded, runs.start_x, runs.start_y)
    return Runs(
        starts=np.stack((runs.start_x, runs.start_y), axis=1),
        labels=runs.label,
        following=following,
        rightward=keys[: np.count_nonzero(runs.direction == 0)],
        touching=bool(np.any((turn == 1) & (ahead_left == runs.label))),
        twins=twins,
        nodes=nodes,
    )


def _stretches(padded: LabelArray, neighbours: bool) -> _Stretches:
    """Find the runs, each with its region on the right, sorted by the keys of their starts."""
    height, width = padded.shape
    flat = padded.ravel()
    # Find the pixels that differ from the one above, row by row, and those that differ from the one
    # to the left, column by column. Sorting these few is faster than transposing the map.
    lower = np.flatnonzero(flat[width:] != flat[:-width]) + width
    right = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    y, x = np.divmod(right, width)
    order = x.astype(np.min_scalar_type(width)).argsort(kind="stable")
    right, place = right[order], (x * height + y)[order]
    below, above = _scan(lower, flat[lower], flat[lower - width], width, neighbours)
    # In the scan by columns "below" means "to the right", and x and y are swapped.
    east, west = _scan(place, flat[right], flat[right - 1], height, neighbours)
    groups = (below, west, above, east)
    return _Stretches(
        direction=np.repeat(np.arange(4), [len(group.y) for group in groups]),
        start_x=np.concatenate((below.first_x, west.y, above.last_x, east.y)),
        start_y=np.concatenate((below.y, west.first_x, above.y, east.last_x)),
        end_x=np.concatenate((below.last_x, west.y, above.first_x, east.y)),
        end_y=np.concatenate((below.y, west.last_x, above.y, east.first_x)),
        label=np.concatenate([group.label for group in groups]),
    )


def _scan(
    places: IntArray, below: LabelArray, above: LabelArray, width: int, neighbours: bool
) -> tuple[_Scan, _Scan]:
    """Find the runs of horizontal pixel edges.

    Args:
        places: y * width + x of the pixels that differ from the one above, ascending.
        below: labels of these pixels.
        above: labels of the pixels above them.
        width: of the padded label map.
        neighbours: see `find_runs`.

    Returns:
        The runs with their region below, and the runs with their region above.
    """

    def scan(inside: LabelArray, outside: LabelArray) -> _Scan:
        kept = np.flatnonzero(inside)
        place, label, beyond = places[kept], inside[kept], outside[kept]
        broken = (np.diff(place) != 1) | (label[1:] != label[:-1])
        if neighbours:
            broken |= beyond[1:] != beyond[:-1]
        breaks = np.flatnonzero(broken)
        first = np.concatenate(([0], breaks + 1))
        last = np.concatenate((breaks, [len(place) - 1]))
        y, x = np.divmod(place[first], width)
        return _Scan(y, x, x + place[last] - place[first] + 1, label[first].astype(np.int64))

    return scan(below, above), scan(above, below)


def _keys(padded: LabelArray, direction: IntArray, x: IntArray, y: IntArray) -> IntArray:
    """Return a number per direction and corner that sorts runs in the order of the scans."""
    height, width = padded.shape
    place: IntArray = np.where(direction & 1, x * height + y, y * width + x)
    keys: IntArray = direction * (height * width) + place
    return keys


def _pixels_ahead(padded: LabelArray, runs: _Stretches) -> tuple[LabelArray, LabelArray]:
    """Return the two pixels ahead of the end of each run: the right one and the left one."""
    x, y, direction = runs.end_x, runs.end_y, runs.direction
    right_dx, right_dy = np.array([0, -1, -1, 0]), np.array([0, 0, -1, -1])
    left_dx, left_dy = np.array([0, 0, -1, -1]), np.array([-1, 0, 0, -1])
    right = padded[y + right_dy[direction], x + right_dx[direction]]
    left = padded[y + left_dy[direction], x + left_dx[direction]]
    return right, left


def _is_node(padded: LabelArray, x: IntArray, y: IntArray) -> BoolArray:
    """Return True for corners at which more than two of the four pixel edges separate labels."""
    around = [padded[y - 1, x - 1], padded[y - 1, x], padded[y, x], padded[y, x - 1]]
    degree = sum((around[i - 1] != around[i]).astype(np.int64) for i in range(4))
    return np.asarray(degree > 2)
