"""Estimate the 95 % interval of a figure: of proportions, and by bootstrap over photos."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 300  # samples of the bootstrap

_Z = 1.959964  # quantile of the normal distribution for 95 %


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def proportion(hits: int, count: int) -> Estimate:
    """Return a share with Wilson's interval (1927), which is valid even for no hits or all hits.

    Raises:
        ValueError: `count` is 0.
    """
    if count == 0:
        raise ValueError("a share of nothing")
    share, spread = hits / count, _Z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    reach = _Z * math.sqrt(share * (1 - share) / count + spread / count / 4) / (1 + spread)
    # At both ends the formula is exact, apart from rounding.
    low = 0.0 if hits == 0 else middle - reach
    high = 1.0 if hits == count else middle + reach
    return Estimate(share, low, high)


def draws(count: int, rounds: int = ROUNDS) -> Iterator[NDArray[np.int64]]:
    """Draw `count` photos with replacement, `rounds` times, with a fixed seed (bootstrap)."""
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        yield rng.integers(0, count, count)


def group_draws(keys: Sequence[Hashable], rounds: int = ROUNDS) -> Iterator[NDArray[np.int64]]:
    """Draw groups of photos with replacement: all photos of a key are drawn together."""
    members: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    groups = [np.array(group) for group in members.values()]
    for chosen in draws(len(groups), rounds):
        yield np.concatenate([groups[index] for index in chosen.tolist()])


def bootstrap(
    of: Callable[[NDArray[np.int64]], dict[str, float]],
    keys: Sequence[Hashable],
    rounds: int = ROUNDS,
) -> dict[str, Estimate]:
    """Return the figures of all photos, with intervals from bootstrap samples.

    Args:
        of: returns the figures of the photos of these numbers, some of which occur repeatedly.
        keys: of the photos; photos with the same key are drawn together.
        rounds: number of samples.
    """
    values = of(np.arange(len(keys)))
    table = np.array([list(of(chosen).values()) for chosen in group_draws(keys, rounds)])
    with warnings.catch_warnings():  # a part that no photo shows is NaN in all samples
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        low, high = np.nanpercentile(table, [2.5, 97.5], axis=0).tolist()
    return {
        name: Estimate(value, low[i], high[i]) for i, (name, value) in enumerate(values.items())
    }


def ratio(hits: Sequence[float], counts: Sequence[float], keys: Sequence[Hashable]) -> Estimate:
    """Return the sum of hits over the sum of counts, with an interval by bootstrap over photos.

    The bootstrap has no spread if all or none are hits. The interval is then that of `proportion`
    for the photos with a count.

    Args:
        hits: number of hits of each photo.
        counts: number of trials of each photo.
        keys: of the photos; photos with the same key are drawn together.

    Raises:
        ValueError: all counts are 0.
    """
    over, under = np.array(hits, float), np.array(counts, float)
    if not under.any():
        raise ValueError("a share of nothing")

    def of(chosen: NDArray[np.int64]) -> dict[str, float]:
        total = under[chosen].sum()
        return {"ratio": float(over[chosen].sum() / total) if total else float("nan")}

    estimate = bootstrap(of, keys)["ratio"]
    photos = len({key for key, count in zip(keys, counts, strict=True) if count})
    if estimate.value in (0.0, 1.0):
        return proportion(round(estimate.value * photos), photos)
    return estimate
