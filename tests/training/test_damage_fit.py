"""Test that thresholds of damage keep what is right, and that confidences are calibrated."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.damage_segments import find_pieces
from training.calibration import Platt
from training.damage_answers import Shown
from training.damage_fit import (
    CELLS,
    Candidate,
    Look,
    best_thresholds,
    figures_of,
    fit_confidence,
    flat_thresholds,
    score,
    unseen_answers,
)
from vision.labels import DAMAGE_KINDS


def candidate(confidence: float, cells: float, *, right: bool, kind: str = "dent") -> Candidate:
    area = cells / 12288
    return Candidate(Shown(kind, confidence, right), cells, area * right, area)


def looks() -> list[Look]:
    """Return photos in which large pieces are right, and undamaged cars with small ones."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(40):
        pieces = [
            candidate(rng.uniform(0.6, 0.9), 80, right=True),
            candidate(rng.uniform(0.3, 0.5), 17, right=bool(number % 4 == 0)),
        ]
        found.append(Look(f"case {number}", frozenset({"dent"}), 0.01, pieces))
        small = [candidate(rng.uniform(0.3, 0.5), 17, right=False)]
        found.append(Look(f"cars {number}", frozenset(), 0.0, small))
    return found


def test_thresholds_keep_right_damages() -> None:
    limits = best_thresholds(looks())
    answers = [look.answer(*limits) for look in looks()]
    assert all(len(answer.shown) == bool(answer.kinds) for answer in answers)
    assert score(looks(), *limits) == pytest.approx(2)
    assert score(looks(), CELLS[0], 0.0) < 1


def test_answer_counts_pixels() -> None:
    look = Look("case", frozenset({"dent"}), 0.02, [candidate(0.5, 122.88, right=True)])
    assert (look.answer(10, 0.3).overlap, look.answer(10, 0.3).union) == (10_000, 20_000)
    assert (look.answer(10, 0.6).overlap, look.answer(10, 0.6).union) == (0, 20_000)
    assert look.answer(200, 0.3).shown == []


def test_confidences_are_calibrated() -> None:
    platt, error = fit_confidence(looks(), CELLS[0])
    assert error < 0.2
    low, high = platt(np.array([0.4, 0.75])).tolist()
    assert low == pytest.approx(0.25, abs=0.1)
    assert high > 0.9
    only = [Look("case", frozenset({"dent"}), 0.01, [candidate(0.5, 50, right=True)])]
    assert fit_confidence(only, CELLS[0])[0] == Platt()


def test_small_pieces_next_to_large_one_are_left_out() -> None:
    pieces = [candidate(0.8, cells, right=True) for cells in (100, 30, 15)]
    other = candidate(0.8, 12, right=True, kind="scratch")
    look = Look("case", frozenset({"dent"}), 0.02, [*pieces, other])
    assert [each.kind for each in look.answer(10, 0.3).shown] == ["dent", "dent", "scratch"]


def test_damages_after_the_surest_need_more_confidence() -> None:
    pieces = [candidate(confidence, 50, right=True) for confidence in (0.5, 0.7, 0.6)]
    look = Look("case", frozenset({"dent"}), 0.02, pieces)
    assert [each.confidence for each in look.answer(10, 0.5, 0.65).shown] == [0.7]
    assert [each.confidence for each in look.answer(10, 0.5, 0.55).shown] == [0.7, 0.6]
    alone = Look("case", frozenset({"dent"}), 0.02, pieces[:1])
    assert [each.confidence for each in alone.answer(10, 0.5, 0.65).shown] == [0.5]


def test_cross_validation_answers_all_photos() -> None:
    answers = unseen_answers(looks())
    assert {answer.key for answer in answers} == {look.key for look in looks()}
    figures = figures_of(answers)
    assert figures["damage_macro_f1"] > 0.9
    assert figures["undamaged_damaged"] < 0.1


def test_description_has_thresholds_of_all_kinds() -> None:
    thresholds = flat_thresholds(30, 0.6, 0.0, Platt(2.0, -0.5))
    assert len(thresholds) == 4 * len(DAMAGE_KINDS) + 2
    assert thresholds["airbag_cells"] == 30
    logits = np.zeros((len(DAMAGE_KINDS) + 1, 96, 128), np.float32)
    logits[1, :20, :20] = 3.0
    (piece,) = find_pieces(logits, thresholds).pieces
    raw = np.exp(3.0) / (np.exp(3.0) + 8)
    assert piece.confidence == pytest.approx(Platt(2.0, -0.5)(np.array([raw]))[0], rel=1e-4)
    logits[1, :20, :20] = 2.0
    assert find_pieces(logits, thresholds).pieces == []


def test_service_leaves_out_small_pieces_next_to_large_one() -> None:
    thresholds = flat_thresholds(10, 0.3, 0.0, Platt())
    logits = np.zeros((len(DAMAGE_KINDS) + 1, 96, 128), np.float32)
    for label, rows, left in ((2, 20, 0), (2, 3, 40), (2, 6, 80), (1, 3, 110)):
        logits[label, :rows, left : left + 10] = 5.0
    kinds = [(piece.kind, piece.cells) for piece in find_pieces(logits, thresholds).pieces]
    assert kinds == [("scratch", 30), ("dent", 200), ("dent", 60)]


def test_service_needs_more_confidence_after_the_surest() -> None:
    thresholds = flat_thresholds(10, 0.3, 0.7, Platt())
    logits = np.zeros((len(DAMAGE_KINDS) + 1, 96, 128), np.float32)
    for label, left, height in ((1, 0, 2.5), (2, 40, 3.5), (3, 80, 4.5)):
        logits[label, :20, left : left + 10] = height
    found = find_pieces(logits, thresholds).pieces
    assert [piece.kind for piece in found] == ["dent", "broken"]
    (alone,) = find_pieces(logits[:, :, :40], thresholds).pieces
    assert alone.kind == "scratch"
    assert alone.confidence < 0.7
