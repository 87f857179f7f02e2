"""The figures in README, docs/accuracy.md and model cards are those that were measured."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES
from settings import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
ACCURACY = (REPOSITORY / "docs" / "accuracy.md").read_text(encoding="utf-8")
NAMES = ("parts", "types", "shapes")
# The words before a figure that has an interval; in the cards they may be parted by a line's end.
WITH_INTERVAL = {
    "parts": {
        "over pooled pixels": "miou",
        "mask AP": "ap",
        "AP50": "ap50",
        "calibration error of the confidences": "parts_ece",
        "two-door cars given a back door": "two_door_back_door",
        "annotated back door is kept": "four_door_kept",
        "cars said to show no car": "cars_missed",
        "in which it is named": "close_ups",
    },
    "types": {
        "1,396 cars of Stanford Cars: accuracy": "type_accuracy",
        r"1,396 cars of Stanford Cars: .{,50} macro F1": "type_macro_f1",
        "street and annotated photos: accuracy": "street_accuracy",
        r"street and annotated photos: .{,50} macro F1": "street_macro_f1",
        "said to show no car": "empty_told",
        "other vehicles given a type": "other_vehicles_typed",
        "cars given no type": "type_unknown",
        "ten sizes of a photo in": "sizes_agreement",
    },
    "shapes": {
        "by 90 degrees": "turned_90",
        "by 180 degrees": "turned_180",
        r"by 180 degrees .*?by 270 degrees": "turned_270",
        "upright photos said to be turned": "upright_turned",
    },
}
# Patterns of figures without one.
ALONE = {
    "parts": {
        r"swapped in ([\d.]+) %": "swapped",
        r"A mirror alone\*\* is not found \(([\d.]+) %": "close_ups_of_mirror",
        r"back lights \(([\d.]+) %": "close_ups_of_back_light",
        r"wheels \(([\d.]+) %": "close_ups_of_wheel",
    },
    "types": {
        r"1,396 cars of .*? calibration error ([\d.]+)": "types_ece",
        r"369 street .*? calibration error ([\d.]+)": "street_ece",
        r"3 of them, and F1 is ([\d.]+)": "street_f1_wagon",
        r"Close-ups\*\*: ([\d.]+) %": "close_ups_typed",
        r"picture alone is right on ([\d.]+)": "picture_accuracy",
        r"picture alone is right on [\d.]+ and ([\d.]+)": "picture_street",
        r"both together on ([\d.]+)": "both_accuracy",
        r"both together on [\d.]+ and ([\d.]+)": "both_street",
    },
    "shapes": {
        r"accuracy of the types ([\d.]+) on": "accuracy",
        r"and ([\d.]+) on \d+ street": "street",
        r"turn right for ([\d.]+)": "turn",
    },
}
ROWS = {  # of the table in docs/accuracy.md
    "overlap with masks drawn by people, mean IoU of 18 parts": "miou",
    "COCO mask AP (`min_confidence=0`)": "ap",
    "left and right exchanged, of the pixels of such parts": "swapped",
    "body type right, Stanford Cars": "type_accuracy",
    "body type right, photos of streets, sellers and owners": "street_accuracy",
    "two-door cars given a back door": "two_door_back_door",
    "cars said to show no car": "cars_missed",
    "photos without a road vehicle said to show no car": "empty_told",
    "motorcycles and other vehicles given a body type": "other_vehicles_typed",
    "parts kept when the photo is turned by 90 degrees": "turned_90",
    "close-ups in which the part is named": "close_ups",
}


def description(name: str) -> dict[str, Any]:
    text = (REPOSITORY / "models" / f"{name}.json").read_text(encoding="utf-8")
    fields: dict[str, Any] = json.loads(text)
    return fields


def metrics() -> dict[str, float]:
    """Return the figures of all descriptions; none is in two of them."""
    found: dict[str, float] = {}
    for name in NAMES:
        own = description(name)["metrics"]
        assert not own.keys() & found.keys()
        found |= own
    return found


def card(name: str) -> str:
    return (REPOSITORY / "models" / f"{name}.md").read_text(encoding="utf-8")


def same(told: str, value: float, *, percent: bool = False) -> bool:
    """Return True if a printed figure is correct to its last digit."""
    digits = len(told.partition(".")[2])
    step = 10.0**-digits
    # The metrics are rounded themselves, to four digits.
    rounded = 0.6 * (1e-2 if percent else 1e-4)
    return abs(float(told) - value * (100 if percent else 1)) <= 0.5 * step + rounded


def pairs(table: dict[str, dict[str, str]]) -> list[tuple[str, str]]:
    return [(name, words) for name in table for words in table[name]]


@pytest.mark.parametrize(("name", "words"), pairs(WITH_INTERVAL))
def test_figures_with_interval(name: str, words: str) -> None:
    figure = WITH_INTERVAL[name][words]
    pattern = words + r" ([\d.]+)( %)? \(([\d.]+) to ([\d.]+)\)"
    found = re.search(pattern, " ".join(card(name).split()))
    assert found, f"models/{name}.md does not give {figure}"
    for told, key in zip(
        found.group(1, 3, 4), (figure, f"{figure}_low", f"{figure}_high"), strict=True
    ):
        assert same(told, metrics()[key], percent=found[2] is not None), (key, told)


@pytest.mark.parametrize(("name", "pattern"), pairs(ALONE))
def test_figures_without_an_interval(name: str, pattern: str) -> None:
    found = re.search(pattern, " ".join(card(name).split()))
    assert found, f"models/{name}.md does not give {ALONE[name][pattern]}"
    value = metrics()[ALONE[name][pattern]]
    assert same(found[1].rstrip("."), value, percent="%" in found[0]), (found[0], value)


def test_every_part_is_in_table() -> None:
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \|$", card("parts"), re.MULTILINE)
    assert {part for part, _, _ in rows} == set(PART_NAMES)
    for part, iou, ap in rows:
        assert same(iou, metrics()[f"iou_{part}"]), part
        assert same(ap, metrics()[f"ap_{part}"]), part


def test_every_type_is_in_table() -> None:
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \|$", card("types"), re.MULTILINE)
    assert {name for name, _, _ in rows} == set(TYPE_NAMES)
    for name, cars, street in rows:
        assert same(cars, metrics()[f"f1_{name}"]), name
        assert same(street, metrics()[f"street_f1_{name}"]), name


def test_card_has_weights_of_types() -> None:
    found = re.search(r"both networks, ([\d.]+) and ([\d.]+), are fitted", card("types"))
    assert found
    thresholds = description("types")["thresholds"]
    assert float(found[1]) == thresholds["picture_weight"]
    assert float(found[2]) == thresholds["shape_weight"]


def test_table_of_accuracy() -> None:
    (section,) = re.findall(r"^## Accuracy\n(.*?)^##", ACCURACY, re.MULTILINE | re.DOTALL)
    rows = re.findall(
        r"^\| (.+?) \| ([\d.]+)( %)? \| ([\d.]+) to ([\d.]+)(?: %)? \| [\d,]+ \|$",
        section,
        re.MULTILINE,
    )
    assert [title for title, *_ in rows] == list(ROWS)
    for title, value, percent, low, high in rows:
        figure = ROWS[title]
        for told, key in ((value, figure), (low, f"{figure}_low"), (high, f"{figure}_high")):
            assert same(told, metrics()[key], percent=bool(percent)), (key, told)


def test_accuracy_in_readme() -> None:
    found = re.search(
        r"mean IoU of 18 parts ([\d.]+); body type right for ([\d.]+) % of Stanford Cars "
        r"and ([\d.]+) % of photos of streets",
        " ".join(README.split()),
    )
    assert found
    assert same(found[1], metrics()["miou"])
    assert same(found[2], metrics()["type_accuracy"], percent=True)
    assert same(found[3], metrics()["street_accuracy"], percent=True)
