"""Exact outlines of the regions of a label map (private helper of ``poligons_from_seg``).

A region is one 4-connected piece of one label. Its outline runs along pixel edges, so its
vertices are pixel corners: integers, x right, y down, (0, 0) the outer corner of the top left
pixel. Walking along a ring the region lies to the right on screen: exterior rings run clockwise
on screen (positive shoelace area with y down), holes the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
LabelArray = NDArray[Any]


@dataclass(frozen=True)
class Rings:
    """All rings of a label map, one after the other in flat arrays.

    Attributes:
        corners: (M, 2) int64, x and y of the corners; neighbours differ in exactly one of them.
        offsets: (R + 1,) int64; ring ``r`` is ``corners[offsets[r]:offsets[r + 1]]``.
        labels: (R,) int64, the label whose region the ring bounds.
        areas: (R,) float64, signed area in pixels: positive for exteriors, negative for holes.
        parents: (R,) int64, index of the exterior ring around a hole; an exterior's own index.
    """

    corners: IntArray
    offsets: IntArray
    labels: IntArray
    areas: FloatArray
    parents: IntArray


@dataclass(frozen=True)
class _Runs:
    """Straight stretches of outline, grouped by direction: right, down, left, up.

    ``keys`` (N,) orders the runs by direction and start corner and is sorted. ``starts`` (N, 2)
    are the corners they start from, ``labels`` (N,) their regions, ``following`` (N,) the run
    that begins where this one ends, ``rightward`` the number of runs in the first group.
    """

    keys: IntArray
    starts: IntArray
    labels: IntArray
    following: IntArray
    rightward: int


def trace(labels: LabelArray) -> Rings:
    """Trace every 4-connected region of every non-zero label.

    Every ring is simple: where a region touches itself at a pixel corner, the ring is cut there
    into an exterior and holes that share that single point, as the OGC simple feature model asks.

    Args:
        labels: (H, W) bool or integer label map, 0 is background.
    """
    top, left, box = _crop(labels)
    if not box.size:
        none = np.empty(0, np.int64)
        return Rings(np.empty((0, 2), np.int64), np.zeros(1, np.int64), none, np.empty(0), none)
    padded = np.pad(box, 1)
    runs = _find_runs(padded)
    rings = _cycles(runs, padded.shape[1])
    order = np.array([run for ring in rings for run in ring])
    offsets = np.concatenate(([0], np.cumsum([len(ring) for ring in rings])))
    corners = runs.starts[order]
    areas = ring_areas(corners, offsets)
    parents = _parents(padded, runs, order, offsets, areas)
    shift = np.array([left - 1, top - 1])
    return Rings(corners + shift, offsets, runs.labels[order[offsets[:-1]]], areas, parents)


def successors(offsets: IntArray) -> IntArray:
    """Index of the next point on the same ring, for every point of the flat array."""
    following = np.arange(1, offsets[-1] + 1)
    following[offsets[1:] - 1] = offsets[:-1]
    return following


def ring_areas(points: NDArray[Any], offsets: IntArray) -> FloatArray:
    """Signed area of each ring of a flat (M, 2) point array: positive if clockwise on screen."""
    after = points[successors(offsets)]
    cross = points[:, 0] * after[:, 1] - after[:, 0] * points[:, 1]
    return np.add.reduceat(cross.astype(np.float64), offsets[:-1]) / 2


def _crop(labels: LabelArray) -> tuple[int, int, LabelArray]:
    """Cut a label map down to what is not background: its first row, first column, the cut."""
    if labels.ndim != 2:
        raise ValueError(f"expected a two-dimensional array, got shape {labels.shape}")
    if labels.dtype == np.bool_:
        labels = labels.view(np.uint8)
    elif labels.dtype != np.uint8:
        labels = labels.astype(np.int32)
    rows = np.flatnonzero(labels.any(axis=1))
    if not len(rows):
        return 0, 0, labels[:0, :0]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(labels[top:bottom].any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    return top, left, labels[top:bottom, left:right]


def _scan_rows(image: LabelArray) -> list[tuple[IntArray, IntArray, IntArray, IntArray]]:
    """Runs of horizontal pixel edges: those with their region below, then those with it above.

    Each as (y of the line, first x, last x, label), sorted by y, then x.
    """
    width = image.shape[1]
    flat = image.ravel()
    changes = np.flatnonzero(flat[width:] != flat[:-width])
    found = []
    for inside in (changes + width, changes):
        value = flat[inside]
        kept = value != 0
        place, label = (changes[kept] + width), value[kept].astype(np.int64)
        broken = (np.diff(place) != 1) | (np.diff(label) != 0)
        first = np.flatnonzero(np.concatenate(([True], broken)))
        last = np.flatnonzero(np.concatenate((broken, [True])))
        y, x0 = np.divmod(place[first], width)
        found.append((y, x0, place[last] % width + 1, label[first]))
    return found


def _find_runs(padded: LabelArray) -> _Runs:
    """Find the straight runs of all outlines and link each to the one that follows it."""
    height, width = padded.shape
    below, above = _scan_rows(padded)
    # On the transposed map, "below" is "to the right", and x and y change places.
    east, west = _scan_rows(np.ascontiguousarray(cv2.transpose(padded)))
    starts_xy = (
        (below[1], below[0]),
        (west[0], west[1]),
        (above[2], above[0]),
        (east[0], east[2]),
    )
    ends_xy = (
        (below[2], below[0]),
        (west[0], west[2]),
        (above[1], above[0]),
        (east[0], east[1]),
    )
    groups = (below, west, above, east)
    labels = np.concatenate([group[3] for group in groups])
    direction = np.repeat(np.arange(4), [len(group[3]) for group in groups])
    starts = np.concatenate([np.stack(pair, axis=1) for pair in starts_xy])
    ends = np.concatenate([np.stack(pair, axis=1) for pair in ends_xy])

    # The pixel ahead on the region's side decides the turn. Turning towards the region whenever
    # that pixel is not part of it keeps diagonal neighbours apart: regions are 4-connected.
    ahead_dx = np.array([0, -1, -1, 0])[direction]
    ahead_dy = np.array([0, 0, -1, -1])[direction]
    ahead = padded[ends[:, 1] + ahead_dy, ends[:, 0] + ahead_dx]
    turned = (direction + np.where(ahead != labels, 1, -1)) % 4

    def key(heading: IntArray, corner: IntArray) -> IntArray:
        x, y = corner[:, 0], corner[:, 1]
        along: IntArray = np.where(heading % 2 == 0, y * width + x, x * height + y)
        keyed: IntArray = heading * (height * width) + along
        return keyed

    keys = key(direction, starts)
    following = np.searchsorted(keys, key(turned, ends))
    return _Runs(keys, starts, labels, following, len(below[3]))


def _cycles(runs: _Runs, width: int) -> list[list[int]]:
    """Follow the links of the runs: one list of runs per ring, every ring simple."""
    following: list[int] = runs.following.tolist()
    seen = bytearray(len(following))
    rings: list[list[int]] = []
    for first in range(runs.rightward):  # every ring has a run to the right
        if seen[first]:
            continue
        ring: list[int] = []
        run = first
        while not seen[run]:
            seen[run] = 1
            ring.append(run)
            run = following[run]
        rings.append(ring)
    return _split_at_touches(rings, runs.starts[:, 1] * width + runs.starts[:, 0])


def _split_at_touches(rings: list[list[int]], corner: IntArray) -> list[list[int]]:
    """Cut each ring that passes a corner twice into simple rings."""
    ring_of_run = np.empty(len(corner), np.int64)
    for index, ring in enumerate(rings):
        ring_of_run[ring] = index
    visit = np.sort(corner * len(rings) + ring_of_run)
    touching = set((visit[1:][visit[1:] == visit[:-1]] % len(rings)).tolist())
    if not touching:
        return rings
    simple: list[list[int]] = []
    for index, ring in enumerate(rings):
        if index not in touching:
            simple.append(ring)
            continue
        path: list[int] = []
        place: dict[int, int] = {}
        for run, at in zip(ring, corner[ring].tolist(), strict=True):
            if at in place:
                loop = path[place[at] :]
                simple.append(loop)
                for gone in corner[loop].tolist():
                    del place[gone]
                del path[-len(loop) :]
            place[at] = len(path)
            path.append(run)
        simple.append(path)
    return simple


def _parents(
    padded: LabelArray, runs: _Runs, order: IntArray, offsets: IntArray, areas: FloatArray
) -> IntArray:
    """Find the exterior around every hole.

    From the top edge of a hole, go up through the region until it ends. The edge met there
    belongs to the exterior, or to a hole further up whose exterior is known already.
    """
    parents = np.arange(len(areas))
    holes = np.flatnonzero(areas < 0)
    if not len(holes):
        return parents
    ring_of_run = np.empty(len(order), np.int64)
    ring_of_run[order] = np.repeat(np.arange(len(areas)), np.diff(offsets))
    width = padded.shape[1]
    tops = []
    for hole in holes.tolist():
        corners = runs.starts[order[offsets[hole] : offsets[hole + 1]]]
        highest = corners[corners[:, 1] == corners[:, 1].min()]
        tops.append((int(highest[0, 1]), int(highest[:, 0].min()), hole))
    for y, x, hole in sorted(tops):
        column = padded[:y, x]
        first_inside = int(np.flatnonzero(column != column[-1])[-1]) + 1
        at = np.searchsorted(runs.keys[: runs.rightward], first_inside * width + x, side="right")
        parents[hole] = parents[ring_of_run[at - 1]]
    return parents
