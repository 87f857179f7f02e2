"""Confidences become true, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from car_classification import type_probabilities
from training.calibration import (
    Platt,
    Verdicts,
    calibration_error,
    fit_platt,
    fit_weights,
    folds_of,
    logit,
    reliability,
    softmax,
    uncalibrated,
    unseen_platt,
    unseen_weights,
)


def verdicts(count: int, slope: float, offset: float) -> Verdicts:
    """Return confidences whose answers are right as often as `Platt(slope, offset)` says."""
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.05, 0.99, count)
    right = rng.random(count) < Platt(slope, offset)(confidence)
    return Verdicts(confidence, right, np.arange(count) // 8)


def test_error_by_hand() -> None:
    confidence = np.array([0.95, 0.93, 0.55, 0.55, 1.0])
    right = np.array([True, True, True, False, False])
    low, high = reliability(confidence, right)
    assert (low.confidence, low.right, low.count) == pytest.approx((0.55, 0.5, 2))
    assert (high.confidence, high.right, high.count) == pytest.approx((0.96, 2 / 3, 3))
    error = (2 * 0.05 + 3 * (0.96 - 2 / 3)) / 5
    assert calibration_error(confidence, right) == pytest.approx(error)


def test_map_is_recovered() -> None:
    seen = verdicts(20_000, 2.5, -1.2)
    platt = fit_platt(seen.confidence, seen.right)
    assert platt.slope == pytest.approx(2.5, abs=0.15)
    assert platt.offset == pytest.approx(-1.2, abs=0.15)


def test_calibration_improves_unseen_photos() -> None:
    seen = verdicts(600, 3.0, -2.0)
    before = calibration_error(seen.confidence, seen.right)
    after = calibration_error(unseen_platt(seen), seen.right)
    assert before > 0.1
    assert after < before / 2


@pytest.mark.parametrize("wrong", [0, 30])
def test_order_is_kept_without_signal(wrong: int) -> None:
    confidence = np.linspace(0.01, 0.99, 60)
    platt = fit_platt(confidence, np.arange(60) >= wrong)
    assert np.isfinite([platt.slope, platt.offset]).all()
    assert (np.diff(platt(confidence)) >= 0).all()
    # A network that is less sure where it is right must not be turned around.
    assert fit_platt(confidence, np.arange(60) < 30).slope > 0


def test_identity_and_edges() -> None:
    values = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(Platt()(values), values)
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()


def test_photos_stay_in_one_fold() -> None:
    groups = np.repeat(np.arange(23), 4)
    folds = folds_of(groups)
    assert all(len(set(folds[groups == group])) == 1 for group in range(23))
    assert np.bincount(folds).tolist() == [20, 20, 20, 16, 16]


def labelled_logits(temperature: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (8000, 8))
    labels = np.array([rng.choice(8, p=row) for row in softmax(true)])
    return true * temperature, labels


def test_temperature_is_recovered() -> None:
    logits, labels = labelled_logits(1.7)
    alike = np.ones(len(labels))
    (weight,) = fit_weights(logits[None], labels, alike)
    assert 1 / weight == pytest.approx(1.7, abs=0.08)
    right = logits.argmax(1) == labels
    after = unseen_weights(logits[None], labels, alike, np.arange(len(labels)))
    assert calibration_error(after.max(1), right) < 0.02
    assert calibration_error(softmax(logits).max(1), right) > 0.05


def test_two_complementary_networks() -> None:
    true, labels = labelled_logits(1.0)
    rng = np.random.default_rng(1)
    first = true + rng.normal(0, 1, true.shape)
    second = 2 * (true + rng.normal(0, 1, true.shape))
    logits, alike = np.stack([first, second]), np.ones(len(labels))
    weights = fit_weights(logits, labels, alike)
    assert weights[0] == pytest.approx(2 * weights[1], rel=0.15)  # as good, but twice as loud
    both = np.einsum("k,knc->nc", weights, logits)
    assert (both.argmax(1) == labels).mean() > (first.argmax(1) == labels).mean() + 0.02


def test_photos_without_weight_change_nothing() -> None:
    logits, labels = labelled_logits(1.7)
    counts = np.where(np.arange(len(labels)) < 4000, 1.0, 0.0)
    some = fit_weights(logits[None, :4000], labels[:4000], counts[:4000])
    labels[4000:] = 0
    assert fit_weights(logits[None], labels, counts) == pytest.approx(some, rel=1e-4)


def test_one_weight_changes_no_answer() -> None:
    picture, shape = np.random.default_rng(2).normal(0, 2, (2, 8))
    sharp, soft = (
        type_probabilities(picture, shape, {"picture_weight": weight, "shape_weight": 0.0})
        for weight in (1.0, 0.3)
    )
    assert sharp.argmax() == soft.argmax() == picture.argmax()
    assert 1 / 8 < soft.max() < sharp.max()
    assert soft.sum() == pytest.approx(1)


def test_inverse_map() -> None:
    raw = np.array([0.01, 0.2, 0.7, 0.97])
    for platt in (Platt(), Platt(2.4, -1.6), Platt(5.0, -6.0)):
        np.testing.assert_allclose(uncalibrated(platt(raw), platt), raw, atol=1e-6)
