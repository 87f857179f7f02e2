"""Choose between part networks by their figures on photos that no network has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping


def best_of(scores: Mapping[str, float]) -> str:
    """Return the name with the highest mIoU; of equal ones the last.

    A score that is not a number, because no photo could be measured, is the lowest.

    Example:
        >>> best_of({"student2": 0.87, "student3": 0.88})
        'student3'
    """
    return max(
        reversed(list(scores)), key=lambda name: (not math.isnan(scores[name]), scores[name])
    )
