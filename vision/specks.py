"""Remove pieces of parts that are too small for the part network to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from geometry.rings import ring_areas

Ring = NDArray[np.int64]


def remove_specks(
    labels: NDArray[np.uint8],
    pieces: Mapping[int, Sequence[Ring]],
    limit: float,
    share: float,
) -> set[int]:
    """Relabel small pieces of a part with the most frequent label around them, in place.

    The largest piece of a part stays.

    Args:
        labels: (H, W) uint8 label map.
        pieces: outer ring (n, 2) of each piece of each label, the largest first, in pixel corners.
        limit: pixels of the map; smaller pieces are removed.
        share: smaller pieces than this share of the part's largest piece are removed, too.

    Returns:
        The labels that lost or gained pixels.
    """
    changed: set[int] = set()
    for label, rings in pieces.items():
        if len(rings) < 2:
            continue
        most = max(limit, share * _area(rings[0]))
        for ring in reversed(rings[1:]):  # the smallest first
            if _area(ring) >= most:
                break
            changed |= _remove(labels, label, ring, most)
    return changed


def _area(points: Ring) -> float:
    return abs(float(ring_areas(points, np.array([0, len(points)]))[0]))


def _remove(labels: NDArray[np.uint8], label: int, points: Ring, limit: float) -> set[int]:
    """Remove the small pieces of a label in the box of a ring, grown by two pixels.

    Args:
        labels: (H, W) uint8 label map, changed in place.
        label: of the pieces.
        points: (n, 2), the ring in pixel corners.
        limit: pixels; smaller pieces are removed.

    Returns:
        The labels that lost or gained pixels.
    """
    x0, y0 = np.maximum(points.min(0) - 2, 0)
    x1, y1 = points.max(0) + 2
    window = labels[y0:y1, x0:x1]
    inner = np.pad(window == label, 1).view(np.uint8)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(inner, connectivity=4)
    changed: set[int] = set()
    for piece in range(1, count):
        here = pieces == piece
        around = cv2.dilate(here.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
        around = (around & ~here)[1:-1, 1:-1]
        here = here[1:-1, 1:-1]
        # a piece that continues outside the window touches the window's edge
        edge = _on_cut_edge(here, (y0, x0, y1, x1), labels.shape)
        if stats[piece, cv2.CC_STAT_AREA] < limit and not edge and around.any():
            new = int(np.bincount(window[around]).argmax())
            window[here] = new
            changed |= {label, new}
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
