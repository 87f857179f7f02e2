"""Compute figures from answers about parts and types: IoU, AP, swapped sides, accuracy, F1."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from car_classification import TYPE_NAMES
from photo_result import Part
from poligons_from_seg import rasterize
from training.answers import Answer, PartsAnswer
from training.average_precision import MaskPrecision, judged
from training.calibration import Verdicts, calibration_error
from training.intervals import ROUNDS, Estimate, bootstrap
from training.parts_metrics import PartScores
from vision.labels import BASIC_PARTS, PANELS, PART_NAMES, label_of

NO_TYPE = len(TYPE_NAMES)  # the column of answers without a type in a confusion


def confusions(found: Sequence[PartsAnswer]) -> NDArray[np.int64]:
    """Count pixels by true and found label, for each photo: (photos, labels, labels)."""
    counts = []
    for answer in found:
        scores = PartScores()
        scores.add(answer.guess, answer.truth, answer.photo.missing)
        counts.append(scores.confusion)
    return np.stack(counts)


def figures_of(confusion: NDArray[np.int64]) -> dict[str, float]:
    """Return `PartScores.figures` of pixel counts (labels, labels)."""
    scores = PartScores()
    scores.confusion = confusion
    return scores.figures()


def part_estimates(found: Sequence[PartsAnswer], rounds: int = ROUNDS) -> dict[str, Estimate]:
    """Return all figures about masks with their intervals; NaN for a part that no photo shows.

    `miou` and `swapped` cover the parts that are delivered by default, `ap` (0.50:0.95) and `ap50`
    parts of any confidence. `miou`, `ap` and `ap50` are means over the basic parts; with `_panels`
    they are means over the body panels. The figures by part are `iou_`, `ap_` and `ap50_` + name.
    """
    counts = confusions(found)
    precision = MaskPrecision([(a.parts, a.truth, a.photo.missing) for a in found])

    def of(chosen: NDArray[np.int64]) -> dict[str, float]:
        figures = figures_of(counts[chosen].sum(0))
        by_part = precision.by_part(chosen).tolist()
        for name, (part_ap, part_ap50) in zip(PART_NAMES, by_part, strict=True):
            figures |= {f"ap_{name}": part_ap, f"ap50_{name}": part_ap50}
        for group, names in (("", BASIC_PARTS), ("_panels", PANELS)):
            for mean, by in (("miou", "iou"), ("ap", "ap"), ("ap50", "ap50")):
                figures[f"{mean}{group}"] = _mean([figures[f"{by}_{name}"] for name in names])
        return figures

    return bootstrap(of, [answer.photo.key for answer in found], rounds)


def _mean(values: Sequence[float]) -> float:
    """Return the mean without NaN values; NaN if there are no others."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def type_confusion(found: Sequence[Answer]) -> NDArray[np.int64]:
    """Count the cars by true type (rows) and answered type (columns, the last for none): (8, 9)."""
    confusion = np.zeros((len(TYPE_NAMES), NO_TYPE + 1), np.int64)
    for answer in found:
        if answer.photo.type is not None:
            given = NO_TYPE if answer.type is None else TYPE_NAMES.index(answer.type)
            confusion[TYPE_NAMES.index(answer.photo.type), given] += 1
    return confusion


def type_estimates(found: Sequence[Answer], rounds: int = ROUNDS) -> dict[str, Estimate]:
    """Return `accuracy`, `macro_f1` and `f1_` + type of cars; a missing type counts as wrong.

    The macro F1 is the mean over the types that occur; F1 is NaN for an absent type.
    """
    cars = [answer for answer in found if answer.photo.type is not None]
    each = np.stack([type_confusion([answer]) for answer in cars])

    def of(chosen: NDArray[np.int64]) -> dict[str, float]:
        confusion = each[chosen].sum(0)
        hits = np.diag(confusion).astype(float)
        true, given = confusion.sum(1), confusion[:, :NO_TYPE].sum(0)
        f1 = np.where(true > 0, 2 * hits / np.maximum(true + given, 1), np.nan)
        return {
            "accuracy": float(hits.sum() / max(confusion.sum(), 1)),
            "macro_f1": float(np.nanmean(f1)),
            **{f"f1_{name}": float(value) for name, value in zip(TYPE_NAMES, f1, strict=True)},
        }

    return bootstrap(of, [answer.photo.key for answer in cars], rounds)


def calibration_estimate(verdicts: Verdicts) -> Estimate:
    """Return the expected calibration error, with an interval by bootstrap over photos."""
    return bootstrap(
        lambda chosen: {
            "ece": calibration_error(verdicts.confidence[chosen], verdicts.right[chosen])
        },
        verdicts.photo.tolist(),
    )["ece"]


def part_verdicts(found: Sequence[PartsAnswer], names: Collection[str] = PART_NAMES) -> Verdicts:
    """Return the confidence of each part, and true if it is right (mask IoU above 0.5).

    Args:
        found: the answers.
        names: names of the parts that count.
    """
    return _verdicts(
        (answer.confidences[part.name], right, number)
        for number, answer in enumerate(found)
        for part, right in judgements(answer, answer.parts)
        if part.name in names
    )


def judgements(answer: PartsAnswer, parts: Iterable[Part]) -> Iterator[tuple[Part, bool]]:
    """Yield the parts of a photo that can be judged, each with true if it is right."""
    for part in parts:
        mask = rasterize(part.polygons, *answer.truth.shape)
        given = judged(part.name, mask, answer.truth, answer.photo.missing)
        if given is not None:
            true = answer.truth == label_of(part.name)
            overlap = np.count_nonzero(given & true) / int(np.count_nonzero(given | true) or 1)
            yield part, bool(overlap > 0.5)


def type_verdicts(found: Sequence[Answer]) -> Verdicts:
    """Return the confidence of each type that is answered for a car, and true if it is right."""
    return _verdicts(
        (max(answer.scores.values()), answer.type == answer.photo.type, number)
        for number, answer in enumerate(found)
        if answer.scores is not None and answer.photo.type is not None
    )


def _verdicts(rows: Iterable[tuple[float, bool, int]]) -> Verdicts:
    table = np.array(list(rows), np.float64).reshape(-1, 3)
    return Verdicts(table[:, 0], table[:, 1] > 0, table[:, 2].astype(np.int64))
