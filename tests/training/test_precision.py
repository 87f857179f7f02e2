"""Trainings compute in bfloat16 only where the CPU does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training import precision
from training.fast_depthwise import FastDepthwiseConv2d
from training.fit import Budget, FitOptions, fit
from training.precision import CPU, mixed_precision


@pytest.fixture(params=[True, False])
def has_it(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: request.param)
    precision.has_bfloat16.cache_clear()
    yield request.param
    precision.has_bfloat16.cache_clear()


def test_dtype_of_computation(has_it: bool) -> None:
    with mixed_precision():
        output = nn.Conv2d(3, 4, 1)(torch.zeros(1, 3, 2, 2))
    assert output.dtype is (torch.bfloat16 if has_it else torch.float32)


def test_fast_depthwise_gradients(has_it: bool, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Flatten(), nn.Linear(12, 1))

    def step(network: nn.Module, rng: np.random.Generator) -> tuple[Tensor, int]:
        return network(torch.ones(1, 3, 4, 4)).float().sum(), 1

    fit(network, step, FitOptions(tmp_path, Budget(1), 1e-3), CPU)
    assert isinstance(network[0], FastDepthwiseConv2d) is has_it
