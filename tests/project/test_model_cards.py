"""The figures in README, docs/accuracy.md and model cards are those that were measured."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES
from settings import REPOSITORY
from training.cards import (
    ALONE,
    CARDS,
    README,
    ROWS,
    TABLES,
    WITH_INTERVAL,
    bounds_of,
    interval_pattern,
    replace_figures,
    update_accuracy,
    update_card,
    update_documents,
)
from vision.labels import DAMAGE_KINDS

NUMBERS = re.compile(r"\d+\.\d+")
ACCURACY = (REPOSITORY / "docs" / "accuracy.md").read_text(encoding="utf-8")


def description(name: str) -> dict[str, Any]:
    text = (REPOSITORY / "models" / f"{name}.json").read_text(encoding="utf-8")
    fields: dict[str, Any] = json.loads(text)
    return fields


def metrics() -> dict[str, float]:
    """Return the figures of all descriptions; none is in two of them."""
    found: dict[str, float] = {}
    for name in CARDS:
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
    found = re.search(interval_pattern(words), " ".join(card(name).split()))
    assert found, f"models/{name}.md does not give {figure}"
    for told, key in zip(
        found.group(1, 3, 4), (figure, f"{figure}_low", f"{figure}_high"), strict=True
    ):
        assert same(told, metrics()[key], percent=found[2] is not None), (key, told)


@pytest.mark.parametrize(("name", "pattern"), pairs(ALONE))
def test_figures_without_interval(name: str, pattern: str) -> None:
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


def test_every_kind_of_damage_is_in_table() -> None:
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \|$", card("damage"), re.MULTILINE)
    assert {kind for kind, _ in rows} == set(DAMAGE_KINDS)
    for kind, value in rows:
        assert same(value, metrics()[f"damage_f1_{kind}"]), kind


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


@pytest.mark.parametrize("pattern", README)
def test_accuracy_in_readme(pattern: str) -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = re.search(pattern, " ".join(text.split()))
    assert found
    assert same(found[1], metrics()[README[pattern]], percent="%" in found[0])


@pytest.mark.parametrize("name", CARDS)
def test_new_figures_replace_old_ones(name: str) -> None:
    other = dict.fromkeys(metrics(), 0.123)
    changed = " ".join(update_card(card(name), name, other).split())
    for words in WITH_INTERVAL[name]:
        found = re.search(interval_pattern(words), changed)
        assert found, words
        assert all(same(told, 0.123, percent=bool(found[2])) for told in found.group(1, 3, 4))
    for pattern in ALONE[name]:
        found = re.search(pattern, changed)
        assert found, pattern
        assert same(found[1], 0.123, percent="%" in found[0]), pattern
    if name in TABLES:
        columns, names = TABLES[name]
        rows = re.findall(r"\| (\w+) ((?:\| [\d.]+ )+)\|", changed)
        assert {row for row, _ in rows} == set(names)
        assert {values for _, values in rows} == {"| 0.12 " * len(columns)}


def test_new_figures_in_table_of_accuracy() -> None:
    changed = update_accuracy(ACCURACY, dict.fromkeys(metrics(), 0.123))
    rows = re.findall(r"^\| .+? \| ([\d.]+)( %)? \| ([\d.]+) to ([\d.]+)", changed, re.MULTILINE)
    assert len(rows) == len(ROWS)
    for value, percent, low, high in rows:
        for told in (value, low, high):
            assert same(told, 0.123, percent=bool(percent))


def test_present_documents_need_no_update(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for file in ("README.md", "docs/accuracy.md"):
        shutil.copy(REPOSITORY / file, tmp_path / file)
    shutil.copytree(REPOSITORY / "models", tmp_path / "models")
    update_documents(tmp_path, tmp_path / "models")
    for file in ("README.md", "docs/accuracy.md", *(f"models/{name}.md" for name in CARDS)):
        before, after = ((root / file).read_text() for root in (REPOSITORY, tmp_path))
        pairs = zip(NUMBERS.findall(before), NUMBERS.findall(after), strict=True)
        assert NUMBERS.sub("", before) == NUMBERS.sub("", after)
        # A figure may have been rounded before it was rounded to four digits.
        for one, other in pairs:
            assert abs(float(one) - float(other)) < 0.11


def test_unknown_figures_stay() -> None:
    text = "mask AP 0.70 (0.68 to\n0.72), AP 9"
    pattern, names = interval_pattern("mask AP"), bounds_of("ap")
    groups = (names[0], None, *names[1:])
    assert replace_figures(text, pattern, groups, {"ap": 0.8}) == (
        "mask AP 0.80 (0.68 to\n0.72), AP 9"
    )
    assert replace_figures(text, "of nothing", groups, {"ap": 0.8}) == text
