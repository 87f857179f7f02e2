"""Answers to figures: IoU, AP, sides mixed up, types, and how sure the figures are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES
from poligons_from_seg import rasterize
from training.answers import Answer, TypeAnswer
from training.average_precision import MaskPrecision
from training.calibration import Verdicts, calibration_error
from training.parts_metrics import PartScores
from training.type_data import NO_CAR

ROUNDS = 300  # draws of the bootstrap


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval from photos drawn anew."""

    value: float
    low: float
    high: float


def confusions(found: Sequence[Answer]) -> NDArray[np.int64]:
    """Pixels by true and given label, for each photo: (photos, labels, labels)."""
    counts = []
    for answer in found:
        scores = PartScores()
        scores.add(answer.guess, answer.truth)
        counts.append(scores.confusion)
    return np.stack(counts)


def draws(count: int, rounds: int = ROUNDS) -> Iterator[NDArray[np.int64]]:
    """`count` photos drawn with replacement, `rounds` times, always the same (bootstrap)."""
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        yield rng.integers(0, count, count)


def figures_of(confusion: NDArray[np.int64]) -> dict[str, float]:
    """`PartScores.figures` of pixel counts (labels, labels)."""
    scores = PartScores()
    scores.confusion = confusion
    return scores.figures()


def part_estimates(found: Sequence[Answer], rounds: int = ROUNDS) -> dict[str, Estimate]:
    """All figures about parts with their 95 % intervals; NaN for a part that no photo shows.

    `miou`, `swapped`, `ap` (0.50:0.95), `ap50`, and by part `iou_`, `ap_` and `ap50_` + name.
    """
    counts = confusions(found)
    precision = MaskPrecision([(answer.parts, answer.truth) for answer in found])

    def of(chosen: NDArray[np.int64]) -> dict[str, float]:
        by_part = precision.by_part(chosen)
        ap, ap50 = np.nanmean(by_part, axis=0).tolist()
        figures = figures_of(counts[chosen].sum(0)) | {"ap": ap, "ap50": ap50}
        for name, (part_ap, part_ap50) in zip(PART_NAMES, by_part.tolist(), strict=True):
            figures |= {f"ap_{name}": part_ap, f"ap50_{name}": part_ap50}
        return figures

    return _estimates(of, len(found), rounds)


def part_figures(found: Sequence[Answer], rounds: int = ROUNDS) -> dict[str, float]:
    """All figures about parts; `..._low` and `..._high` are bounds of 95 % intervals."""
    estimates = part_estimates(found, rounds)
    verdicts = part_verdicts(found)
    return {
        **{name: e.value for name, e in estimates.items() if not name.startswith("ap50_")},
        **_bounds(estimates, "miou", "ap"),
        "parts_ece": calibration_error(verdicts.confidence, verdicts.right),
    }


def _estimates(
    of: Callable[[NDArray[np.int64]], dict[str, float]], count: int, rounds: int
) -> dict[str, Estimate]:
    """Figures of all photos, with intervals from photos drawn anew."""
    values = of(np.arange(count))
    drawn = np.array([list(of(chosen).values()) for chosen in draws(count, rounds)])
    with warnings.catch_warnings():  # of a part that no photo shows all draws are NaN
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0).tolist()
    return {
        name: Estimate(value, low[i], high[i]) for i, (name, value) in enumerate(values.items())
    }


def _bounds(estimates: dict[str, Estimate], *names: str) -> dict[str, float]:
    bounds: dict[str, float] = {}
    for name in names:
        bounds |= {f"{name}_low": estimates[name].low, f"{name}_high": estimates[name].high}
    return bounds


def type_confusion(found: Sequence[TypeAnswer]) -> NDArray[np.int64]:
    """Photos by true type (rows) and answer (columns); the last of both is no car: (9, 9)."""
    confusion = np.zeros((NO_CAR + 1, NO_CAR + 1), np.int64)
    for answer in found:
        confusion[answer.label, answer.guess] += 1
    return confusion


def type_figures(found: Sequence[TypeAnswer], rounds: int = ROUNDS) -> dict[str, float]:
    """Type accuracy and macro F1, and photos with and without a car told apart."""
    true = np.array([answer.label for answer in found])
    given = np.array([answer.guess for answer in found])

    def of(chosen: NDArray[np.int64]) -> dict[str, float]:
        confusion = np.zeros((NO_CAR + 1, NO_CAR + 1), np.int64)
        np.add.at(confusion, (true[chosen], given[chosen]), 1)
        return _figures_of_types(confusion)

    estimates, verdicts = _estimates(of, len(found), rounds), type_verdicts(found)
    return {
        **{name: estimate.value for name, estimate in estimates.items()},
        **_bounds(estimates, "type_accuracy", "type_macro_f1"),
        "types_ece": calibration_error(verdicts.confidence, verdicts.right),
    }


def _figures_of_types(confusion: NDArray[np.int64]) -> dict[str, float]:
    cars, empty = confusion[:NO_CAR], confusion[NO_CAR]
    hits = np.diag(cars).astype(float)
    f1 = 2 * hits / np.maximum(cars[:, :NO_CAR].sum(0) + cars.sum(1), 1)
    return {
        "type_accuracy": float(hits.sum() / max(cars.sum(), 1)),
        "type_macro_f1": float(f1.mean()),
        **{f"f1_{name}": float(value) for name, value in zip(TYPE_NAMES, f1, strict=True)},
        "cars_missed": float(cars[:, NO_CAR].sum() / max(cars.sum(), 1)),
        "empty_told": float(empty[NO_CAR] / max(empty.sum(), 1)),
    }


def part_verdicts(found: Sequence[Answer]) -> Verdicts:
    """Confidence of each part that was given, and whether it is right (mask IoU above 0.5)."""
    rows = []
    for number, answer in enumerate(found):
        for part in answer.parts:
            given = rasterize(part.polygons, *answer.truth.shape)
            true = answer.truth == PART_NAMES.index(part.name) + 1
            overlap = np.count_nonzero(given & true) / int(np.count_nonzero(given | true) or 1)
            rows.append((part.confidence, bool(overlap > 0.5), number))
    return _verdicts(rows)


def type_verdicts(found: Sequence[TypeAnswer]) -> Verdicts:
    """Confidence of each type that was given to a car, and whether it is right."""
    return _verdicts(
        [
            (float(answer.scores.max()), answer.guess == answer.label, number)
            for number, answer in enumerate(found)
            if answer.scores is not None and answer.label != NO_CAR
        ]
    )


def _verdicts(rows: list[tuple[float, bool, int]]) -> Verdicts:
    table = np.array(rows, np.float64).reshape(-1, 3)
    return Verdicts(table[:, 0], table[:, 1] > 0, table[:, 2].astype(np.int64))
