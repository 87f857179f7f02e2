"""Figures of types and confidences against those computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES
from pipeline import outline
from training.answers import Answer, TypeAnswer
from training.everything import write_metrics
from training.figures import (
    part_estimates,
    part_figures,
    part_verdicts,
    type_confusion,
    type_figures,
)
from training.type_data import NO_CAR

HOOD, WHEEL = PART_NAMES.index("hood") + 1, PART_NAMES.index("wheel") + 1
SEDAN, SUV = TYPE_NAMES.index("sedan"), TYPE_NAMES.index("suv")


def typed(label: int, guess: int, confidence: float = 0.9) -> TypeAnswer:
    scores = np.full(8, (1 - confidence) / 7)
    if guess != NO_CAR:
        scores[guess] = confidence
    return TypeAnswer(Path("x.jpg"), label, None if guess == NO_CAR else scores)


def test_types() -> None:
    found = [
        typed(SEDAN, SEDAN), typed(SEDAN, SEDAN), typed(SEDAN, SUV), typed(SUV, SUV),
        typed(SUV, NO_CAR), typed(NO_CAR, NO_CAR), typed(NO_CAR, NO_CAR), typed(NO_CAR, SEDAN),
    ]  # fmt: skip
    figures = type_figures(found, rounds=20)
    assert figures["type_accuracy"] == pytest.approx(3 / 5)
    assert figures["f1_sedan"] == pytest.approx(2 * 2 / (2 + 3))  # 2 right, 2 given, 3 true
    assert figures["f1_suv"] == pytest.approx(2 * 1 / (2 + 2))
    assert figures["type_macro_f1"] == pytest.approx((0.8 + 0.5) / 8)
    assert figures["cars_missed"] == pytest.approx(1 / 5)
    assert figures["empty_told"] == pytest.approx(2 / 3)
    assert figures["type_accuracy_low"] < 3 / 5 < figures["type_accuracy_high"]
    assert figures["types_ece"] == pytest.approx(
        0.9 - 3 / 4
    )  # of 4 types given to cars 3 are right
    assert type_confusion(found)[SEDAN, SUV] == 1
    assert type_confusion(found).sum() == len(found)


def answer(hood: slice, confidence: float) -> Answer:
    """The true hood fills columns 0 to 20, the wheel is found as it is."""
    truth, guess = np.zeros((2, 30, 40), np.uint8)
    truth[5:15, 0:20], guess[5:15, hood] = HOOD, HOOD
    truth[20:28, 4:12] = guess[20:28, 4:12] = WHEEL
    parts = outline(guess, {"hood": confidence, "wheel": 0.95}, tolerance=0)
    return Answer(Path("x.png"), parts, guess, truth)


def test_parts_are_right_above_half_an_iou() -> None:
    verdicts = part_verdicts([answer(slice(0, 11), 0.8), answer(slice(0, 10), 0.7)])
    assert verdicts.confidence.tolist() == [0.8, 0.95, 0.7, 0.95]
    assert verdicts.right.tolist() == [True, True, False, True]  # 0.55, 1, exactly 0.5, 1
    assert verdicts.photo.tolist() == [0, 0, 1, 1]


def test_intervals_enclose_the_figures() -> None:
    found = [answer(slice(0, width), 0.8) for width in (20, 18, 12, 6)]
    estimates = part_estimates(found, rounds=50)
    for name in ("miou", "ap", "iou_hood", "ap_hood", "ap50_hood"):
        estimate = estimates[name]
        assert estimate.low <= estimate.value <= estimate.high, name
        assert estimate.low < estimate.high, name
    assert estimates["iou_hood"].value == pytest.approx((20 + 18 + 12 + 6) / 80)
    assert estimates["iou_wheel"].low == estimates["iou_wheel"].high == 1
    assert np.isnan(estimates["iou_tailgate"].value)
    assert np.isnan(estimates["iou_tailgate"].low)


def test_descriptions_get_their_own_figures(tmp_path: Path) -> None:
    found = part_figures([answer(slice(0, 12), 0.8)], rounds=3)
    measured = found | type_figures([typed(SUV, SUV), typed(NO_CAR, NO_CAR)], rounds=3)
    metrics = {}
    for name in ("parts", "types"):
        path = tmp_path / f"{name}.json"
        path.write_text('{"metrics": {"old": 1}}', encoding="utf-8")
        write_metrics(measured, name, tmp_path)
        metrics[name] = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    assert metrics["parts"]["iou_hood"] == 0.6
    assert "iou_tailgate" not in metrics["parts"]  # JSON knows no NaN
    assert metrics["types"]["type_accuracy"] == 1
    assert not set(metrics["parts"]) & set(metrics["types"])
    finite = {name for name, value in measured.items() if value == value}
    assert set(metrics["parts"]) | set(metrics["types"]) == finite
