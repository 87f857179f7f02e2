"""Upsample a segmentation from the network's resolution to the photo's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 1 << 17  # pixels that are processed at a time, so that their data stays in the cache
_LARGE = 6_000_000  # pixels of a photo from which on its label map consists of squares of 2x2

_Indices = NDArray[np.intp]
_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Axis:
    """The positions of the pixels of one axis between the centres of the coarser cells.

    Gap g lies between the centres of cells g - 1 and g. The first and the last gap lie beyond the
    outermost centres, where the values of the outermost cells continue unchanged. A gap with fewer
    pixels than others repeats its last one, so that all gaps can be computed alike.

    Attributes:
        gap: (pixels,) the gap of each pixel.
        before, after: (gaps,) the cells on both sides of each gap.
        has_pixels: (gaps,) False for a gap without pixels.
        pixel: (most pixels of a gap, gaps) the pixels of each gap.
        share: (most pixels of a gap, gaps) position of these pixels in their gap: 0 at the centre
            before it, 1 at the centre after it.
    """

    gap: _Indices
    before: _Indices
    after: _Indices
    has_pixels: NDArray[np.bool_]
    pixel: _Indices
    share: _Floats

    @classmethod
    @lru_cache(maxsize=8)  # sizes of photos repeat
    def of(cls, pixels: int, cells: int) -> _Axis:
        at = (np.arange(pixels) + 0.5) * (cells / pixels) + 0.5
        gap = np.minimum(at.astype(np.intp), cells)
        count = np.bincount(gap, minlength=cells + 1)
        within = np.minimum(np.arange(count.max())[:, None], count - 1)
        pixel = np.clip(count.cumsum() - count + within, 0, pixels - 1)
        number = np.arange(cells + 1)
        return cls(
            gap=gap,
            before=np.maximum(number - 1, 0),
            after=np.minimum(number, cells - 1),
            has_pixels=count > 0,
            pixel=pixel,
            share=(at - gap).astype(np.float32)[pixel],
        )


@dataclass(frozen=True)
class _Gaps:
    """Two-dimensional gaps between the centres of four cells of several labels.

    Gaps with more labels come first.

    Attributes:
        y, x: (n,) number of each gap on both axes.
        labels: (4, n) uint8, the labels of the four cells, descending, each once and then 0. Label
            0, the background, is left out.
    """

    y: _Indices
    x: _Indices
    labels: NDArray[np.uint8]

    @classmethod
    def of(cls, mixed: NDArray[np.bool_], near: NDArray[np.uint8]) -> _Gaps:
        """Find the gaps.

        Args:
            mixed: (gaps, gaps) True for those to return.
            near: (4, gaps, gaps), labels of the four cells around each gap.
        """
        y, x = mixed.nonzero()
        labels = np.sort(near[:, y, x], axis=0)
        labels[1:][labels[1:] == labels[:-1]] = 0
        labels = np.sort(labels, axis=0)[::-1]
        order = np.argsort(-np.count_nonzero(labels, axis=0), kind="stable")
        return cls(y[order], x[order], labels[:, order])

    def pieces(self, size: int) -> Iterator[_Gaps]:
        """Yield the gaps in pieces of a number of gaps."""
        for start in range(0, len(self.y), size):
            piece = slice(start, start + size)
            yield _Gaps(self.y[piece], self.x[piece], self.labels[:, piece])


def map_scale(height: int, width: int) -> int:
    """Return the side in pixels of the squares of which the label map of a photo consists, 1 or 2.

    A cell of the network covers 20 to 30 pixels of a large photo in each direction, so that its
    labels are not known to a pixel. Squares of 2x2 take a quarter of the work. A photo with an odd
    side does not consist of squares.

    Args:
        height: of the photo in pixels.
        width: of the photo in pixels.
    """
    return 2 if height * width >= _LARGE and height % 2 == width % 2 == 0 else 1


def labels_in(labels: NDArray[np.uint8]) -> list[int]:
    """Return the labels in a label map, ascending, without 0, the background."""
    return (np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1).tolist()


def labels_remaining(labels: NDArray[np.uint8], parts: Iterable[int]) -> list[int]:
    """Return the parts among `parts` that a label map of a photo's size still has, ascending."""
    # A few of the pixels show nearly all parts. Only for the others all pixels are searched.
    met = set(labels_in(labels[::8, ::8]))
    return sorted(part for part in parts if part in met or (labels == part).any())


