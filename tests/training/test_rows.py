"""Rows of the table against counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from car_classification import TYPE_NAMES
from photo_result import NO_CAR, outline
from training.answers import (
    SIZES,
    Answer,
    CloseUp,
    CloseUpAnswer,
    PartsAnswer,
    SizesAnswer,
    TurnedAnswer,
)
from training.intervals import Estimate, proportion
from training.rows import (
    Row,
    Rows,
    as_table,
    car_rows,
    close_up_rows,
    close_ups_table,
    empty_rows,
    mask_rows,
    sizes_rows,
    turned_rows,
)
from training.validation import Kind, ValidationPhoto
from vision.labels import label_of

DOOR = label_of("back_left_door")


def photo(key: str, doors: int | None = None, kind: Kind = "cars") -> ValidationPhoto:
    return ValidationPhoto(Path(f"{key}.jpg"), kind, key, "sedan", doors)


def answer(
    of: ValidationPhoto, *parts: str, car_type: str | None = "sedan", rotation: int = 0
) -> Answer:
    scores = None if car_type is None else dict.fromkeys(TYPE_NAMES, 0.0) | {car_type: 1.0}
    message = "Found." if scores or parts else NO_CAR
    return Answer(of, scores, dict.fromkeys(parts, 0.9), frozenset(parts), rotation, message)


def counted(rows: Rows) -> dict[str, str]:
    return {row.name: row.counted for row in rows.rows}


def test_cars() -> None:
    found = [
        answer(photo("a", doors=2), "hood", "back_left_door"),
        answer(photo("b", doors=2), "hood"),
        answer(photo("c", doors=4), "back_right_door", rotation=90),
        answer(photo("d"), "wheel", car_type=None),
        answer(photo("e"), car_type=None),
    ]
    assert counted(car_rows(found)) == {
        "two_door_back_door": "1 of 2",
        "four_door_back_door": "1 of 1",
        "cars_missed": "1 of 5",
        "type_unknown": "2 of 5",
        "upright_turned": "1 of 5",
        "low_confidence": "0 of 5",
    }


def test_parts_at_zero_confidence() -> None:
    parts = {"hood": 0.04, "wheel": 0.05, "trunk": 0.01}
    found = Answer(photo("a"), None, parts, frozenset(("hood", "wheel")), 0, "")
    assert counted(car_rows([found]))["low_confidence"] == "1 of 2"


def test_photos_without_car() -> None:
    empty, other = photo("a", kind="empty"), photo("b", kind="others")
    found = [
        answer(empty, car_type=None), answer(empty, "wheel", car_type=None),
        answer(other), answer(other, "wheel", car_type=None), answer(other, car_type=None),
    ]  # fmt: skip
    assert counted(empty_rows(found)) == {
        "empty_told": "1 of 2",
        "other_vehicles_typed": "1 of 3",
        "other_vehicles_told": "1 of 3",
    }


def test_turned_photos() -> None:
    found = [
        TurnedAnswer(photo("a"), 90, 270, found=8, kept=8),
        TurnedAnswer(photo("b"), 90, 0, found=4, kept=1),
        TurnedAnswer(photo("a"), 180, 180, found=8, kept=7),
    ]
    rows = turned_rows(found)
    assert counted(rows) == {
        "turned_90": "9 of 12", "rotation_90": "1 of 2",
        "turned_180": "7 of 8", "rotation_180": "1 of 1",
    }  # fmt: skip
    assert rows.figures()["turned_90"] == pytest.approx(0.75)


def test_close_ups() -> None:
    def close_up(part: str, named: bool, typed: bool) -> CloseUpAnswer:
        return CloseUpAnswer(CloseUp(photo("a"), part, (0, 0, 9, 9)), named, typed)

    rows = close_up_rows(
        [
            close_up("front_left_door", named=True, typed=False),
            close_up("front_right_door", named=False, typed=True),
            close_up("hood", named=True, typed=False),
        ]
    )
    assert counted(rows) == {"close_ups": "2 of 3", "close_ups_typed": "1 of 3"}
    assert rows.details == {"close_ups_of_front_door": 0.5, "close_ups_of_hood": 1.0}
    assert "| front_door | 0.50 |" in close_ups_table(rows.details)
    assert close_ups_table({}) == ""


def test_sizes() -> None:
    most = len(SIZES) - 1
    steady = SizesAnswer(photo("a"), ["suv"] * len(SIZES), [False] * len(SIZES))
    turns = SizesAnswer(photo("b"), ["suv"] * most + [None], [False] * most + [True])
    empty = SizesAnswer(photo("c"), [None] * len(SIZES), [True] * len(SIZES))
    rows = sizes_rows([steady, turns, empty])
    assert counted(rows) == {
        "sizes_agreement": f"{3 * len(SIZES) - 1} of {3 * len(SIZES)}", "sizes_flips": "1 of 3"
    }  # fmt: skip
    assert (min(SIZES), max(SIZES), len(SIZES)) == (400, 2000, 10)


def doors_answer(key: str, doors: int, shift: int) -> PartsAnswer:
    """Return a back door of 10 columns, found `shift` columns to its side."""
    truth, guess = np.zeros((2, 20, 40), np.uint8)
    truth[5:15, 10:20], guess[5:15, 10 + shift : 20 + shift] = DOOR, DOOR
    confidences = {"back_left_door": 0.9}
    parts = outline(guess, confidences, tolerance=0)
    return PartsAnswer(photo(key, doors, "annotated"), parts, parts, confidences, guess, truth)


def test_four_door_cars_keep_their_back_doors() -> None:
    found = [doors_answer("a", 4, 0), doors_answer("b", 4, 3), doors_answer("c", 4, 4)]
    found.append(doors_answer("d", 2, 0))  # IoUs are 1, .54, .43
    assert counted(mask_rows(found, rounds=3))["four_door_kept"] == "2 of 3"


def test_no_photos_no_rows() -> None:
    for rows in (
        mask_rows([]), car_rows([]), empty_rows([]), turned_rows([]), close_up_rows([]),
        sizes_rows([]),
    ):  # fmt: skip
        assert rows == Rows()


def test_table_has_figure_interval_and_count() -> None:
    rows = [
        Row("miou", "mIoU", Estimate(0.8712, 0.84, 0.9), 59),
        Row("doors", "doors", proportion(1, 58), 58, "1 of 58"),
    ]
    assert as_table(rows).splitlines() == [
        "| figure | value | 95 % interval | photos |",
        "|---|---|---|---|",
        "| mIoU | 0.871 | 0.840 to 0.900 | 59 |",
        "| doors | 0.017 (1 of 58) | 0.003 to 0.091 | 58 |",
    ]
    assert Rows(rows, {"f1_van": 0.5}).figures().keys() == {
        "miou", "miou_low", "miou_high", "doors", "doors_low", "doors_high", "f1_van"
    }  # fmt: skip
