"""Exact outlines of the regions of a label map (private helper of ``poligons_from_seg``).

A region is one 4-connected piece of one label. Its outline runs along pixel edges, so its
vertices are pixel corners: integers, x right, y down, (0, 0) the outer corner of the top left
pixel. Walking along a ring the region lies to the right on screen: exterior rings run clockwise
on screen (positive shoelace area with y down), holes the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
LabelArray = NDArray[Any]


@dataclass(frozen=True)
class Rings:
    """All rings of a label map in flat arrays, sorted by label, then by size of the region.

    Attributes:
        corners: (M, 2) int64, x and y of the corners; neighbours differ in exactly one of them.
        offsets: (R + 1,) int64; ring ``r`` is ``corners[offsets[r]:offsets[r + 1]]``.
        areas: (R,) float64, signed area in pixels: positive for exteriors, negative for holes.
        regions: (R,) int64, rising: the region of the ring. Its exterior comes first, then holes.
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


class _Runs(NamedTuple):
    """Straight stretches of outline: all that run right, then all down, left and up."""

    starts: IntArray  # (N, 2) corner each run starts from
    labels: IntArray  # (N,) label of the region beside it
    following: IntArray  # (N,) the run that begins where this one ends, on the same ring
    twins: IntArray  # (N,) the same stretch seen from the region on its other side, or -1
    nodes: BoolArray  # (N,) more than two outlines meet in the start corner
    touching: bool  # some region has a corner opposite to another pixel of its label
    top_keys: IntArray  # the runs to the right come first; (y * width + x) of their starts, sorted


