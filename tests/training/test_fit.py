"""Test that a training that was cut off goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.fit import Budget, DivergedError, FitOptions, Step, fit, learning_rate
from training.precision import CPU
from training.weights import load_weights, save_weights
from vision.networks import build_network


class CutOffError(Exception):
    pass


def step_until(last: int | None = None) -> Step:
    """Return a step that fails after `last` calls."""
    calls = 0

    def step(network: nn.Module, rng: np.random.Generator) -> tuple[Tensor, int]:
        nonlocal calls
        calls += 1
        if last is not None and calls > last:
            raise CutOffError
        x = torch.from_numpy(rng.normal(size=(4, 3, 8, 8))).float()
        error: Tensor = ((network(x).squeeze(1) - x.mean((1, 2, 3))) ** 2).mean()
        return error, 4

    return step


def new_network() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 1),
    )  # fmt: skip


def options(out: Path, samples: int = 400) -> FitOptions:
    return FitOptions(out, Budget(samples), 1e-2, checkpoint=0)  # a checkpoint after each step


def test_resumed_run_ends_with_same_weights(tmp_path: Path) -> None:
    whole = fit(new_network(), step_until(), options(tmp_path / "whole"), CPU).state_dict()
    with pytest.raises(CutOffError):
        fit(new_network(), step_until(60), options(tmp_path / "cut"), CPU)
    with (tmp_path / "cut" / "log.csv").open("a", encoding="utf-8") as log:
        log.write("100,400,1.0,9\n")  # logged, but cut off before its checkpoint
    resumed = fit(new_network(), step_until(40), options(tmp_path / "cut"), CPU).state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)
    lines = (tmp_path / "cut" / "log.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "50", "100"]
    assert not lines[-1].endswith(",9")


def test_finished_run_takes_no_more_steps(tmp_path: Path) -> None:
    done = fit(new_network(), step_until(), options(tmp_path), CPU).state_dict()
    again = fit(new_network(), step_until(0), options(tmp_path), CPU).state_dict()
    assert all(torch.equal(done[name], again[name]) for name in done)


def test_steps_lower_loss(tmp_path: Path) -> None:
    network = new_network()
    x = torch.randn(64, 3, 8, 8)

    def error(net: nn.Module) -> float:
        with torch.no_grad():
            return float(((net.eval()(x).squeeze(1) - x.mean((1, 2, 3))) ** 2).mean())

    before = error(network)
    assert error(fit(network, step_until(), options(tmp_path, 1600), CPU)) < before / 2


def test_diverged_run_ends(tmp_path: Path) -> None:
    def step(network: nn.Module, rng: np.random.Generator) -> tuple[Tensor, int]:
        return network(torch.full((2, 3, 8, 8), float("nan"))).sum(), 2

    with pytest.raises(DivergedError, match="step 50"):
        fit(new_network(), step, options(tmp_path), CPU)


def test_budget() -> None:
    assert Budget(100).progress(50, 1e9) == 0.5
    assert Budget(100, 60.0).progress(1000, 30.0) == 0.5


def test_learning_rate() -> None:
    rates = [learning_rate(progress / 100) for progress in range(101)]
    assert max(rates) == rates[5] == pytest.approx(1.0)
    assert rates[:6] == sorted(rates[:6])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[-1] < 0.02


def test_weights_are_saved_in_float16(tmp_path: Path) -> None:
    options = {"backbone": "tf_efficientnet_lite0", "classes": 3}
    network, other = (build_network("pyramid", options).eval() for _ in range(2))
    save_weights(network, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(other(x), network(x), rtol=0.02, atol=0.02)


def test_more_labels_start_as_background(tmp_path: Path) -> None:
    network, more = (
        build_network("pyramid", {"backbone": "tf_efficientnet_lite0", "classes": classes}).eval()
        for classes in (3, 5)
    )
    save_weights(network, tmp_path / "weights.safetensors")
    load_weights(more, tmp_path / "weights.safetensors")
    with torch.no_grad():
        logits = more(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(logits[:, 3], logits[:, 0])
    torch.testing.assert_close(logits[:, 4], logits[:, 0])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    network = build_network("pyramid", {"backbone": "tf_efficientnet_lite0", "classes": 5})
    save_weights(network, tmp_path / "weights.safetensors")
    for other in (
        build_network("pyramid", {"backbone": "tf_efficientnet_lite0", "classes": 3}),
        build_network("classifier", {"model_name": "tf_efficientnet_lite0", "num_classes": 5}),
    ):
        with pytest.raises(ValueError, match="another network"):
            load_weights(other, tmp_path / "weights.safetensors")
