"""Figures of types and confidences against those computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from car_classification import TYPE_NAMES
from photo_result import NO_CAR, outline
from training.answers import Answer, PartsAnswer
from training.figures import (
    NO_TYPE,
    calibration_estimate,
    part_estimates,
    part_verdicts,
    type_confusion,
    type_estimates,
    type_verdicts,
)
from training.finish import write_metrics
from training.rows import mask_rows, type_rows
from training.validation import ValidationPhoto
from vision.labels import label_of

HOOD, WHEEL = label_of("hood"), label_of("wheel")
SEDAN, SUV = TYPE_NAMES.index("sedan"), TYPE_NAMES.index("suv")


def typed(true: str | None, given: str | None, confidence: float = 0.9, key: str = "x") -> Answer:
    scores = None
    if given is not None:
        scores = dict.fromkeys(TYPE_NAMES, (1 - confidence) / 7) | {given: confidence}
    return Answer(
        ValidationPhoto(Path("x.jpg"), "cars", key, true),
        scores,
        {},
        frozenset(),
        0,
        "" if scores else NO_CAR,
    )


CARS = [
    typed("sedan", "sedan", key="a"), typed("sedan", "sedan", key="b"),
    typed("sedan", "suv", key="c"), typed("suv", "suv", key="d"), typed("suv", None, key="e"),
]  # fmt: skip


def test_types() -> None:
    estimates = type_estimates([*CARS, typed(None, "sedan", key="f")], rounds=20)
    assert estimates["accuracy"].value == pytest.approx(3 / 5)
    assert estimates["f1_sedan"].value == pytest.approx(2 * 2 / (2 + 3))  # 2 given, 3 true
    assert estimates["f1_suv"].value == pytest.approx(2 * 1 / (2 + 2))
    assert np.isnan(estimates["f1_van"].value)
    assert estimates["macro_f1"].value == pytest.approx((0.8 + 0.5) / 2)
    assert estimates["accuracy"].low < 3 / 5 < estimates["accuracy"].high
    confusion = type_confusion(CARS)
    assert confusion[SEDAN, SUV] == 1
    assert confusion[SUV, NO_TYPE] == 1
    assert confusion.sum() == len(CARS)


def test_confidence_of_reported_type() -> None:
    verdicts = type_verdicts(CARS)
    assert verdicts.right.tolist() == [True, True, False, True]
    assert calibration_estimate(verdicts).value == pytest.approx(0.9 - 3 / 4)


def answer(hood: slice, confidence: float, key: str = "x", missing: str = "") -> PartsAnswer:
    """Return a photo with a true hood in columns 0 to 20, and a wheel that is found exactly."""
    truth, guess = np.zeros((2, 30, 40), np.uint8)
    truth[5:15, 0:20], guess[5:15, hood] = HOOD, HOOD
    truth[20:28, 4:12] = guess[20:28, 4:12] = WHEEL
    confidences = {"hood": confidence, "wheel": 0.95}
    parts = outline(guess, confidences, tolerance=0)
    photo = ValidationPhoto(Path("x.png"), "annotated", key, missing=(missing,) if missing else ())
    return PartsAnswer(photo, parts, parts, confidences, guess, truth)


def test_parts_are_correct_above_half_iou() -> None:
    verdicts = part_verdicts([answer(slice(0, 11), 0.8), answer(slice(0, 10), 0.7)])
    assert verdicts.confidence.tolist() == [0.8, 0.95, 0.7, 0.95]
    assert verdicts.right.tolist() == [True, True, False, True]  # 0.55, 1, exactly 0.5, 1
    assert verdicts.photo.tolist() == [0, 0, 1, 1]


def test_unannotated_part_is_not_judged() -> None:
    verdicts = part_verdicts([answer(slice(22, 30), 0.8, missing="hood")])
    assert verdicts.confidence.tolist() == [0.95]


def test_intervals_enclose_figures() -> None:
    found = [answer(slice(0, width), 0.8, key=str(width)) for width in (20, 18, 12, 6)]
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
    rows = mask_rows([answer(slice(0, 12), 0.8)], rounds=3) + type_rows(CARS, "type", "cars", 3)
    measured = rows.figures()
    metrics = {}
    for name in ("parts", "types"):
        path = tmp_path / f"{name}.json"
        path.write_text('{"metrics": {"old": 1}}', encoding="utf-8")
        write_metrics(measured, name, tmp_path)
        metrics[name] = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    assert metrics["parts"]["iou_hood"] == 0.6
    assert "iou_tailgate" not in metrics["parts"]  # JSON knows no NaN
    assert metrics["types"]["type_accuracy"] == 0.6
    assert metrics["types"]["f1_sedan"] == 0.8
    assert not set(metrics["parts"]) & set(metrics["types"])
    finite = {name for name, value in measured.items() if value == value}
    assert set(metrics["parts"]) | set(metrics["types"]) == finite
