"""Turn answers into the rows of the table that `make evaluate` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.answers import (
    SIZES,
    TURNS,
    Answer,
    CloseUpAnswer,
    PartsAnswer,
    SizesAnswer,
    TurnedAnswer,
    without_side,
)
from training.calibration import Verdicts
from training.figures import (
    calibration_estimate,
    judgements,
    part_estimates,
    part_verdicts,
    type_estimates,
    type_verdicts,
)
from training.intervals import ROUNDS, Estimate, proportion, ratio
from vision.labels import label_of

BACK_DOORS = ("back_left_door", "back_right_door")
LOW = 0.05  # confidence of parts that are useless
SMALLEST_DOOR = 0.005  # share of a photo's pixels; a smaller door is hardly visible


@dataclass(frozen=True)
class Row:
    """A figure with its interval.

    Attributes:
        name: key in `figures.json`.
        title: text for people.
        estimate: value and 95 % interval.
        photos: number of photos behind the figure.
        counted: "hits of count" for a share, or "".
    """

    name: str
    title: str
    estimate: Estimate
    photos: int
    counted: str = ""


@dataclass(frozen=True)
class Rows:
    """The rows of the table, and further figures by name that the table does not show."""

    rows: list[Row] = field(default_factory=list)
    details: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: Rows) -> Rows:
        return Rows(self.rows + other.rows, self.details | other.details)

    def figures(self) -> dict[str, float]:
        """Return all figures by name; `..._low` and `..._high` are the bounds of the rows."""
        figures: dict[str, float] = {}
        for row in self.rows:
            value = row.estimate
            bounds = {f"{row.name}_low": value.low, f"{row.name}_high": value.high}
            figures |= {row.name: value.value} | bounds
        return figures | self.details


def as_table(rows: Iterable[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| figure | value | 95 % interval | photos |", "|---|---|---|---|"]
    for row in rows:
        value = row.estimate
        shown = f"{value.value:.3f}" + (f" ({row.counted})" if row.counted else "")
        lines.append(
            f"| {row.title} | {shown} | {value.low:.3f} to {value.high:.3f} | {row.photos} |"
        )
    return "\n".join(lines) + "\n"


def close_ups_table(details: Mapping[str, float]) -> str:
    """Return the share of close-ups whose part is delivered, by part, as a Markdown table."""
    begin = "close_ups_of_"
    shares = {name: share for name, share in details.items() if name.startswith(begin)}
    lines = ["| close-up of | named |", "|---|---|"]
    lines += [f"| {name.removeprefix(begin)} | {share:.2f} |" for name, share in shares.items()]
    return "\n".join(lines) + "\n" if shares else ""


def mask_rows(found: Sequence[PartsAnswer], rounds: int = ROUNDS) -> Rows:
    """Return the figures about masks: IoU, AP, sides, calibration, four-door cars' back doors."""
    if not found:
        return Rows()
    estimates = part_estimates(found, rounds)
    titles = {
        "miou": "mIoU of the 18 basic parts",
        "miou_panels": "mIoU of the 7 body panels",
        "ap": "COCO mask AP of the basic parts (`min_confidence=0`)",
        "ap50": "COCO mask AP50 of the basic parts (`min_confidence=0`)",
        "ap_panels": "COCO mask AP of the body panels (`min_confidence=0`)",
        "swapped": "pixels of left and right parts given to the other side",
    }
    rows = [Row(name, title, estimates[name], len(found)) for name, title in titles.items()]
    by_part = {
        name: estimate.value
        for name, estimate in estimates.items()
        if name.startswith(("iou_", "ap_"))
    }
    verdicts = part_verdicts(found)
    return Rows(rows, by_part) + _back_doors(found) + _calibration("parts", "parts", verdicts)


