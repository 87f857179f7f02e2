"""Trunk or tailgate: the parts are alike, and the type of the car says which of them it has.

The names are used as the annotators of the photos used them, of which the networks have learned:
the lid of a sedan, coupe or convertible is the tailgate (in 41 of 42 photos), the rear door of an
SUV, van or pickup the trunk (76 of 80). Hatchbacks have one as often as the other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from img_to_segments import PART_NAMES, Segmentation

TAILGATE, TRUNK = PART_NAMES.index("tailgate") + 1, PART_NAMES.index("trunk") + 1
WITH_TAILGATE = ("sedan", "coupe", "convertible")
WITH_TRUNK = ("suv", "van", "pickup")

_SURE = 0.7  # probability of all types that have the part


def name_rear(segmentation: Segmentation, scores: Mapping[str, float]) -> Segmentation:
    """Call the rear part of a car what it is called on cars of its type, where that is sure.

    Args:
        segmentation: the parts as the part network names them.
        scores: probability of each car type.
    """
    if sum(scores[name] for name in WITH_TAILGATE) > _SURE:
        return _renamed(segmentation, TRUNK, TAILGATE)
    if sum(scores[name] for name in WITH_TRUNK) > _SURE:
        return _renamed(segmentation, TAILGATE, TRUNK)
    return segmentation


def _renamed(segmentation: Segmentation, old: int, new: int) -> Segmentation:
    names = PART_NAMES[old - 1], PART_NAMES[new - 1]
    if names[0] not in segmentation.confidences:
        return segmentation
    confidences = dict(segmentation.confidences)
    known = confidences.pop(names[0])
    confidences[names[1]] = max(known, confidences.get(names[1], 0.0))
    labels: NDArray[np.uint8] = np.where(
        segmentation.labels == old, np.uint8(new), segmentation.labels
    )
    return Segmentation(labels, confidences)
