"""Measure label maps: IoU by part over pooled pixels, and swapped sides."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from training.parts_data import FLIPPED, IGNORE
from vision.labels import PART_NAMES, label_of

CLASSES = len(PART_NAMES) + 1


def without_missing(
    guess: NDArray[np.uint8], truth: NDArray[np.uint8], missing: Iterable[str]
) -> NDArray[np.uint8]:
    """Ignore background pixels whose guess is a part without an annotation.

    Such pixels are neither right nor wrong.

    Returns:
        The truth (H, W) uint8 with 255 at these pixels.
    """
    labels = [label_of(name) for name in missing]
    if not labels:
        return truth
    forgiven = (truth == 0) & np.isin(guess, labels)
    return np.where(forgiven, np.uint8(IGNORE), truth)


class PartScores:
    """Pixel counts over photos, and the figures computed from them.

    Example:
        >>> scores = PartScores()
        >>> scores.add(np.array([[7, 7]], np.uint8), np.array([[7, 0]], np.uint8))
        >>> scores.figures()["iou_front_bumper"]
        0.5
    """

    def __init__(self) -> None:
        self.confusion = np.zeros((CLASSES, CLASSES), np.int64)

    def add(
        self, guess: NDArray[np.uint8], truth: NDArray[np.uint8], missing: Iterable[str] = ()
    ) -> None:
        """Count one photo.

        Args:
            guess: label map (H, W) uint8.
            truth: label map (H, W) uint8; 255 is ignored.
            missing: visible parts that `truth` lacks; see `without_missing`.
        """
        truth = without_missing(guess, truth, missing)
        valid = truth < CLASSES
        pairs = truth[valid].astype(np.int64) * CLASSES + guess[valid]
        self.confusion += np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)

    def figures(self) -> dict[str, float]:
        """Return mIoU over the parts that occur, the share of swapped pixels, and each part's IoU.

        The share is over all pixels of sided parts whose guess is the right part, on either side.
        A pixel counts as swapped if the guess is the other side.
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