def upsample_labels(
    logits: NDArray[np.float32], coarse: NDArray[np.uint8], height: int, width: int
) -> NDArray[np.uint8]:
    """Return the argmax of the bilinearly enlarged logits, restricted to the labels in `coarse`.

    Between four cells of one label each pixel gets that label. Elsewhere the background competes
    with the labels of the four cells. So parts removed from `coarse` stay removed, and no part
    gains a piece that no cell shows.

    Args:
        logits: (labels, h, w); label 0 is the background.
        coarse: (h, w), the best label of each cell, or 0 if it was removed.
        height: of the photo in pixels.
        width: of the photo in pixels.

    Returns:
        (height, width) labels.
    """
    rows, columns = _Axis.of(height, coarse.shape[0]), _Axis.of(width, coarse.shape[1])
    sides = coarse.take(columns.before, 1), coarse.take(columns.after, 1)
    near = np.stack([side.take(cells, 0) for side in sides for cells in (rows.before, rows.after)])
    mixed = near.min(0) != near.max(0)
    labels = np.where(mixed, 0, near[0]).take(columns.gap, 1).take(rows.gap, 0)
    gaps = _Gaps.of(mixed & rows.has_pixels[:, None] & columns.has_pixels, near)
    pixels, planes = labels.ravel(), logits.reshape(len(logits), -1)
    for piece in gaps.pieces(max(1, _AT_ONCE // (len(rows.share) * len(columns.share)))):
        start = rows.pixel.take(piece.y, 1) * width
        place = start[:, None] + columns.pixel.take(piece.x, 1)
        pixels[place] = _best(planes, piece, rows, columns)
    return labels


def _best(planes: _Floats, gaps: _Gaps, rows: _Axis, columns: _Axis) -> NDArray[np.uint8]:
    """Return the best labels (a, b, n) of the pixels in n gaps.

    The gaps are the last axis, the longest one, so that the processor computes several at once.

    Args:
        planes: (labels, cells) logits.
        gaps: the n gaps.
        rows: the axis from top to bottom.
        columns: the axis from left to right.
    """
    width = len(columns.before) - 1  # of the coarser map
    top, bottom = rows.before[gaps.y] * width, rows.after[gaps.y] * width
    left, right = columns.before[gaps.x], columns.after[gaps.x]
    cells = np.stack((top + left, bottom + left, top + right, bottom + right))
    down, across = rows.share.take(gaps.y, 1), columns.share.take(gaps.x, 1)
    first = gaps.labels[0]
    best = _between(planes[first, cells], down, across)
    labels = np.broadcast_to(first, best.shape).copy()
    for label in gaps.labels[1:]:
        count = np.count_nonzero(label)
        if not count:
            break
        label = label[:count]
        score = _between(planes[label, cells[:, :count]], down[:, :count], across[:, :count])
        before = best[..., :count]
        np.copyto(labels[..., :count], label, where=score >= before)  # the first of equals wins
        np.maximum(score, before, out=before)
    labels *= best > _between(planes[0].take(cells), down, across)
    return labels


def _between(corners: _Floats, down: _Floats, across: _Floats) -> _Floats:
    """Return the bilinearly interpolated values (a, b, n) of the pixels in n gaps.

    Args:
        corners: (4, n) values of the cells: top left, bottom left, top right and bottom right.
        down: (a, n) positions of the pixels between top and bottom, 0 to 1.
        across: (b, n) positions of the pixels between left and right, 0 to 1.
    """
    left, right = corners[:2], corners[2:]
    top, bottom = left[:, None] + across * (right - left)[:, None]
    bottom -= top
    found: _Floats = down[:, None] * bottom
    found += top
    return found
