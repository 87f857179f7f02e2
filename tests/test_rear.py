"""The rear part is called what the type of the car says."""

from __future__ import annotations

import numpy as np
import pytest

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES, Segmentation
from rear import TAILGATE, TRUNK, name_rear

HOOD = 1 + PART_NAMES.index("hood")


def parts(**confidences: float) -> Segmentation:
    labels = np.zeros((6, 9), np.uint8)
    for column, name in enumerate(confidences):
        labels[1:-1, 2 * column + 1] = 1 + PART_NAMES.index(name)
    return Segmentation(labels, confidences)


def scores(**known: float) -> dict[str, float]:
    return dict.fromkeys(TYPE_NAMES, 0.0) | known


@pytest.mark.parametrize(
    ("car", "found", "expected"),
    [
        ({"sedan": 0.5, "coupe": 0.4, "suv": 0.1}, {"trunk": 0.8}, {"tailgate": 0.8}),
        ({"suv": 0.9, "sedan": 0.1}, {"tailgate": 0.8, "trunk": 0.3}, {"trunk": 0.8}),
        ({"pickup": 0.9, "suv": 0.1}, {"tailgate": 0.2, "trunk": 0.3}, {"trunk": 0.3}),
        ({"sedan": 0.9, "suv": 0.1}, {"tailgate": 0.8}, {"tailgate": 0.8}),
        ({"sedan": 0.5, "suv": 0.5}, {"trunk": 0.8}, {"trunk": 0.8}),
        ({"hatchback": 1.0}, {"tailgate": 0.4, "trunk": 0.8}, {"tailgate": 0.4, "trunk": 0.8}),
        ({"sedan": 1.0}, {"hood": 0.7}, {"hood": 0.7}),
    ],
)
def test_what_the_rear_part_is_called(
    car: dict[str, float], found: dict[str, float], expected: dict[str, float]
) -> None:
    before = parts(**found, hood=0.9) if "hood" not in found else parts(**found)
    kept = before.labels.copy()
    after = name_rear(before, scores(**car))
    assert after.confidences == {"hood": before.confidences["hood"]} | expected
    assert set(np.unique(after.labels)) == {0} | {
        1 + PART_NAMES.index(name) for name in after.confidences
    }
    rear = np.isin(before.labels, (TAILGATE, TRUNK))
    assert np.array_equal(np.isin(after.labels, (TAILGATE, TRUNK)), rear)
    assert np.array_equal(after.labels == HOOD, before.labels == HOOD)
    assert np.array_equal(before.labels, kept)
