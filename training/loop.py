"""Run the training loop: bf16 if the CPU has it, EMA, one-cycle schedule, exact resume."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from tqdm import tqdm

from training.fast_depthwise import use_fast_depthwise
from training.precision import has_bfloat16

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class LoopOptions:
    """The length and the learning rates of a training run.

    Attributes:
        out: folder for `last.pt` (everything needed to resume), `ema.pt` and `log.csv`.
        epochs: passes, each of `steps` batches.
        steps: batches per epoch.
        rate: peak learning rate of fresh layers; the encoder uses `encoder_factor` of it.
        ema_decay: decay of the averaged weights, which are the result of the run.
    """

    out: Path
    epochs: int
    steps: int
    rate: float = 2e-3
    encoder_factor: float = 0.35
    weight_decay: float = 0.02
    warmup: float = 0.1
    ema_decay: float = 0.998
    clip: float = 5.0
    threads: int = 2
    seed: int = 0


def run(
    network: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    loss: Callable[[nn.Module, Batch], Tensor],
    evaluate: Callable[[nn.Module], dict[str, float]] | None,
    options: LoopOptions,
    is_encoder: Callable[[str], bool] = lambda name: name.startswith("encoder"),
) -> nn.Module:
    """Train `network`, resuming from `options.out / "last.pt"` if that exists.

    Args:
        network: float32 module; trained in place.
        batches: epoch number -> its batches; must depend only on the epoch, so that a resumed run
            sees the same batches as an uninterrupted one.
        loss: network and batch -> scalar loss.
        evaluate: averaged network -> figures for the log; called after each epoch.
        options: see `LoopOptions`.
        is_encoder: parameter name -> true if it trains at the lower rate.

    Returns:
        The averaged network (a copy of `network`), on which `evaluate` was called.
    """
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    network.to(memory_format=torch.channels_last)
    ema = ModelEmaV3(network, decay=options.ema_decay, use_warmup=True)
    if has_bfloat16():
        use_fast_depthwise(network)
    optimizer = torch.optim.AdamW(
        _groups(network, options, is_encoder), weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=options.epochs * options.steps + 1,
        pct_start=options.warmup,
        div_factor=10.0,
        final_div_factor=100.0,
    )
    state: dict[str, Any] = {
        "network": network, "ema": ema, "optimizer": optimizer, "schedule": schedule
    }  # fmt: skip
    first = _resume(state, options.out / "last.pt")
    _cut_log(options.out / "log.csv", first)
    for epoch in range(first, options.epochs):
        torch.manual_seed(options.seed * 1000 + epoch)
        started = time.time()
        mean_loss = _epoch(network, ema, optimizer, schedule, batches(epoch), loss, options, epoch)
        row = {"epoch": epoch, "loss": mean_loss, "seconds": time.time() - started}
        if evaluate is not None:
            row |= evaluate(ema.module.eval())
        _log(options.out / "log.csv", row)
        _save(state, epoch + 1, options.out)
    averaged: nn.Module = ema.module.eval()
    return averaged


def _groups(
    network: nn.Module, options: LoopOptions, is_encoder: Callable[[str], bool]
) -> list[dict[str, Any]]:
    """Return four parameter groups: encoder or not, decayed or not (norms and biases are not)."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((is_encoder(name), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": options.rate * (options.encoder_factor if encoder else 1.0),
            "weight_decay": options.weight_decay if decayed else 0.0,
        }
        for (encoder, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def _epoch(
    network: nn.Module,
    ema: ModelEmaV3,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterable[Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    options: LoopOptions,
    epoch: int,
) -> float:
    """Train one epoch and return the mean loss."""
    network.train()
    total, count = 0.0, 0
    for batch in tqdm(batches, total=options.steps, desc=f"epoch {epoch}", mininterval=10):
        value = loss(network, batch)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), options.clip)
        optimizer.step()
        schedule.step()
        ema.update(network, step=schedule.last_epoch)
        total, count = total + value.item(), count + 1
    return total / max(count, 1)


def _resume(state: dict[str, Any], path: Path) -> int:
    """Load a checkpoint into the parts of `state`, and return the next epoch."""
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return int(saved["epoch"])


def _save(state: dict[str, Any], epoch: int, out: Path) -> None:
    """Write checkpoint and averaged weights atomically: a kill leaves the old or the new files."""
    saved = {name: part.state_dict() for name, part in state.items()} | {"epoch": epoch}
    for name, content in (("last.pt", saved), ("ema.pt", state["ema"].module.state_dict())):
        torch.save(content, out / f"{name}.new")
        (out / f"{name}.new").replace(out / name)


def _cut_log(path: Path, first: int) -> None:
    """Drop the log line of an epoch that was interrupted between its log and its checkpoint."""
    if path.exists():
        header, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text(header + "".join(lines[:first]), encoding="utf-8")


def _log(path: Path, row: dict[str, float]) -> None:
    """Append one line of figures to the CSV log, with a header if the file is new."""
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if fresh:
            writer.writeheader()
        writer.writerow({key: round(value, 5) for key, value in row.items()})
