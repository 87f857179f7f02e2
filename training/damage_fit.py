"""Fit the thresholds of the damage network to photos that it has not seen.

All kinds share two thresholds and one map of confidences. Thresholds by kind follow single photos:
rare kinds have a few dozen (EXPERIMENTS.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from analysis.damage_segments import CoarseDamage, DamageSegmenter
from training.calibration import (
    Platt,
    calibration_error,
    fit_platt,
    folds_of,
    unseen_platt,
)
from training.damage_answers import DamageAnswer, Shown
from training.damage_data import DamagedPhoto
from training.damage_rows import damage_estimates, damage_verdicts
from vision.labels import DAMAGE_KINDS
from vision.model_files import ModelDescription

CELLS = (10.0, 20.0, 30.0, 45.0)  # fewest cells of a damage, of 96x128; more would hide scratches
CONFIDENCES = tuple(round(0.3 + 0.025 * step, 3) for step in range(25))
FURTHER = (0.0, 0.05, 0.1, 0.15)  # confidence that all damages but the surest need in addition
MOST_WRONG, LEAST_RIGHT = 0.03, 0.8  # undamaged cars reported damaged; shown damages that are right
ISLAND = 0.2  # share of the largest piece of a kind in a photo; smaller ones are mostly wrong
_SMALLEST = 3.0  # cells of a piece that is looked at
_WHOLE = 96 * 128


@dataclass(frozen=True)
class Candidate:
    """A piece of a photo before any threshold.

    Attributes:
        shown: its kind, the network's own confidence, and true if it overlaps one of that kind.
        cells: its size, for a map of 96x128 cells.
        hits, area: its cells that are annotated as damage, and all its cells, in shares of the map.
    """

    shown: Shown
    cells: float
    hits: float
    area: float


@dataclass(frozen=True)
class Look:
    """The candidates of a photo, and its truth.

    Attributes:
        key: photos of one case, or of one car, share it.
        kinds: annotated kinds.
        annotated: share of the photo that is annotated as damage.
        candidates: all pieces.
    """

    key: str
    kinds: frozenset[str]
    annotated: float
    candidates: list[Candidate]

    def answer(self, cells: float, confidence: float, further: float = 0.0) -> DamageAnswer:
        """Return the answer with thresholds.

        Args:
            cells: fewest cells of a damage.
            confidence: least confidence.
            further: least confidence of all damages but the surest.
        """
        sure = [
            each
            for each in self.candidates
            if each.cells >= cells and each.shown.confidence >= confidence
        ]
        largest: dict[str, float] = {}
        for each in sure:
            largest[each.shown.kind] = max(each.cells, largest.get(each.shown.kind, 0.0))
        kept = [each for each in sure if each.cells >= ISLAND * largest[each.shown.kind]]
        first = max(kept, key=lambda each: each.shown.confidence, default=None)
        kept = [each for each in kept if each is first or each.shown.confidence >= further]
        hits, area = sum(each.hits for each in kept), sum(each.area for each in kept)
        overlap, union = round(1e6 * hits), round(1e6 * (area + self.annotated - hits))
        return DamageAnswer(self.key, self.kinds, [each.shown for each in kept], overlap, union)


def without_thresholds(description: ModelDescription) -> ModelDescription:
    """Return a description under which all pieces are given with the network's own confidence."""
    thresholds = flat_thresholds(_SMALLEST, 0.0, 0.0, Platt()) | {"island": 0.0}
    return replace(description, thresholds=thresholds)


def flat_thresholds(
    cells: float, confidence: float, further: float, platt: Platt
) -> dict[str, float]:
    """Return the thresholds of the description, which are equal for all kinds.

    Args:
        cells: fewest cells of a damage.
        confidence: least confidence of the network itself.
        further: the same for all damages but the surest.
        platt: the map of confidences.
    """
    least, others = (float(platt(np.array([p]))[0]) if p else 0.0 for p in (confidence, further))
    values = {
        "cells": cells,
        "confidence": least,
        "slope": platt.slope,
        "offset": platt.offset,
    }
    by_kind = {
        f"{kind}_{name}": round(value, 4) for kind in DAMAGE_KINDS for name, value in values.items()
    }
    return by_kind | {"island": ISLAND, "further": round(others, 4)}


