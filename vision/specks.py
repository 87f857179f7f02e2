"""Remove pieces of parts that are too small for the part network to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Ring = Sequence[tuple[float, float]]


def remove_specks(
    labels: NDArray[np.uint8],
    pieces: Mapping[int, Sequence[Ring]],
    limit: float,
    share: float,
    scale: int = 1,
) -> bool:
    """Relabel small pieces of a part with the most frequent label around them, in place.

    The largest piece of a part stays.

    Args:
        labels: (H, W) uint8 label map.
        pieces: outer ring of each piece of each label, the largest first, in pixel corners of the
            photo.
        limit: pixels of the map; smaller pieces are removed.
        share: smaller pieces than this share of the part's largest piece are removed, too.
        scale: pixels of the photo for each of the map, on both axes.

    Returns:
        True if the map has changed.
    """
    changed = False
    for label, found in pieces.items():
        if len(found) < 2:
            continue
        rings = [np.array(ring) / scale for ring in found]
        most = max(limit, share * _area(rings[0]))
        for ring in reversed(rings[1:]):  # the smallest first
            if _area(ring) >= most:
                break
            changed |= _remove(labels, label, ring, most)
    return changed


def _area(points: NDArray[np.float64]) -> float:
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _remove(
    labels: NDArray[np.uint8], label: int, points: NDArray[np.float64], limit: float
) -> bool:
    """Remove the small pieces of a label in the box of a ring, grown by two pixels.

    Args:
        labels: (H, W) uint8 label map, changed in place.
        label: of the pieces.
        points: (n, 2), the ring in pixel corners of the map.
        limit: pixels; smaller pieces are removed.

    Returns:
        True if the map has changed.
    """
    x0, y0 = np.maximum(np.floor(points.min(0)).astype(int) - 2, 0)
    x1, y1 = np.ceil(points.max(0)).astype(int) + 2
    window = labels[y0:y1, x0:x1]
    inner = np.pad(window == label, 1).view(np.uint8)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(inner, connectivity=4)
    changed = False
    for piece in range(1, count):
        here = pieces == piece
        around = cv2.dilate(here.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
        around = (around & ~here)[1:-1, 1:-1]
        here = here[1:-1, 1:-1]
        # a piece that continues outside the window touches the window's edge
        edge = _on_cut_edge(here, (y0, x0, y1, x1), labels.shape)
        if stats[piece, cv2.CC_STAT_AREA] < limit and not edge and around.any():
            window[here] = np.bincount(window[around]).argmax()
            changed = True
    return changed


def _on_cut_edge(
    here: NDArray[np.bool_], box: tuple[int, int, int, int], shape: tuple[int, ...]
) -> bool:
    """Return True if a piece touches an edge of the window that is not an edge of the map.

    Args:
        here: (h, w) bool, the piece in the window.
        box: y0, x0, y1, x1 of the window in the map.
        shape: (height, width) of the map.
    """
    y0, x0, y1, x1 = box
    return bool(
        (y0 > 0 and here[0].any())
        or (x0 > 0 and here[:, 0].any())
        or (y1 < shape[0] and here[-1].any())
        or (x1 < shape[1] and here[:, -1].any())
    )
