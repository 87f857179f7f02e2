"""The surest of four looks at a photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.photo_turn import Orientation, best_orientation
from car_classification import CarView
from img_to_segments import CoarseSegmentation
from vision.labels import TYPE_NAMES, WHEEL, label_of


def orientation(
    quarters: int, upright: float, confidence: float = 0.9, size: int = 10
) -> Orientation:
    labels = np.zeros((20, 20), np.uint8)
    labels[:size, :size] = label_of("hood")
    logits = np.zeros((19, 20, 20), np.float32)
    view = CarView(
        dict.fromkeys(TYPE_NAMES, 0.125), 0.125, 0.0, 0.0, (upright, 1 - upright, 0.0, 0.0)
    )
    return Orientation(
        quarters, CoarseSegmentation(logits, labels, logits, {label_of("hood"): confidence}), view
    )


def nothing(quarters: int) -> Orientation:
    zeros = np.zeros((19, 20, 20), np.float32)
    return Orientation(
        quarters, CoarseSegmentation(zeros, np.zeros((20, 20), np.uint8), zeros, {}), None
    )


@pytest.mark.parametrize(
    ("first", "doubtful"),
    [
        (orientation(0, 0.9), False),
        (orientation(0, 0.1), True),
        (orientation(0, 0.9, 0.1), True),
        (nothing(0), True),
    ],
)
def test_is_doubtful(first: Orientation, doubtful: bool) -> None:
    assert first.is_doubtful == doubtful


def test_surest_turn_wins() -> None:
    others = [orientation(1, 0.2), orientation(2, 0.1), orientation(3, 0.95)]
    assert best_orientation(orientation(0, 0.1), others).quarters == 3
    assert best_orientation(nothing(0), others).quarters == 3


def test_lone_wheel_is_not_turned() -> None:
    turned = orientation(3, 0.95)
    wheel = replace(turned.cells, confidences={WHEEL: 0.9})
    assert (
        best_orientation(nothing(0), [nothing(1), nothing(2), replace(turned, cells=wheel)]).view
        is None
    )


def test_upright_stays_without_surer_turn() -> None:
    assert (
        best_orientation(
            orientation(0, 0.45), [orientation(1, 0.3), orientation(2, 0.3), orientation(3, 0.51)]
        ).quarters
        == 0
    )
    assert (
        best_orientation(
            orientation(0, 0.4), [nothing(1), nothing(2), orientation(3, 0.49, size=20)]
        ).quarters
        == 0
    )
    assert best_orientation(nothing(0), [nothing(1), nothing(2), nothing(3)]).view is None