def type_rows(found: Sequence[Answer], name: str, title: str, rounds: int = ROUNDS) -> Rows:
    """Return accuracy, macro F1 and calibration error of the types of cars.

    Args:
        found: answers for cars.
        name: prefix of the figures' names, such as "type" for `type_accuracy`.
        title: describes the photos.
        rounds: of the bootstrap.
    """
    cars = [answer for answer in found if answer.photo.type is not None]
    if not cars:
        return Rows()
    estimates = type_estimates(cars, rounds)
    rows = [
        Row(f"{name}_accuracy", f"body type, {title}: accuracy", estimates["accuracy"], len(cars)),
        Row(f"{name}_macro_f1", f"body type, {title}: macro F1", estimates["macro_f1"], len(cars)),
    ]
    prefix = "" if name == "type" else f"{name}_"
    details = {
        f"{prefix}{figure}": estimate.value
        for figure, estimate in estimates.items()
        if figure.startswith("f1_")
    }
    ece = "types" if name == "type" else name
    return Rows(rows, details) + _calibration(ece, f"body type, {title}", type_verdicts(cars))


def car_rows(found: Sequence[Answer]) -> Rows:
    """Return the figures about upright photos of cars of all sources."""
    two = [answer for answer in found if answer.photo.doors == 2]
    four = [answer for answer in found if answer.photo.doors == 4]
    return (
        _share("two_door_back_door", "two-door cars given a back door", two, _has_back_door)
        + _share(
            "four_door_back_door",
            "four-door cars given a back door (not every view shows one)",
            four,
            _has_back_door,
        )
        + _share("cars_missed", "cars said to show no car", found, _is_empty)
        + _share("type_unknown", "cars given no type", found, lambda a: a.type is None)
        + _share(
            "upright_turned", "upright photos said to be turned", found, lambda a: a.rotation != 0
        )
        + _low_confidences(found)
    )


def empty_rows(found: Sequence[Answer]) -> Rows:
    """Return the figures about photos without a car."""
    empty = [answer for answer in found if answer.photo.kind == "empty"]
    others = [answer for answer in found if answer.photo.kind == "others"]
    return (
        _share("empty_told", "photos without a road vehicle said to show no car", empty, _is_empty)
        + _share(
            "other_vehicles_typed",
            "motorcycles and other vehicles given a car type",
            others,
            lambda answer: answer.type is not None,
        )
        + _share(
            "other_vehicles_told",
            "motorcycles and other vehicles said to show no car",
            others,
            _is_empty,
        )
    )


def turned_rows(found: Sequence[TurnedAnswer]) -> Rows:
    """Return the figures about turned photos."""
    rows = []
    for turn in TURNS:
        these = [answer for answer in found if answer.turn == turn]
        keys = [answer.photo.key for answer in these]
        kept, parts = [a.kept for a in these], [a.found for a in these]
        if sum(parts):
            rows.append(
                Row(
                    f"turned_{turn}",
                    f"parts kept when the photo is turned by {turn} degrees",
                    ratio(kept, parts, keys),
                    len(these),
                    f"{sum(kept)} of {sum(parts)}",
                )
            )
        right = sum(answer.rotation == 360 - turn for answer in these)
        if these:
            rows.append(
                Row(
                    f"rotation_{turn}",
                    f"`rotation` right when the photo is turned by {turn} degrees",
                    proportion(right, len(these)),
                    len(these),
                    f"{right} of {len(these)}",
                )
            )
    return Rows(rows)


def close_up_rows(found: Sequence[CloseUpAnswer]) -> Rows:
    """Return the figures about close-ups, and the share with a delivered part, by part."""
    if not found:
        return Rows()
    photos = {answer.close_up.photo.key for answer in found}
    keys = [answer.close_up.photo.key for answer in found]
    ones = [1] * len(found)
    rows = []
    for name, title, hits in (
        ("close_ups", "close-ups (a part's box x 1.6): the part is named, either side", "named"),
        ("close_ups_typed", "close-ups given a car type", "typed"),
    ):
        right = [bool(getattr(answer, hits)) for answer in found]
        counted = f"{sum(right)} of {len(right)}"
        rows.append(Row(name, title, ratio(right, ones, keys), len(photos), counted))
    by_part: dict[str, list[bool]] = {}
    for answer in found:
        by_part.setdefault(without_side(answer.close_up.part), []).append(answer.named)
    details = {
        f"close_ups_of_{part}": float(np.mean(named)) for part, named in sorted(by_part.items())
    }
    return Rows(rows, details)


