"""Join runs to the exact rings of every region."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geometry.arrays import BoolArray, FloatArray, IntArray, LabelArray, offsets_of, ragged_ranges
from geometry.runs import Runs, find_runs


@dataclass(frozen=True)
class Rings:
    """The rings of a label map in flat arrays, sorted by label, then by size of the region.

    Attributes:
        corners: (M, 2) int64, x and y of the corners; neighbours differ in exactly one of them.
        offsets: (R + 1,) int64; ring ``r`` is ``corners[offsets[r]:offsets[r + 1]]``.
        areas: (R,) float64, signed area in pixels: positive for exteriors, negative for holes.
        regions: (R,) int64, ascending: the region of the ring. Its exterior comes first, then
            holes.
        labels: (Q,) int64, the label of each region.
        sizes: (Q,) float64, pixels of each region.
        twins: (M,) int64, see `trace`; empty if not asked for.
        nodes: (M,) bool, see `trace`; empty if not asked for.
    """

    corners: IntArray
    offsets: IntArray
    areas: FloatArray
    regions: IntArray
    labels: IntArray
    sizes: FloatArray
    twins: IntArray
    nodes: BoolArray


def trace(labels: LabelArray, *, neighbours: bool = False) -> Rings:
    """Trace every 4-connected region of every non-zero label.

    Every ring is simple. If a region touches itself at a pixel corner, its ring is split there into
    an exterior and holes that share this point, as the OGC simple feature model requires.

    Args:
        labels: (H, W) bool or integer label map, 0 is background.
        neighbours: add a corner wherever the neighbouring region changes, and fill in ``nodes`` and
            ``twins``. A node is a corner in which more than two outlines meet. The run from a
            corner to the next one also belongs, in the opposite direction, to a ring of the
            neighbouring region. The corner's twin is the corner at which the run starts on that
            ring, or -1 if the neighbour is background.
    """
    left, top, box = _crop(labels)
    if not box.size:
        return _no_rings()
    padded: LabelArray = cv2.copyMakeBorder(box, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    runs = find_runs(padded, neighbours)
    order, offsets = _cycles(runs, padded.shape[1])
    areas = ring_areas(runs.starts[order], offsets)
    parents = _parents(padded, runs, order, offsets, areas)
    return _sorted_rings(runs, order, offsets, areas, parents, np.array([left - 1, top - 1]))


def retrace(rings: Rings, labels: LabelArray, changed: Collection[int]) -> Rings:
    """Trace the regions of some labels again, after pixels of them got another label.

    Args:
        rings: from `trace`, of the map before the change, without ``twins`` and ``nodes``.
        labels: (H, W) uint8, the map after the change.
        changed: the labels that lost or gained pixels. None gained pixels of the background.

    Returns:
        The rings that `trace` returns for the new map, in less time.
    """
    table = np.zeros(256, np.uint8)
    table[list(changed)] = list(changed)
    old = table.astype(np.bool_)[rings.labels]
    before = rings.corners[np.repeat(old[rings.regions], np.diff(rings.offsets))]
    if not len(before):
        return rings
    (left, top), (right, bottom) = before.min(0), before.max(0)
    fresh = trace(cv2.LUT(labels[top:bottom, left:right], table))
    placed = replace(fresh, corners=fresh.corners + np.array([left, top]))
    return _sorted_by_label(_rings_of(rings, ~old), placed)


def large_rings(rings: Rings, min_area: float) -> Rings:
    """Drop the regions of fewer than ``min_area`` pixels; twins in them become -1."""
    large = rings.sizes >= min_area
    return rings if large.all() else _rings_of(rings, large)


def _rings_of(rings: Rings, chosen: BoolArray) -> Rings:
    """Return the rings of the regions for which ``chosen`` (Q,) is True."""
    kept = chosen[rings.regions]
    lengths = np.diff(rings.offsets)
    corners = np.repeat(kept, lengths)
    renumbered = np.append(np.where(corners, np.cumsum(corners) - 1, -1), -1)
    return Rings(
        corners=rings.corners[corners],
        offsets=offsets_of(lengths[kept]),
        areas=rings.areas[kept],
        regions=(np.cumsum(chosen) - 1)[rings.regions[kept]],
        labels=rings.labels[chosen],
        sizes=rings.sizes[chosen],
        twins=renumbered[rings.twins[corners]] if len(rings.twins) else rings.twins,
        nodes=rings.nodes[corners] if len(rings.nodes) else rings.nodes,
    )


def _sorted_by_label(first: Rings, second: Rings) -> Rings:
    """Return the rings of both, which have no label in common, without twins and nodes."""
    labels = np.concatenate((first.labels, second.labels))
    regions = np.concatenate((first.regions, second.regions + len(first.labels)))
    lengths = np.concatenate((np.diff(first.offsets), np.diff(second.offsets)))
    by_label = labels.argsort(kind="stable")
    order = labels[regions].argsort(kind="stable")
    starts = offsets_of(lengths)[:-1]
    return Rings(
        corners=np.concatenate((first.corners, second.corners))[
            ragged_ranges(starts[order], lengths[order])
        ],
        offsets=offsets_of(lengths[order]),
        areas=np.concatenate((first.areas, second.areas))[order],
        regions=by_label.argsort()[regions[order]],
        labels=labels[by_label],
        sizes=np.concatenate((first.sizes, second.sizes))[by_label],
        twins=first.twins[:0],
        nodes=first.nodes[:0],
    )


def exteriors(rings: Rings) -> dict[int, list[IntArray]]:
    """Return the exterior ring of each region of each label, the largest region first."""
    first = np.flatnonzero(np.diff(rings.regions, prepend=-1))
    ends = zip(rings.offsets[first].tolist(), rings.offsets[first + 1].tolist(), strict=True)
    found: dict[int, list[IntArray]] = {}
    for label, (start, end) in zip(rings.labels.tolist(), ends, strict=True):
        found.setdefault(label, []).append(rings.corners[start:end])
    return found


def ring_areas(points: NDArray[Any], offsets: IntArray) -> FloatArray:
    """Return the signed area of each ring of a flat point array: positive if clockwise on screen.

    Args:
        points: (M, 2) points of all rings.
        offsets: (R + 1,) of the rings in them.
    """
    following = np.arange(1, offsets[-1] + 1)
    following[offsets[1:] - 1] = offsets[:-1]
    x, y = points[:, 0], points[:, 1]
    cross = x * y[following] - x[following] * y
    return np.add.reduceat(cross.astype(np.float64), offsets[:-1]) / 2


def label_boxes(rings: Rings) -> list[tuple[int, int, int, int]]:
    """Return (x, y, width, height) around the pixels of each label, in the order of the labels."""
    of_ring = rings.labels[rings.regions]
    first = np.flatnonzero(np.diff(of_ring, prepend=-1))  # rings of a label are contiguous
    if not len(first):
        return []
    low = np.minimum.reduceat(rings.corners, rings.offsets[first])
    high = np.maximum.reduceat(rings.corners, rings.offsets[first])
    return [(x, y, width, height) for x, y, width, height in np.hstack((low, high - low)).tolist()]


def _no_rings() -> Rings:
    none, no_number = np.empty(0, np.int64), np.empty(0, np.float64)
    no_corner, no_flag = np.empty((0, 2), np.int64), np.empty(0, np.bool_)
    return Rings(no_corner, np.zeros(1, np.int64), no_number, none, none, no_number, none, no_flag)


def _crop(labels: LabelArray) -> tuple[int, int, LabelArray]:
    """Crop a label map to the pixels that are not background.

    Returns:
        First column, first row, and the cropped map.
    """
    if labels.ndim != 2:
        raise ValueError(f"expected a two-dimensional array, got shape {labels.shape}")
    if not labels.size:
        return 0, 0, labels
    if labels.dtype == np.bool_:
        labels = labels.view(np.uint8)
    elif labels.dtype != np.uint8:
        labels = labels.astype(np.int32)
    present = labels if labels.dtype == np.uint8 else (labels != 0).view(np.uint8)
    x, y, width, height = cv2.boundingRect(present)
    return x, y, labels[y : y + height, x : x + width]


def _cycles(runs: Runs, width: int) -> tuple[IntArray, IntArray]:
    """Follow the links of the runs around each ring.

    Args:
        runs: the runs.
        width: of the padded label map.

    Returns:
        Indices of the runs ring by ring, and the offsets of the rings in them.
    """
    flat, bounds = _in_cycles(runs.following)
    if not runs.touching:
        return flat, bounds
    corner = (runs.starts[:, 1] * width + runs.starts[:, 0])[flat]
    ring = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    visits = np.sort(corner * len(bounds) + ring)
    twice = visits[1:][visits[1:] == visits[:-1]]
    if not len(twice):  # no region touches itself
        return flat, bounds
    return _split_at_touches(flat, bounds, corner, set((twice % len(bounds)).tolist()))


def _in_cycles(following: IntArray) -> tuple[IntArray, IntArray]:
    """Order the elements of a permutation by cycles, each from its least element on.

    All cycles are followed at once, in steps that double (list ranking, Wyllie 1979).

    Returns:
        The elements, and the offsets of the cycles in them.
    """
    itself = np.arange(len(following))
    least, ahead = itself, following
    while not np.array_equal(farther := np.minimum(least, least.take(ahead)), least):
        least, ahead = farther, ahead.take(ahead)
    is_first = least == itself
    steps = (~is_first).astype(np.int64)  # to the first element of the cycle
    ahead = np.where(is_first, itself, following)
    while (farther := steps.take(ahead)).any():
        steps, ahead = steps + farther, ahead.take(ahead)
    ring = (np.cumsum(is_first) - 1).take(least)
    offsets = offsets_of(np.bincount(ring))
    place = np.where(is_first, offsets[ring], offsets[ring + 1] - steps)
    flat = np.empty(len(following), np.int64)
    flat[place] = itself
    return flat, offsets


def _split_at_touches(
    order: IntArray, offsets: IntArray, corner: IntArray, touching: set[int]
) -> tuple[IntArray, IntArray]:
    """Cut rings that pass a corner twice into simple rings.

    Args:
        order: (M,) runs, ring by ring.
        offsets: (R + 1,) of the rings in them.
        corner: (M,) key of the start corner of each run.
        touching: rings to cut.
    """
    simple: list[list[int]] = []
    for index, (begin, end) in enumerate(pairwise(offsets.tolist())):
        runs = order[begin:end].tolist()
        if index not in touching:
            simple.append(runs)
            continue
        path: list[int] = []
        trail: list[int] = []
        place: dict[int, int] = {}
        for run, at in zip(runs, corner[begin:end].tolist(), strict=True):
            if at in place:
                cut = place[at]
                simple.append(path[cut:])
                for gone in trail[cut:]:
                    del place[gone]
                del path[cut:], trail[cut:]
            place[at] = len(path)
            path.append(run)
            trail.append(at)
        simple.append(path)
    lengths = np.array([len(runs) for runs in simple])
    return np.concatenate([np.array(runs) for runs in simple]), offsets_of(lengths)


def _parents(
    padded: LabelArray, runs: Runs, order: IntArray, offsets: IntArray, areas: FloatArray
) -> IntArray:
    """Find the exterior around every hole; an exterior is its own parent.

    The search goes up from the top edge of a hole through the region to the region's edge. This
    edge belongs to the exterior, or to a hole further up whose exterior is known already.
    """
    parents = np.arange(len(areas))
    holes = np.flatnonzero(areas < 0)
    if not len(holes):
        return parents
    ring_of_run = np.empty(len(order), np.int64)
    ring_of_run[order] = np.repeat(parents, np.diff(offsets))
    width = padded.shape[1]
    tops = []
    for hole in holes.tolist():
        corners = runs.starts[order[offsets[hole] : offsets[hole + 1]]]
        y = int(corners[:, 1].min())
        tops.append((y, int(corners[corners[:, 1] == y, 0].min()), hole))
    for y, x, hole in sorted(tops):
        column = padded[:y, x]
        end = int(np.flatnonzero(column != column[-1])[-1]) + 1
        run = int(np.searchsorted(runs.rightward, end * width + x, side="right")) - 1
        parents[hole] = parents[ring_of_run[run]]
    return parents


def _sorted_rings(
    runs: Runs,
    order: IntArray,
    offsets: IntArray,
    areas: FloatArray,
    parents: IntArray,
    shift: IntArray,
) -> Rings:
    """Group the rings by region, and sort the regions by label and size."""
    size = np.bincount(parents, areas, minlength=len(areas)).astype(np.float64)[parents]
    label = runs.labels[order[offsets[:-1]]]
    rank = np.lexsort((-areas, parents, -size, label))
    lengths = np.diff(offsets)[rank]
    order = order[ragged_ranges(offsets[:-1][rank], lengths)]
    exterior = areas[rank] > 0
    twins = runs.twins
    if len(twins):
        place = np.empty(len(order) + 1, np.int64)
        place[order] = np.arange(len(order))
        place[-1] = -1  # no twin
        twins = place[twins[order]]
    return Rings(
        corners=runs.starts[order] + shift,
        offsets=offsets_of(lengths),
        areas=areas[rank],
        regions=np.cumsum(exterior) - 1,
        labels=label[rank][exterior],
        sizes=size[rank][exterior],
        twins=twins,
        nodes=runs.nodes[order] if len(runs.nodes) else runs.nodes,
    )
