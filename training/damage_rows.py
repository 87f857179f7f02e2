"""Turn answers about damage into rows of the table that `make evaluate` prints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.calibration import Verdicts
from training.damage_answers import DamageAnswer
from training.damage_training import any_kind, f1
from training.figures import calibration_estimate
from training.intervals import ROUNDS, Estimate, bootstrap, proportion
from training.rows import Row, Rows
from vision.labels import DAMAGE_KINDS

# Undamaged photos have weights in F1, so that their number does not matter: four to five damaged.
BALANCE = 0.8


def damage_rows(found: Sequence[DamageAnswer], rounds: int = ROUNDS) -> Rows:
    """Return the figures about damage: presence of kinds, pixels, right ones, calibration."""
    damaged = [answer for answer in found if answer.kinds]
    if not damaged:
        return Rows()
    clean = [answer for answer in found if not answer.kinds]
    estimates = damage_estimates(found, rounds)
    titles = {
        "damage_macro_f1": "damage: presence of a kind, mean F1 of eight kinds",
        "damage_any_f1": "damage at all: F1",
        "damage_iou": "pixels of any damage: IoU",
        "damage_right": "damages shown that overlap an annotated one of that kind",
    }
    rows = [
        Row(name, title, estimates[name], len(found if name.endswith("f1") else damaged))
        for name, title in titles.items()
    ]
    details = {
        name: value.value for name, value in estimates.items() if name.startswith("damage_f1_")
    }
    return Rows(rows, details) + _undamaged(clean) + _calibration(damaged)


def _undamaged(clean: Sequence[DamageAnswer]) -> Rows:
    if not clean:
        return Rows()
    wrong = sum(bool(answer.shown) for answer in clean)
    title = "undamaged cars reported damaged"
    estimate = proportion(wrong, len(clean))
    counted = f"{wrong} of {len(clean)}"
    return Rows([Row("undamaged_damaged", title, estimate, len(clean), counted)])


def _calibration(damaged: Sequence[DamageAnswer]) -> Rows:
    verdicts = damage_verdicts(damaged)
    if not len(verdicts.confidence):
        return Rows()
    photos = len(np.unique(verdicts.photo))
    title = "damage: expected calibration error"
    return Rows([Row("damage_ece", title, calibration_estimate(verdicts), photos)])


def damage_verdicts(found: Sequence[DamageAnswer]) -> Verdicts:
    """Return the confidence of each shown damage, and true for those that are right."""
    _, cases = np.unique([answer.key for answer in found], return_inverse=True)
    shown = [
        (each.confidence, each.right, case)
        for answer, case in zip(found, cases.tolist(), strict=True)
        for each in answer.shown
    ]
    confidence, right, case = zip(*shown, strict=True) if shown else ((), (), ())
    return Verdicts(np.array(confidence), np.array(right, np.bool_), np.array(case, np.int64))


def damage_estimates(found: Sequence[DamageAnswer], rounds: int = ROUNDS) -> dict[str, Estimate]:
    """Return the figures with their intervals; NaN for a kind that no photo shows.

    `damage_f1_<kind>` is F1 of the presence of a kind, `damage_macro_f1` their mean. `damage_right`
    and `damage_iou` count photos of damage alone.
    """
    given, true = _presence([a.found for a in found]), _presence([a.kinds for a in found])
    clean = ~any_kind(true)
    share = BALANCE * (~clean).sum() / clean.sum() if clean.any() else 1.0
    weights = np.where(clean, share, 1.0)
    pixels = np.array([(a.overlap, a.union) for a in found], np.float64)
    rights = np.array([sum(each.right for each in a.shown) for a in found], np.float64)
    shown = np.array([len(a.shown) if a.kinds else 0 for a in found], np.float64)

    def of(chosen: NDArray[np.int64]) -> dict[str, float]:
        g, t, w = given[chosen], true[chosen], weights[chosen]
        figures = {
            f"damage_f1_{kind}": f1(g[:, n], t[:, n], w) if t[:, n].any() else float("nan")
            for n, kind in enumerate(DAMAGE_KINDS)
        }
        known = [value for value in figures.values() if value == value]
        figures["damage_macro_f1"] = float(np.mean(known)) if known else float("nan")
        figures["damage_any_f1"] = f1(any_kind(g), any_kind(t), w)
        overlap, union = pixels[chosen].sum(0)
        figures["damage_iou"] = float(overlap / union) if union else float("nan")
        count = shown[chosen].sum()
        figures["damage_right"] = float(rights[chosen].sum() / count) if count else float("nan")
        return figures

    return bootstrap(of, [answer.key for answer in found], rounds)


def _presence(kinds: Sequence[frozenset[str]]) -> NDArray[np.bool_]:
    """Return (n, kinds), true for the kinds of each photo."""
    return np.array([[kind in held for kind in DAMAGE_KINDS] for held in kinds], np.bool_)
