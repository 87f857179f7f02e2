"""The figures that README and model cards tell are those that were measured."""

from __future__ import annotations

import json
import re

import pytest
from helpers import REPOSITORY

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
# A figure in running text; in the cards' sentences the words may be parted by a line's end.
TOLD = {
    "parts": {
        r"pooled pixels (\S+)": "miou",
        r"95 % interval (\S+) to": "miou_low",
        r"95 % interval \S+ to ([\d.]+)": "miou_high",
        r"mask AP ([\d.]+),": "ap",
        r"AP50 ([\d.]+),": "ap50",
        r"swapped in ([\d.]+) %": "swapped",
    },
    "types": {
        r"part network: accuracy ([\d.]+),": "type_accuracy",
        r"part network: accuracy [\d.]+, macro F1 ([\d.]+)": "type_macro_f1",
        r"([\d.]+) % of them taken for no car": "cars_missed",
        r"without a car ([\d.]+) % are told so": "empty_told",
        r"vans or convertibles\): accuracy ([\d.]+)\.": "street_accuracy",
    },
    "shapes": {
        r"accuracy ([\d.]+) on 1,395": "accuracy",
        r"([\d.]+) on 58": "street",
    },
}


def metrics(name: str) -> dict[str, float]:
    text = (REPOSITORY / "models" / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, float] = json.loads(text)["metrics"]
    return found


def same(told: str, value: float, context: str) -> bool:
    """Whether a figure is told as it is, to the digits that are told."""
    percent = f"{told} %" in context
    digits = len(told.partition(".")[2])
    step = 10.0**-digits
    # The metrics are rounded themselves, to four digits.
    return abs(float(told) - value * (100 if percent else 1)) <= 0.5 * step + 0.6 * (
        1e-2 if percent else 1e-4
    )


@pytest.mark.parametrize(
    ("name", "pattern"), [(name, pattern) for name in TOLD for pattern in TOLD[name]]
)
def test_cards(name: str, pattern: str) -> None:
    card = (REPOSITORY / "models" / f"{name}.md").read_text(encoding="utf-8")
    found = re.search(pattern, " ".join(card.split()))
    assert found, f"models/{name}.md does not tell {TOLD[name][pattern]}"
    value = metrics(name)[TOLD[name][pattern]]
    assert same(found[1].rstrip("."), value, found[0]), (found[0], value)


def test_every_part_is_in_the_table() -> None:
    card = (REPOSITORY / "models" / "parts.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\w+) \| ([\d.]+)", card, re.MULTILINE))
    assert set(rows) == set(PART_NAMES)
    for part, told in rows.items():
        assert same(told, metrics("parts")[f"iou_{part}"], ""), part


def test_every_type_has_a_figure() -> None:
    assert {f"f1_{name}" for name in TYPE_NAMES} <= set(metrics("types"))


def test_the_readme_tells_the_iou() -> None:
    (told,) = re.findall(r"by (\.\d+) \(mean IoU", " ".join(README.split()))
    assert same(told, metrics("parts")["miou"], "")


def test_the_readme_tells_how_often_the_type_is_right() -> None:
    text = " ".join(README.split())
    ((known, street),) = re.findall(r"right on (\d+) % of photos like those, and on (\d+) %", text)
    assert same(known, metrics("types")["type_accuracy"], f"{known} %")
    assert same(street, metrics("types")["street_accuracy"], f"{street} %")
