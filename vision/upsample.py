"""Upsample a segmentation from the network's resolution to the photo's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_AT_ONCE = 1 << 17  # pixels that are processed at a time, so that their data stays in the cache
_FOUR = ((0, 0), (0, 1), (1, 0), (1, 1))

_LARGE = 6_000_000  # pixels of a photo from which on its label map consists of squares of 2x2


@dataclass(frozen=True)
class _Axis:
    """The positions of the pixels of one axis between the centres of the coarser cells.

    Gap g lies between the centres of cells g - 1 and g. The first and the last gap lie beyond the
    outermost centres, where the values of the outermost cells continue unchanged.

    Attributes:
        gap: (pixels,) the gap of each pixel.
        first, count: (gaps,) first pixel and number of pixels of each gap.
        share: (gaps, most pixels of a gap) position of each pixel in its gap: 0 at the centre
            before it, 1 at the centre after it.
    """

    gap: NDArray[np.intp]
    first: NDArray[np.intp]
    count: NDArray[np.intp]
    share: NDArray[np.float32]

    @classmethod
    def of(cls, pixels: int, cells: int) -> _Axis:
        at = (np.arange(pixels) + 0.5) * (cells / pixels) + 0.5
        gap = np.minimum(at.astype(np.intp), cells)
        count = np.bincount(gap, minlength=cells + 1)
        first = count.cumsum() - count
        share = np.zeros((cells + 1, count.max()), np.float32)
        share[gap, np.arange(pixels) - first[gap]] = at - gap
        return cls(gap, first, count, share)


@dataclass(frozen=True)
class _Gaps:
    """Two-dimensional gaps, each between the centres of four cells, with their pixels' positions.

    Attributes:
        y, x: (n,) number of each gap on both axes.
        down, across: (n, a) and (n, b), the gaps' rows of `_Axis.share`.
    """

    y: NDArray[np.intp]
    x: NDArray[np.intp]
    down: NDArray[np.float32]
    across: NDArray[np.float32]

    def chosen(self, index: NDArray[np.intp]) -> _Gaps:
        return _Gaps(self.y[index], self.x[index], self.down[index], self.across[index])

    def between(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the bilinearly interpolated values (n, a, b) of the gaps' pixels.

        Args:
            plane: (h + 2, w + 2), values of the cells, padded by one cell on each side.
        """
        cells, width = plane.ravel(), plane.shape[1]
        place = self.y * width + self.x
        left, right = cells.take([place, place + width]), cells.take([place + 1, place + width + 1])
        top, bottom = left[:, :, None] + self.across * (right - left)[:, :, None]
        bottom -= top
        found: NDArray[np.float32] = self.down[:, :, None] * bottom[:, None, :]
        found += top[:, None, :]
        return found


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
    padded = np.pad(coarse, 1, "edge")
    rows_up, columns_left = (side - 1 for side in padded.shape)
    here, *others = (padded[y : rows_up + y, x : columns_left + x] for y, x in _FOUR)
    mixed = np.logical_or.reduce([other != here for other in others])
    labels = np.where(mixed, 0, here).take(columns.gap, 1).take(rows.gap, 0)
    mixed &= (rows.count > 0)[:, None] & (columns.count > 0)
    ys, xs = np.nonzero(mixed)
    near = sliding_window_view(padded, (2, 2))
    planes = np.pad(logits, ((0, 0), (1, 1), (1, 1)), "edge")
    step = max(1, _AT_ONCE // (rows.share.shape[1] * columns.share.shape[1]))
    for start in range(0, len(ys), step):
        y, x = ys[start : start + step], xs[start : start + step]
        gaps = _Gaps(y, x, rows.share[y], columns.share[x])
        _write(labels, _best(planes, near[y, x].reshape(-1, 4), gaps), gaps, rows, columns)
    return labels


def _best(planes: NDArray[np.float32], near: NDArray[np.uint8], gaps: _Gaps) -> NDArray[np.uint8]:
    """Return the best labels (n, a, b) of the pixels in n gaps.

    Args:
        planes: (labels, h + 2, w + 2) logits, padded by one cell on each side.
        near: (n, 4) labels of the four cells around each gap.
        gaps: the n gaps.
    """
    best = gaps.between(planes[0])
    labels = np.zeros(best.shape, np.uint8)
    for label in labels_in(near):
        here = (near == label).any(axis=1).nonzero()[0]
        score = gaps.chosen(here).between(planes[label])
        before = best[here]
        labels[here] = np.where(score > before, np.uint8(label), labels[here])
        best[here] = np.maximum(score, before, out=before)
    return labels


def _write(
    labels: NDArray[np.uint8], best: NDArray[np.uint8], gaps: _Gaps, rows: _Axis, columns: _Axis
) -> None:
    """Write the best labels of the pixels in some gaps into the label map.

    Args:
        labels: (height, width) label map, changed in place.
        best: (n, a, b), labels of the pixels in the gaps.
        gaps: the n gaps.
        rows: the axis from top to bottom.
        columns: the axis from left to right.
    """
    _, high, wide = best.shape
    there = (np.arange(high) < rows.count[gaps.y][:, None])[:, :, None]
    there = there & (np.arange(wide) < columns.count[gaps.x][:, None])[:, None, :]
    start = rows.first[gaps.y] * labels.shape[1] + columns.first[gaps.x]
    within = np.arange(high)[:, None] * labels.shape[1] + np.arange(wide)
    place = start[:, None, None] + within
    labels.ravel()[place[there]] = best[there]