def sizes_rows(found: Sequence[SizesAnswer]) -> Rows:
    """Return the figures about photos that are sent in several sizes."""
    if not found:
        return Rows()
    agreed = [Counter(answer.types).most_common(1)[0][1] for answer in found]
    flips = sum(len(set(answer.is_empty)) > 1 for answer in found)
    keys = [answer.photo.key for answer in found]
    sizes = f"{len(SIZES)} sizes from {SIZES[0]} to {SIZES[-1]} px"
    return Rows(
        [
            Row(
                "sizes_agreement",
                f"answers at {sizes} whose type is the photo's most frequent one",
                ratio(agreed, [len(answer.types) for answer in found], keys),
                len(found),
                f"{sum(agreed)} of {sum(len(answer.types) for answer in found)}",
            ),
            Row(
                "sizes_flips",
                f"photos with a car at some of {sizes} and none at others",
                proportion(flips, len(found)),
                len(found),
                f"{flips} of {len(found)}",
            ),
        ]
    )


def _back_doors(found: Sequence[PartsAnswer]) -> Rows:
    """Return the share of four-door cars' back doors delivered in the right place (IoU > 0.5)."""
    seen, kept = 0, 0
    for answer in found:
        if answer.photo.doors != 4:
            continue
        doors = {
            name for name in BACK_DOORS if np.mean(answer.truth == label_of(name)) >= SMALLEST_DOOR
        }
        right = {part.name for part, is_right in judgements(answer, answer.delivered) if is_right}
        seen += bool(doors)
        kept += bool(doors) and doors <= right
    if not seen:
        return Rows()
    title = "four-door cars whose annotated back door is kept"
    return Rows([Row("four_door_kept", title, proportion(kept, seen), seen, f"{kept} of {seen}")])


def _low_confidences(found: Sequence[Answer]) -> Rows:
    """Return the figure about delivered parts with a confidence below LOW."""
    counts = [len(answer.delivered) for answer in found]
    low = [sum(answer.confidences[name] < LOW for name in answer.delivered) for answer in found]
    if not sum(counts):
        return Rows()
    estimate = ratio(low, counts, [(a.photo.kind, a.photo.key) for a in found])
    title = f"delivered parts with a confidence below {LOW}"
    counted = f"{sum(low)} of {sum(counts)}"
    return Rows([Row("low_confidence", title, estimate, len(found), counted)])


def _calibration(name: str, title: str, verdicts: Verdicts) -> Rows:
    """Return the expected calibration error of confidences; no row without confidences."""
    if not len(verdicts.confidence):
        return Rows()
    photos = len(np.unique(verdicts.photo))
    estimate = calibration_estimate(verdicts)
    return Rows([Row(f"{name}_ece", f"{title}: expected calibration error", estimate, photos)])


def _share(
    name: str, title: str, found: Sequence[Answer], is_hit: Callable[[Answer], bool]
) -> Rows:
    """Return the share of the photos that are hits; no row without photos."""
    if not found:
        return Rows()
    hits = sum(is_hit(answer) for answer in found)
    estimate = proportion(hits, len(found))
    return Rows([Row(name, title, estimate, len(found), f"{hits} of {len(found)}")])


def _has_back_door(answer: Answer) -> bool:
    return not answer.delivered.isdisjoint(BACK_DOORS)


def _is_empty(answer: Answer) -> bool:
    return answer.is_empty