def look_at_damage(
    segmenter: DamageSegmenter, key: str, rgb: NDArray[np.uint8], truth: DamagedPhoto | None
) -> Look:
    """Return the candidates of a photo.

    Args:
        segmenter: without thresholds, see `without_thresholds`.
        key: see `Look`.
        rgb: (H, W, 3) uint8, the photo.
        truth: its annotations; None for an undamaged car.
    """
    found = segmenter.cells(rgb)
    size = found.labels.shape
    masks = {kind: _shrunk(truth.mask(kind), size) for kind in truth.kinds} if truth else {}
    annotated = np.logical_or.reduce([*masks.values(), np.zeros(size, np.bool_)])
    candidates = list(_candidates(found, masks, annotated))
    return Look(key, frozenset(masks), float(annotated.mean()), candidates)


def _candidates(
    found: CoarseDamage, masks: Mapping[str, NDArray[np.bool_]], annotated: NDArray[np.bool_]
) -> Iterator[Candidate]:
    whole = found.labels.size
    for number, piece in enumerate(found.pieces, start=1):
        here = found.labels == number
        right = piece.kind in masks and bool((here & masks[piece.kind]).any())
        yield Candidate(
            Shown(piece.kind, piece.confidence, right),
            piece.cells * _WHOLE / whole,
            float((here & annotated).sum()) / whole,
            float(here.sum()) / whole,
        )


def _shrunk(mask: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.bool_]:
    shrunk = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    return shrunk > 0


def score(looks: Sequence[Look], cells: float, confidence: float, further: float = 0.0) -> float:
    """Return the sum of both F1 of presence, less what is missed of the two limits."""
    figures = figures_of([look.answer(cells, confidence, further) for look in looks])
    clean, right = figures.get("undamaged_damaged", 0.0), figures["damage_right"]
    wrong = max(0.0, clean - MOST_WRONG)
    missed = max(0.0, LEAST_RIGHT - right) if right == right else LEAST_RIGHT
    return figures["damage_macro_f1"] + figures["damage_any_f1"] - wrong - missed


def figures_of(answers: Sequence[DamageAnswer]) -> dict[str, float]:
    """Return the figures of answers by the names of `damage_rows`, without intervals."""
    figures = {name: value.value for name, value in damage_estimates(answers, 1).items()}
    clean = [bool(answer.shown) for answer in answers if not answer.kinds]
    return figures | ({"undamaged_damaged": float(np.mean(clean))} if clean else {})


def fit_looks(looks: Sequence[Look]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the thresholds that fit photos best, and figures by cross-validation.

    The figures also have the fewest cells, and the least confidences of the network itself.
    """
    cells, confidence, further = best_thresholds(looks)
    platt, error = fit_confidence(looks, cells)
    figures = figures_of(unseen_answers(looks)) | {
        "damage_ece_after": error,
        "damage_cells": cells,
        "damage_confidence": confidence,
        "damage_further": further,
    }
    return flat_thresholds(cells, confidence, further, platt), figures


def unseen_answers(looks: Sequence[Look]) -> list[DamageAnswer]:
    """Return the answers with thresholds that are fitted to the other cases (five folds)."""
    _, cases = np.unique([look.key for look in looks], return_inverse=True)
    folds = folds_of(cases)
    answers = []
    for fold in np.unique(folds).tolist():
        seen = [look for look, own in zip(looks, folds.tolist(), strict=True) if own != fold]
        thresholds = best_thresholds(seen)
        held = [look for look, own in zip(looks, folds.tolist(), strict=True) if own == fold]
        answers += [look.answer(*thresholds) for look in held]
    return answers


def best_thresholds(looks: Sequence[Look]) -> tuple[float, float, float]:
    """Return the thresholds of `Look.answer` with the best `score`."""
    tried = [(n, p, round(p + more, 3)) for n, p, more in product(CELLS, CONFIDENCES, FURTHER)]
    return max(tried, key=lambda limits: score(looks, *limits))


def fit_confidence(looks: Sequence[Look], cells: float) -> tuple[Platt, float]:
    """Return the map from the network's confidence to the share of right damages.

    It is fitted to pieces of photos of damage that have enough cells. It is the identity if all of
    them are right, or none is.

    Returns:
        The map, and its calibration error by cross-validation.
    """
    verdicts = damage_verdicts([look.answer(cells, 0.0) for look in looks if look.kinds])
    if verdicts.right.all() or not verdicts.right.any():
        return Platt(), float("nan")
    error = calibration_error(unseen_platt(verdicts), verdicts.right)
    return fit_platt(verdicts.confidence, verdicts.right), error
