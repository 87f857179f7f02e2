"""Derive the name of the lid and the impossible doors from the car type."""

from __future__ import annotations

from collections.abc import Mapping

from vision.labels import BACK_DOORS, QUARTER_PANELS, TAILGATE, TRUNK, TYPES_WITH_TRUNK


def has_trunk(scores: Mapping[str, float]) -> bool:
    """Return True if a car is more likely to have a trunk than a tailgate.

    Args:
        scores: probability of each body type; they sum to 1.
    """
    return sum(scores[name] for name in TYPES_WITH_TRUNK) > 0.5


def label_changes(*, trunk: bool, two_doors: bool) -> dict[int, int]:
    """Return the new label of each label that changes.

    Args:
        trunk: True if the lid, which is labelled as a tailgate, is a trunk.
        two_doors: True if the car has no back doors. Then a panel behind its doors that is
            labelled as a back door is the quarter panel.
    """
    changes = {TAILGATE: TRUNK} if trunk else {}
    return changes | (dict(zip(BACK_DOORS, QUARTER_PANELS, strict=True)) if two_doors else {})
