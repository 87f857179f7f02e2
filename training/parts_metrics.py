"""How good label maps are: IoU by part over pooled pixels, and sides mixed up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from img_to_segments import PART_NAMES
from training.parts_data import FLIPPED

CLASSES = len(PART_NAMES) + 1


class PartScores:
    """Counts pixels over photos; `figures` tells what they mean.

    Example:
        >>> scores = PartScores()
        >>> scores.add(np.array([[7, 7]], np.uint8), np.array([[7, 0]], np.uint8))
        >>> scores.figures()["iou_front_bumper"]
        0.5
    """

    def __init__(self) -> None:
        self.confusion = np.zeros((CLASSES, CLASSES), np.int64)

    def add(self, guess: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Count one photo: two label maps (H, W) uint8; truth 255 is left out."""
        valid = truth < CLASSES
        pairs = truth[valid].astype(np.int64) * CLASSES + guess[valid]
        self.confusion += np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)

    def figures(self) -> dict[str, float]:
        """mIoU over the parts that occur, share of sided pixels with the wrong side, IoU each.

        A sided pixel counts as swapped where the guess is the same part of the other side,
        out of all pixels of sided parts that are given to either side.
        """
        hits = np.diag(self.confusion).astype(float)
        union = self.confusion.sum(0) + self.confusion.sum(1) - hits
        iou = np.divide(hits, union, out=np.full(CLASSES, np.nan), where=union > 0)
        sided = [label for label in range(1, CLASSES) if FLIPPED[label] != label]
        right = sum(self.confusion[label, label] for label in sided)
        swapped = sum(self.confusion[label, FLIPPED[label]] for label in sided)
        return {
            "miou": float(np.nanmean(iou[1:])),
            "swapped": float(swapped / max(right + swapped, 1)),
            **{f"iou_{name}": float(iou[i]) for i, name in enumerate(PART_NAMES, start=1)},
        }
