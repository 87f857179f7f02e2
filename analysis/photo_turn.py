"""Classify the car in a photo, and find the quarter turns that turn the photo upright."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from car_classification import CarView, TypeClassifier
from img_to_segments import CoarseSegmentation, PartSegmenter
from options import DEFAULT_CONFIDENCE
from segment_interface import Photo
from vision.labels import WHEEL

QUARTERS = (1, 2, 3)

# Measured on 1,573 upright photos and close-ups, of which these limits turn 1 by mistake, and on
# 170 turned photos, of which 8 are missed.
_UPRIGHT = 0.5  # least probability by the layout network at which no other turn is tried
_SURE = 0.5  # least mean confidence of the parts at which no other turn is tried
_TURNED = 0.6  # least probability by the layout network at which another turn may win
_SURE_TURNED = 0.3  # least mean confidence of the parts at which another turn may win
_BETTER = 1.2  # another turn must have this many times the score of the posted photo


@dataclass(frozen=True)
class Orientation:
    """The output of the networks for a photo after some quarter turns clockwise.

    Attributes:
        quarters: 0 to 3.
        cells: the parts, in the turned photo.
        view: the output of the type networks; None if there are no parts.
    """

    quarters: int
    cells: CoarseSegmentation
    view: CarView | None

    @property
    def mean_confidence(self) -> float:
        """Return the mean confidence of the parts, weighted by their areas."""
        cells = self.cells.basic
        counts = np.bincount(cells.labels.ravel(), minlength=len(cells.logits))
        confidences = cells.confidences
        total = sum(int(counts[label]) for label in confidences)
        weighted = sum(counts[label] * value for label, value in confidences.items())
        return float(weighted / total) if total else 0.0

    @property
    def score(self) -> float:
        """Return a score for comparisons: higher if this is more likely an upright car photo."""
        if self.view is None:
            return 0.0
        return self.mean_confidence * self.cells.basic.area * self.view.turned[0]

    @property
    def is_clear(self) -> bool:
        """Return True if the photo is clearly upright.

        At least one sure part must not be a wheel, which looks the same in all turns.
        """
        confidences = self.cells.basic.confidences.items()
        shows_up = any(sure >= DEFAULT_CONFIDENCE and part != WHEEL for part, sure in confidences)
        likely = self.view is not None and self.view.turned[0] >= _TURNED
        return likely and shows_up and self.mean_confidence >= _SURE_TURNED

    @property
    def is_doubtful(self) -> bool:
        """Return True if the photo may be turned: no parts, unsure parts, or an odd layout."""
        if self.view is None:
            return True
        return self.view.turned[0] < _UPRIGHT or self.mean_confidence < _SURE


def classify(
    classifier: TypeClassifier,
    pixels: NDArray[np.uint8],
    cells: CoarseSegmentation,
    quarters: int = 0,
) -> Orientation:
    """Run the type networks on a photo and its parts.

    Args:
        classifier: the type networks.
        pixels: (h, w, 3) uint8, the photo, turned clockwise by `quarters` quarter turns.
        cells: the parts in the turned photo.
        quarters: 0 to 3.
    """
    basic = cells.basic
    if not basic.confidences:
        return Orientation(quarters, cells, None)
    box = basic.box(*pixels.shape[:2])
    return Orientation(quarters, cells, classifier(pixels, box, basic.probabilities))


def turn_upright(
    segmenter: PartSegmenter, classifier: TypeClassifier, photo: Photo, posted: Orientation
) -> Orientation:
    """Return the most likely orientation of a photo. If in doubt, run the networks on all turns.

    Args:
        segmenter: the part network.
        classifier: the type networks.
        photo: the photo as it was posted.
        posted: the output of the networks for it.
    """
    if not posted.is_doubtful:
        return posted
    turned = []
    for quarters in QUARTERS:
        pixels = np.ascontiguousarray(np.rot90(photo.pixels, -quarters))
        turned.append(classify(classifier, pixels, segmenter.cells(pixels), quarters))
    return best_orientation(posted, turned)


def best_orientation(posted: Orientation, turned: list[Orientation]) -> Orientation:
    """Return the best of the other turns if it is clear and much better, else `posted`."""
    best = max(turned, key=lambda orientation: orientation.score)
    return best if best.is_clear and best.score > _BETTER * posted.score else posted
