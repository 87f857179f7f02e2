"""Fit a network: warm-up and cosine schedule, averaged weights, checkpoints.

A run that was cut off goes on from its last checkpoint. On a CPU it ends with the same weights as
an uninterrupted one, since the random numbers of a step depend only on the seed and its number.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from training.averaging import AveragedWeights
from training.fast_depthwise import use_fast_depthwise
from training.precision import has_bfloat16

# A step: network and random generator -> loss and number of samples.
Step = Callable[[nn.Module, Generator], tuple[Tensor, int]]

WARMUP = 0.05  # share of the budget in which the learning rate rises
LAST = 0.01  # of the peak learning rate
CLIP = 5.0  # largest norm of the gradients
DECAY = 0.02  # weight decay
LOGGED = 50  # steps between two lines of the log


class DivergedError(Exception):
    """The loss of a training is no number any more."""


@dataclass(frozen=True)
class Budget:
    """The length of a training: a number of samples, or of seconds on a fast device.

    Attributes:
        samples: samples to train on.
        seconds: time to train for instead, without the preparation; None to count samples.
    """

    samples: int
    seconds: float | None = None

    def progress(self, samples: int, seconds: float) -> float:
        """Return the share of the budget that is used up, 1 or more at the end."""
        if self.seconds is None:
            return samples / self.samples
        return seconds / self.seconds


@dataclass(frozen=True)
class FitOptions:
    """The options of one training.

    Attributes:
        out: folder of checkpoint and log.
        budget: length.
        rate: peak learning rate of fresh layers.
        seed: of all random numbers.
        encoder_factor: of the learning rate of parameters that start from good weights.
        is_encoder: parameter name -> true for these.
        checkpoint: seconds between two checkpoints.
        averaging: largest decay of the averaged weights.
    """

    out: Path
    budget: Budget
    rate: float
    seed: int = 0
    encoder_factor: float = 1.0
    is_encoder: Callable[[str], bool] = lambda name: name.startswith("encoder.")
    checkpoint: float = 120.0
    averaging: float = 0.999


def fit(network: nn.Module, step: Step, options: FitOptions, device: torch.device) -> nn.Module:
    """Train a network in place, or go on from its checkpoint.

    Parameters that need no gradient stay as they are.

    Returns:
        The network with the averaged weights, in evaluation mode.

    Raises:
        DivergedError: the loss is not finite.
    """
    network.to(device)
    network.to(memory_format=torch.channels_last)
    network.train()
    if device.type == "cpu" and has_bfloat16():
        use_fast_depthwise(network)
    run = _Run(network, options, device)
    run.resume()
    if device.type == "cuda":
        run.warm_up(step)
    run.train(step)
    network.load_state_dict(run.averaged.weights)
    return network.eval()


def learning_rate(progress: float) -> float:
    """Return the factor on the peak learning rate: a linear rise, then a cosine to LAST."""
    if progress < WARMUP:
        return max(progress / WARMUP, LAST)
    down = math.cos(math.pi * min(1.0, (progress - WARMUP) / (1 - WARMUP)))
    return LAST + (1 - LAST) * (1 + down) / 2


def seeded(seed: int, number: int) -> Generator:
    """Seed torch for a step, and return the step's numpy generator."""
    rng = np.random.default_rng((seed, number))
    torch.manual_seed(int(rng.integers(2**62)))
    return rng


class _Run:
    """The state of a training between its steps."""

    def __init__(self, network: nn.Module, options: FitOptions, device: torch.device) -> None:
        self.network, self.options, self.device = network, options, device
        self.averaged = AveragedWeights(network, options.averaging)
        groups = _groups(network, options)
        self.optimizer = torch.optim.AdamW(groups, fused=device.type == "cuda")
        self.number, self.samples, self.seconds = 0, 0, 0.0
        options.out.mkdir(parents=True, exist_ok=True)

    def resume(self) -> None:
        """Load the checkpoint if there is one, and drop later lines of the log."""
        path = self.options.out / "last.pt"
        if path.exists():
            saved = torch.load(path, map_location=self.device, weights_only=True)
            self.network.load_state_dict(saved["network"])
            self.averaged.load_state_dict(saved["averaged"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.number, self.samples = saved["number"], saved["samples"]
            self.seconds = saved["seconds"]
        _cut_log(self.options.out / "log.csv", self.number)

    def warm_up(self, step: Step) -> None:
        """Make the kernels of the GPU, which takes seconds, before the clock starts."""
        state = {name: value.clone() for name, value in self.network.state_dict().items()}
        for _ in range(3):
            loss, _samples = step(self.network, seeded(self.options.seed, 0))
            (loss * 0).backward()  # type: ignore[no-untyped-call]
        self.optimizer.zero_grad(set_to_none=True)
        self.network.load_state_dict(state)  # the statistics of batch norms
        torch.cuda.synchronize()

    def train(self, step: Step) -> None:
        """Take steps until the budget is used up."""
        last = saved = time.monotonic()
        while (progress := self.options.budget.progress(self.samples, self.seconds)) < 1:
            loss = self._step(step, learning_rate(progress))
            if self.number % LOGGED == 0:
                self._log(loss.item())
            if self.device.type == "cuda" and self.number % 10 == 0:
                torch.cuda.synchronize()  # else the clock counts steps that are only queued
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if now - saved > self.options.checkpoint:
                self._save()
                saved = last = time.monotonic()
        self._save()

    def _step(self, step: Step, factor: float) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        loss, samples = step(self.network, seeded(self.options.seed, self.number))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.averaged.update(self.network)
        self.number, self.samples = self.number + 1, self.samples + samples
        return loss.detach()

    def _save(self) -> None:
        """Write the checkpoint atomically: a kill leaves the old or the new one."""
        saved: dict[str, Any] = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "number": self.number,
            "samples": self.samples,
            "seconds": self.seconds,
        }
        fresh = self.options.out / "last.new"
        torch.save(saved, fresh)
        fresh.replace(self.options.out / "last.pt")

    def _log(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise DivergedError(f"{self.options.out}: the loss is {loss} at step {self.number}")
        path = self.options.out / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(("step", "samples", "seconds", "loss"))
            writer.writerow((self.number, self.samples, round(self.seconds, 1), round(loss, 4)))


def _groups(network: nn.Module, options: FitOptions) -> list[dict[str, Any]]:
    """Return parameter groups: encoder or not, decayed or not (norms and biases are not)."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        key = (options.is_encoder(name), parameter.ndim > 1)
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": options.rate * (options.encoder_factor if encoder else 1.0),
            "weight_decay": DECAY if decayed else 0.0,
        }
        for (encoder, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def _cut_log(path: Path, number: int) -> None:
    if path.exists():
        header, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if int(line.split(",")[0]) <= number]
        path.write_text(header + "".join(kept), encoding="utf-8")