def trace(labels: LabelArray, *, neighbours: bool = False) -> Rings:
    """Trace every 4-connected region of every non-zero label.

    Every ring is simple: where a region touches itself at a pixel corner, the ring is cut there
    into an exterior and holes that share that single point, as the OGC simple feature model asks.

    Args:
        labels: (H, W) bool or integer label map, 0 is background.
        neighbours: also make a corner wherever the neighbouring region changes, and fill in
            ``nodes``, whether more than two outlines meet in a corner, and ``twins``, for the run
            from each corner to the next the index of the corner where the same run starts, walked
            the other way round, on the ring of the region beside it (-1: background beside it).
    """
    left, top, box = _crop(labels)
    if not box.size:
        return _no_rings()
    padded: LabelArray = cv2.copyMakeBorder(box, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    runs = _find_runs(padded, neighbours)
    order, offsets = _cycles(runs, padded.shape[1])
    areas = ring_areas(runs.starts[order], offsets)
    parents = _parents(padded, runs, order, offsets, areas)
    return _sorted_rings(runs, order, offsets, areas, parents, np.array([left - 1, top - 1]))


def large_rings(rings: Rings, min_area: float) -> Rings:
    """Leave out the regions of fewer than ``min_area`` pixels (their twins become -1)."""
    large = rings.sizes >= min_area
    if large.all():
        return rings
    kept = large[rings.regions]
    lengths = np.diff(rings.offsets)
    corners = np.repeat(kept, lengths)
    renumbered = np.append(np.where(corners, np.cumsum(corners) - 1, -1), -1)
    return Rings(
        corners=rings.corners[corners],
        offsets=np.concatenate(([0], np.cumsum(lengths[kept]))),
        areas=rings.areas[kept],
        regions=(np.cumsum(large) - 1)[rings.regions[kept]],
        labels=rings.labels[large],
        sizes=rings.sizes[large],
        twins=renumbered[rings.twins[corners]] if len(rings.twins) else rings.twins,
        nodes=rings.nodes[corners] if len(rings.nodes) else rings.nodes,
    )


def ring_areas(points: NDArray[Any], offsets: IntArray) -> FloatArray:
    """Signed area of each ring of a flat (M, 2) point array: positive if clockwise on screen."""
    following = np.arange(1, offsets[-1] + 1)
    following[offsets[1:] - 1] = offsets[:-1]
    x, y = points[:, 0], points[:, 1]
    cross = x * y[following] - x[following] * y
    return np.add.reduceat(cross.astype(np.float64), offsets[:-1]) / 2


def ragged_ranges(starts: IntArray, lengths: IntArray) -> IntArray:
    """The ranges ``starts[i] .. starts[i] + lengths[i] - 1``, one after the other."""
    ends = np.cumsum(lengths)
    shifts: IntArray = np.repeat(starts - ends + lengths, lengths)
    return shifts + np.arange(len(shifts))


def _no_rings() -> Rings:
    none, no_number = np.empty(0, np.int64), np.empty(0, np.float64)
    no_corner, no_flag = np.empty((0, 2), np.int64), np.empty(0, np.bool_)
    return Rings(no_corner, np.zeros(1, np.int64), no_number, none, none, no_number, none, no_flag)


def _crop(labels: LabelArray) -> tuple[int, int, LabelArray]:
    """Cut a label map down to what is not background: first column, first row, the cut."""
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


def _scan_rows(
    image: LabelArray, neighbours: bool
) -> list[tuple[IntArray, IntArray, IntArray, IntArray]]:
    """Runs of horizontal pixel edges: those with their region below, then those with it above.

    Each as (y of the line, first x, last x, label), sorted by y, then x.
    """
    width = image.shape[1]
    flat = image.ravel()
    changes = np.flatnonzero(flat[width:] != flat[:-width]) + width
    below, above = flat[changes], flat[changes - width]
    found = []
    for inside, outside in ((below, above), (above, below)):
        kept = np.flatnonzero(inside)
        place, label, beyond = changes[kept], inside[kept], outside[kept]
        broken = (np.diff(place) != 1) | (label[1:] != label[:-1])
        if neighbours:
            broken |= beyond[1:] != beyond[:-1]
        breaks = np.flatnonzero(broken)
        first = np.concatenate(([0], breaks + 1))
        last = np.concatenate((breaks, [len(place) - 1]))
        y, x0 = np.divmod(place[first], width)
        found.append((y, x0, x0 + place[last] - place[first] + 1, label[first].astype(np.int64)))
    return found


def _find_runs(padded: LabelArray, neighbours: bool) -> _Runs:
    """Find the straight runs of all outlines and link each to the one that follows it."""
    height, width = padded.shape
    below, above = _scan_rows(padded, neighbours)
    # On the transposed map "below" is "to the right", and x and y change places.
    east, west = _scan_rows(cv2.transpose(padded), neighbours)
    groups = (below, west, above, east)
    labels = np.concatenate([group[3] for group in groups])
    direction = np.repeat(np.arange(4), [len(group[3]) for group in groups])
    start_x = np.concatenate((below[1], west[0], above[2], east[0]))
    start_y = np.concatenate((below[0], west[1], above[0], east[2]))
    end_x = np.concatenate((below[2], west[0], above[1], east[0]))
    end_y = np.concatenate((below[0], west[2], above[0], east[1]))

    def key(heading: IntArray, x: IntArray, y: IntArray) -> IntArray:
        place: IntArray = np.where(heading & 1, x * height + y, y * width + x)
        keys: IntArray = heading * (height * width) + place
        return keys

    # The two pixels ahead decide the turn. Turning towards the region whenever the pixel on its
    # side is not part of it keeps diagonal neighbours apart: regions are 4-connected.
    ahead_right, ahead_left = _pixels_ahead(padded, direction, end_x, end_y)
    turn = np.where(ahead_right != labels, 1, np.where(ahead_left != labels, 0, 3))
    following = np.empty(len(labels), np.int64)
    # Runs are sorted by their keys, and every run follows exactly one other.
    keys_after = key((direction + turn) & 3, end_x, end_y)
    following[np.argsort(keys_after)] = np.arange(len(labels))
    starts = np.stack((start_x, start_y), axis=1)
    touching = bool(np.any((turn == 1) & (ahead_left == labels)))
    twins, nodes = np.empty(0, np.int64), np.empty(0, np.bool_)
    if neighbours:
        keys = key(direction, start_x, start_y)
        wanted = key((direction + 2) & 3, end_x, end_y)
        twins = np.searchsorted(keys, wanted)
        twins[keys[np.minimum(twins, len(keys) - 1)] != wanted] = -1
        nodes = _is_node(padded, start_x, start_y)
    top_keys = below[0] * width + below[1]
    return _Runs(starts, labels, following, twins, nodes, touching, top_keys)


def _pixels_ahead(
    padded: LabelArray, direction: IntArray, x: IntArray, y: IntArray
) -> tuple[LabelArray, LabelArray]:
    """The pixels ahead of a corner on the right hand and on the left hand of the direction."""
    right_dx, right_dy = np.array([0, -1, -1, 0]), np.array([0, 0, -1, -1])
    left_dx, left_dy = np.array([0, 0, -1, -1]), np.array([-1, 0, 0, -1])
    right = padded[y + right_dy[direction], x + right_dx[direction]]
    left = padded[y + left_dy[direction], x + left_dx[direction]]
    return right, left


def _is_node(padded: LabelArray, x: IntArray, y: IntArray) -> BoolArray:
    """Whether more than two of the four pixel edges at a corner separate different labels."""
    around = [padded[y - 1, x - 1], padded[y - 1, x], padded[y, x], padded[y, x - 1]]
    degree = sum((around[i - 1] != around[i]).astype(np.int64) for i in range(4))
    return np.asarray(degree > 2)


def _cycles(runs: _Runs, width: int) -> tuple[IntArray, IntArray]:
    """Follow the links of the runs: the runs of all rings, and where each ring starts in them."""
    following: list[int] = runs.following.tolist()
    order: list[int] = []
    offsets = [0]
    seen = bytearray(len(following))
    for first in range(len(runs.top_keys)):  # every ring has a run to the right
        if not seen[first]:
            run = first
            while not seen[run]:
                seen[run] = 1
                order.append(run)
                run = following[run]
            offsets.append(len(order))
    flat, bounds = np.array(order), np.array(offsets)
    if not runs.touching:
        return flat, bounds
    corner = (runs.starts[:, 1] * width + runs.starts[:, 0])[flat]
    ring = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    visits = np.sort(corner * len(bounds) + ring)
    twice = visits[1:][visits[1:] == visits[:-1]]
    if len(twice):
        return _split_at_touches(flat, bounds, corner, set((twice % len(bounds)).tolist()))
    return flat, bounds


def _split_at_touches(
    order: IntArray, offsets: IntArray, corner: IntArray, touching: set[int]
) -> tuple[IntArray, IntArray]:
    """Cut the rings that pass a corner twice into simple rings."""
    simple: list[list[int]] = []
    for index, (begin, end) in enumerate(pairwise(offsets.tolist())):
        path: list[int] = []
        if index not in touching:
            simple.append(order[begin:end].tolist())
            continue
        corners = corner[begin:end].tolist()
        place: dict[int, int] = {}
        trail: list[int] = []
        for run, at in zip(order[begin:end].tolist(), corners, strict=True):
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
    lengths = [len(ring) for ring in simple]
    return np.concatenate([np.array(ring) for ring in simple]), np.cumsum([0, *lengths])


def _parents(
    padded: LabelArray, runs: _Runs, order: IntArray, offsets: IntArray, areas: FloatArray
) -> IntArray:
    """Find the exterior around every hole; an exterior is its own parent.

    From the top edge of a hole, go up through the region until it ends. The edge met there
    belongs to the exterior, or to a hole further up whose exterior is known already.
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
        run = int(np.searchsorted(runs.top_keys, end * width + x, side="right")) - 1
        parents[hole] = parents[ring_of_run[run]]
    return parents


def _sorted_rings(
    runs: _Runs,
    order: IntArray,
    offsets: IntArray,
    areas: FloatArray,
    parents: IntArray,
    shift: IntArray,
) -> Rings:
    """Put the rings of a region together, and the regions in order of label and size."""
    size = np.bincount(parents, areas, minlength=len(areas)).astype(np.float64)[parents]
    label = runs.labels[order[offsets[:-1]]]
    rank = np.lexsort((-areas, parents, -size, label))
    lengths = np.diff(offsets)[rank]
    order = order[ragged_ranges(offsets[:-1][rank], lengths)]
    exterior = areas[rank] > 0
    twins = np.empty(0, np.int64)
    if len(runs.twins):
        place = np.empty(len(order) + 1, np.int64)
        place[order] = np.arange(len(order))
        place[-1] = -1  # no twin
        twins = place[runs.twins[order]]
    return Rings(
        corners=runs.starts[order] + shift,
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        areas=areas[rank],
        regions=np.cumsum(exterior) - 1,
        labels=label[rank][exterior],
        sizes=size[rank][exterior],
        twins=twins,
        nodes=runs.nodes[order] if len(runs.nodes) else runs.nodes,
    )
