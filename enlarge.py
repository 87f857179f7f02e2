"""From the network's resolution to the photo's: which label each pixel has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_BAND = 128  # rows of pixels that are worked on at a time: what they need stays in the cache


@dataclass(frozen=True)
class _Axis:
    """Where the pixels of one axis lie among the cells of a coarser one.

    Attributes:
        cell: the cell that each pixel lies in.
        low, high, share: linear interpolation takes `1 - share` of cell `low` and the rest of
            `high`; cell centres, not corners, are aligned, and the ends continue flat.
    """

    cell: NDArray[np.intp]
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    share: NDArray[np.float32]

    @classmethod
    def of(cls, pixels: int, cells: int) -> _Axis:
        scale = cells / pixels
        at = (np.arange(pixels) + 0.5) * scale - 0.5
        low = np.clip(np.floor(at).astype(np.intp), 0, cells - 1)
        return cls(
            cell=np.minimum((np.arange(pixels) * scale).astype(np.intp), cells - 1),
            low=low,
            high=np.minimum(low + 1, cells - 1),
            share=np.clip(at - low, 0, 1).astype(np.float32),
        )

    def cut(self, first: int, last: int) -> _Axis:
        """The pixels `first` to `last`, exclusive."""
        span = slice(first, last)
        return _Axis(self.cell[span], self.low[span], self.high[span], self.share[span])


def parts_in(labels: NDArray[np.uint8]) -> list[int]:
    """The labels other than 0, the background, that are in a label map, ascending."""
    return (np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1).tolist()


def parts_left(labels: NDArray[np.uint8], parts: Iterable[int]) -> list[int]:
    """Those of some parts that are in a label map of a photo's size, ascending."""
    # Nearly all are met on a few of the pixels; all pixels are searched for the others only.
    met = set(parts_in(labels[::8, ::8]))
    return sorted(part for part in parts if part in met or (labels == part).any())


def enlarged_labels(
    logits: NDArray[np.float32], coarse: NDArray[np.uint8], height: int, width: int
) -> NDArray[np.uint8]:
    """Full-size argmax of the bilinearly enlarged logits, for the parts in `coarse`.

    Each part is confined to its cells there and their neighbours, so what was removed from
    `coarse` stays out. Logits are enlarged only where a part may be.

    Args:
        logits: (labels, h, w); label 0 is the background.
        coarse: (h, w), labels of the cells.
        height, width: of the photo.

    Returns:
        (height, width) labels.
    """
    around = np.ones((3, 3), np.uint8)
    near = {
        label: cv2.dilate((coarse == label).view(np.uint8), around).view(np.bool_)
        for label in parts_in(coarse)
    }
    rows, columns = _Axis.of(height, coarse.shape[0]), _Axis.of(width, coarse.shape[1])
    labels = np.zeros((height, width), np.uint8)
    for top in range(0, height, _BAND):
        band = rows.cut(top, top + _BAND)
        _fill(labels[top : top + _BAND], logits, near, band, columns)
    return labels


def _fill(
    labels: NDArray[np.uint8],
    logits: NDArray[np.float32],
    near: dict[int, NDArray[np.bool_]],
    rows: _Axis,
    columns: _Axis,
) -> None:
    """Set the labels of some rows."""
    first, last = int(rows.cell[0]), int(rows.cell[-1]) + 1
    spans = {
        label: span
        for label, cells in near.items()
        if (span := _span(cells[first:last], columns)) is not None
    }
    if not spans:
        return
    left = min(span[0] for span in spans.values())
    right = max(span[1] for span in spans.values())
    best = _enlarged(logits[0], rows, columns.cut(left, right))
    for label, (start, end) in spans.items():
        across = columns.cut(start, end)
        window = (slice(None), slice(start - left, end - left))
        score = _enlarged(logits[label], rows, across)
        wins = score > best[window]
        wins &= near[label][first:last].take(across.cell, 1).take(rows.cell - first, 0)
        np.copyto(best[window], score, where=wins)
        np.copyto(labels[:, start:end], label, where=wins)


def _span(cells: NDArray[np.bool_], columns: _Axis) -> tuple[int, int] | None:
    """First and last column of pixels, exclusive, over the cells that are set."""
    used = np.flatnonzero(cells.any(axis=0))
    if not used.size:
        return None
    start, end = np.searchsorted(columns.cell, (used[0], used[-1] + 1)).tolist()
    return (start, end) if start < end else None


def _enlarged(grid: NDArray[np.float32], rows: _Axis, columns: _Axis) -> NDArray[np.float32]:
    """Bilinear interpolation of (h, w) at some rows and columns of pixels."""
    first = int(rows.low[0])
    lines = grid[first : int(rows.high[-1]) + 1]
    across = _between(lines.take(columns.low, 1), lines.take(columns.high, 1), columns.share)
    low, high = rows.low - first, rows.high - first
    return _between(across.take(low, 0), across.take(high, 0), rows.share[:, None])


def _between(
    one: NDArray[np.float32], other: NDArray[np.float32], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`one + share * (other - one)`, computed in the memory of both."""
    other -= one
    other *= share
    one += other
    return one
