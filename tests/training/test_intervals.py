"""Intervals of proportions, and of resampled photos."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.intervals import bootstrap, group_draws, proportion, ratio


def test_wilson_by_hand() -> None:
    estimate = proportion(8, 10)
    assert estimate.value == 0.8
    assert (estimate.low, estimate.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_intervals_of_none_and_all() -> None:
    assert proportion(0, 20).low == 0
    assert proportion(0, 20).high == pytest.approx(0.1611, abs=1e-4)
    assert proportion(20, 20).high == 1
    assert proportion(20, 20).low == pytest.approx(1 - 0.1611, abs=1e-4)
    with pytest.raises(ValueError, match="nothing"):
        proportion(0, 0)


def test_photos_of_one_car_are_resampled_together() -> None:
    for chosen in group_draws(["a", "b", "a", "c"], rounds=20):
        counts = np.bincount(chosen, minlength=4)
        assert counts[0] == counts[2]
        assert counts[0] + counts[1] + counts[3] == 3


def test_interval_of_mean() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)

    def mean(chosen: NDArray[np.int64]) -> dict[str, float]:
        return {"mean": float(values[chosen].mean())}

    estimate = bootstrap(mean, range(400))["mean"]
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 2.0 / 20, rel=0.2)


def test_ratio_weighs_photos_by_counts() -> None:
    estimate = ratio([1, 9], [2, 10], ["a", "b"])
    assert estimate.value == pytest.approx(10 / 12)
    assert (estimate.low, estimate.high) == pytest.approx((0.5, 0.9))


def test_interval_of_full_ratio() -> None:
    assert ratio([4, 3, 0], [4, 3, 0], "abc") == proportion(2, 2)
    assert ratio([0, 0, 0], [4, 3, 1], "aab") == proportion(0, 2)
    with pytest.raises(ValueError, match="nothing"):
        ratio([0], [0], "a")
