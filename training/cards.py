"""Write the measured figures into model cards, README and docs/accuracy.md.

A document names a figure by the words before it. Each number is replaced with the same number of
decimals. What a card says about causes is written by people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from settings import REPOSITORY
from vision.labels import DAMAGE_KINDS, PART_NAMES, TYPE_NAMES
from vision.model_files import MODELS

Metrics = Mapping[str, float]

CARDS = ("parts", "types", "shapes", "damage")
NUMBER = r"([\d.]*\d)"
# Card -> words before a figure with an interval, as in "mask AP 0.70 (0.68 to 0.72)" -> its name.
WITH_INTERVAL = {
    "parts": {
        "basic parts over pooled pixels": "miou",
        "body panels over pooled pixels": "miou_panels",
        "mask AP": "ap",
        "AP50": "ap50",
        "AP of the panels": "ap_panels",
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
    "damage": {
        "presence of a kind, mean F1 of the eight": "damage_macro_f1",
        "damage at all, F1": "damage_any_f1",
        "undamaged cars reported damaged": "undamaged_damaged",
        "pixels of any damage, IoU": "damage_iou",
        "damages shown that overlap an annotated one of that kind": "damage_right",
        "calibration error of the confidences": "damage_ece",
    },
}
# Card -> pattern of a figure without an interval -> its name.
ALONE = {
    "parts": {
        rf"swapped in {NUMBER} %": "swapped",
        rf"a mirror alone is found in {NUMBER} %": "close_ups_of_mirror",
        rf"back lights in {NUMBER} %": "close_ups_of_back_light",
        rf"wheels in {NUMBER} %": "close_ups_of_wheel",
        rf"a rear window in {NUMBER} %": "close_ups_of_back_glass",
    },
    "types": {
        rf"1,396 cars of .*? calibration error {NUMBER}": "types_ece",
        rf"369 street .*? calibration error {NUMBER}": "street_ece",
        rf"3 of them, and F1 is {NUMBER}": "street_f1_wagon",
        rf"Close-ups\*\*: {NUMBER} %": "close_ups_typed",
        rf"picture alone is right on {NUMBER}": "picture_accuracy",
        rf"picture alone is right on [\d.]+ and {NUMBER}": "picture_street",
        rf"both together on {NUMBER}": "both_accuracy",
        rf"both together on [\d.]+ and {NUMBER}": "both_street",
    },
    "shapes": {
        rf"accuracy of the types {NUMBER} on": "accuracy",
        rf"and {NUMBER} on \d+ street": "street",
        rf"turn right for {NUMBER}": "turn",
    },
    "damage": {},
}
# Card -> beginnings of the figures in its table, and the names of the table's rows.
TABLES: dict[str, tuple[tuple[str, ...], Sequence[str]]] = {
    "parts": (("iou_", "ap_"), PART_NAMES),
    "types": (("f1_", "street_f1_"), TYPE_NAMES),
    "damage": (("damage_f1_",), DAMAGE_KINDS),
}
# Title of a row of the table in docs/accuracy.md -> figure.
ROWS = {
    "overlap with masks drawn by people, mean IoU of 18 parts": "miou",
    "overlap with masks of the body panels, mean IoU of 7 parts": "miou_panels",
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
    "damage at all, F1": "damage_any_f1",
    "a kind of damage in a photo, mean F1 of 8 kinds": "damage_macro_f1",
    "undamaged cars reported damaged": "undamaged_damaged",
}
# Pattern of a figure in the README -> its name.
README = {
    rf"mean IoU of 18 parts {NUMBER} and": "miou",
    rf"and of 7 body panels {NUMBER}; body type right": "miou_panels",
    rf"body type right for {NUMBER} % of Stanford Cars": "type_accuracy",
    rf"of Stanford Cars and {NUMBER} % of photos of streets": "street_accuracy",
}


def read_metrics(folder: Path = MODELS) -> dict[str, float]:
    """Return the figures of all descriptions of a folder of models."""
    found: dict[str, float] = {}
    for name in CARDS:
        found |= json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["metrics"]
    return found


def interval_pattern(words: str) -> str:
    """Return the pattern of a figure, whether it is a percentage, and of its bounds."""
    return rf"{words} {NUMBER}( %)? \({NUMBER} to {NUMBER}\)"


def bounds_of(figure: str) -> tuple[str, str, str]:
    """Return the names of a figure and of its bounds."""
    return figure, f"{figure}_low", f"{figure}_high"


def replace_figures(
    text: str, pattern: str, figures: Sequence[str | None], metrics: Metrics
) -> str:
    """Replace the numbers that the groups of a pattern match; a line may end at any blank.

    Args:
        text: of the document.
        pattern: its first match is changed.
        figures: name of each group's figure; None for a group that stays.
        metrics: figures by name; unknown ones stay as they are.
    """
    match = re.search(pattern.replace(" ", r"\s+"), text, re.DOTALL)
    if match is None:
        return text
    percent = "%" in match[0]
    for group in range(len(figures), 0, -1):
        name = figures[group - 1]
        if name is not None and name in metrics and match[group] is not None:
            start, end = match.span(group)
            text = text[:start] + _like(match[group], metrics[name], percent) + text[end:]
    return text


def _like(old: str, value: float, percent: bool) -> str:
    digits = len(old.partition(".")[2])
    return f"{value * (100 if percent else 1):.{digits}f}"


def update_card(text: str, name: str, metrics: Metrics) -> str:
    """Return a model card with other figures.

    Args:
        text: the card.
        name: one of CARDS.
        metrics: figures by name.
    """
    for words, figure in WITH_INTERVAL[name].items():
        value, low, high = bounds_of(figure)
        text = replace_figures(text, interval_pattern(words), (value, None, low, high), metrics)
    for pattern, figure in ALONE[name].items():
        text = replace_figures(text, pattern, (figure,), metrics)
    prefixes, rows = TABLES.get(name, ((), ()))
    for row in rows:
        pattern = rf"\| {row} \| " + r" \| ".join([NUMBER] * len(prefixes)) + r" \|"
        text = replace_figures(text, pattern, [prefix + row for prefix in prefixes], metrics)
    return text


def update_accuracy(text: str, metrics: Metrics) -> str:
    """Return docs/accuracy.md with other figures in its table."""
    for title, figure in ROWS.items():
        pattern = rf"\| {re.escape(title)} \| {NUMBER}(?: %)? \| {NUMBER} to {NUMBER}(?: %)? \|"
        pattern = pattern.replace(r"\ ", " ")
        text = replace_figures(text, pattern, bounds_of(figure), metrics)
    return text


def update_weights(text: str, thresholds: Metrics) -> str:
    """Return the card of the types with other weights of the two networks."""
    pattern = rf"both networks, {NUMBER} and {NUMBER}, are fitted"
    return replace_figures(text, pattern, ("picture_weight", "shape_weight"), thresholds)


def update_documents(root: Path = REPOSITORY, models: Path = MODELS) -> None:
    """Write the figures of `models` into its cards, and into the documents of `root`."""
    metrics = read_metrics(models)
    thresholds = json.loads((models / "types.json").read_text(encoding="utf-8"))["thresholds"]
    for name in CARDS:
        card = models / f"{name}.md"
        text = update_card(card.read_text(encoding="utf-8"), name, metrics)
        card.write_text(update_weights(text, thresholds), encoding="utf-8")
    accuracy, readme = root / "docs" / "accuracy.md", root / "README.md"
    text = update_accuracy(accuracy.read_text(encoding="utf-8"), metrics)
    accuracy.write_text(text, encoding="utf-8")
    text = readme.read_text(encoding="utf-8")
    for pattern, figure in README.items():
        text = replace_figures(text, pattern, (figure,), metrics)
    readme.write_text(text, encoding="utf-8")
