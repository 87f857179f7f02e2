"""Train the car type classifier: `python -m training.train_types --data DATA --out runs/types`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from training.imagenet import load_imagenet
from training.loop import Batch, LoopOptions, run
from training.precision import mixed_precision
from training.type_data import NO_CAR, TYPES, TypeDataset, TypeSample, list_annotated, list_samples
from vision.networks import build_network

SIZE = (192, 288)
DOORS = 0.3  # weight of the doors' loss relative to that of the types
BACKBONE = "tf_efficientnet_lite0"
# The outputs are the types, no car, and two doors; the last is an independent question.
OPTIONS: dict[str, Any] = {"model_name": BACKBONE, "num_classes": NO_CAR + 2}


def weights_of(samples: list[TypeSample]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return each sample's probability of a draw: classes by the square root of their size."""
    labels = np.array([sample.label for sample in samples])
    counts = np.bincount(labels, minlength=NO_CAR + 1).astype(float)
    weights = 1.0 / np.sqrt(np.maximum(counts, 1.0))[labels]
    in_context = np.array([sample.box is not None for sample in samples])
    street = np.array([sample.street for sample in samples])  # few, and like users' own photos
    weights = weights * np.where(street, 6.0, np.where(in_context, 2.0, 1.0))
    return np.asarray(weights / weights.sum())


def mixed_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of types, with label smoothing, and of doors if they are known.

    Half of the batches are mixed in pairs (mixup).

    Args:
        network: returns logits (n, 10).
        batch: inputs (n, 3, H, W) and targets (n, 2), see `TypeSample.target`.
    """
    x, (y, doors) = batch[0], batch[1].unbind(1)
    target = F.one_hot(y, NO_CAR + 1).float() * 0.9 + 0.1 / (NO_CAR + 1)
    two, known = (doors > 0).float(), (doors >= 0).float()
    if torch.rand(()) < 0.5:
        share = float(np.random.default_rng(int(y.sum()) + len(y)).beta(0.3, 0.3))
        order = torch.randperm(len(x))
        x = x * share + x[order] * (1 - share)
        target = target * share + target[order] * (1 - share)
        two, known = two * share + two[order] * (1 - share), known * known[order]
    x = x.contiguous(memory_format=torch.channels_last)
    with mixed_precision():
        logits = network(x).float()
    types = torch.sum(-target * F.log_softmax(logits[:, : NO_CAR + 1], 1), 1).mean()
    errors = F.binary_cross_entropy_with_logits(logits[:, NO_CAR + 1], two, reduction="none")
    return types + DOORS * (errors * known).mean()


@torch.no_grad()
def measure(network: nn.Module, samples: list[TypeSample]) -> dict[str, float]:
    """Return accuracy and macro F1 over the eight types, and the errors between car and no car."""
    loader = DataLoader(TypeDataset(samples, SIZE), batch_size=64, num_workers=1)
    logits, labels = [], []
    for x, y in loader:
        with mixed_precision():
            logits.append(network(x.contiguous(memory_format=torch.channels_last)).float())
        labels.append(y[:, 0])
    scores, truth = torch.cat(logits)[:, : NO_CAR + 1].softmax(1), torch.cat(labels)
    cars = truth != NO_CAR
    guess = scores[cars, :NO_CAR].argmax(1)
    f1 = []
    for label in range(NO_CAR):
        hit = ((guess == label) & (truth[cars] == label)).sum().item()
        total = (guess == label).sum().item() + (truth[cars] == label).sum().item()
        f1.append(2 * hit / max(total, 1))
    found = scores[:, NO_CAR] < 0.5
    return {
        "accuracy": (guess == truth[cars]).float().mean().item(),
        "macro_f1": float(np.mean(f1)),
        **{f"f1_{name}": value for name, value in zip(TYPES, f1, strict=True)},
        "cars_missed": (~found[cars]).float().mean().item(),
        "empty_told": (~found[~cars]).float().mean().item(),
    }


def street_figures(network: nn.Module, samples: list[TypeSample]) -> dict[str, float]:
    """Return the accuracy on photos from other sources, if there are any."""
    return {"street": measure(network, samples)["accuracy"]} if samples else {}


@dataclass(frozen=True)
class TypesRun:
    """The options of one training run of the type network.

    Attributes:
        data: folder of the data sets.
        out: folder of checkpoints and log; an interrupted run resumes from there.
        weights: initial weights (`ema.pt` of an earlier run) instead of ImageNet's.
        rate: peak learning rate of the last layer; the others use 0.4 of it.
        epochs: number of passes.
        photos: photos drawn per pass; None for the number of all photos.
        batch: photos per step.
        cache: folder of the part label maps and their split.
        threads: cores to use.
    """

    data: Path
    out: Path = Path("runs/types")
    weights: Path | None = None
    rate: float = 2e-3
    epochs: int = 10
    photos: int | None = None
    batch: int = 32
    cache: Path = Path("runs/cache")
    threads: int = 2


def train(options: TypesRun) -> None:
    """Train from ImageNet weights, or resume an interrupted run."""
    torch.manual_seed(0)
    samples, val = list_samples(options.data, "train"), list_samples(options.data, "val")
    samples += list_annotated(options.data, "train", options.cache)
    street = list_annotated(options.data, "val", options.cache)
    chance = weights_of(samples)
    steps = max(1, (options.photos or len(samples)) // options.batch)

    def batches(epoch: int) -> Iterable[Batch]:
        rng = np.random.default_rng(epoch)
        chosen = rng.choice(len(samples), steps * options.batch, p=chance)
        dataset = Subset(TypeDataset(samples, SIZE, epoch), chosen.tolist())
        return DataLoader(dataset, batch_size=options.batch, num_workers=1)

    network = build_network("classifier", OPTIONS | {"drop_rate": 0.2})
    if options.weights:
        network.load_state_dict(torch.load(options.weights, weights_only=True))
    else:
        load_imagenet(network, BACKBONE)
    loop = LoopOptions(
        options.out, options.epochs, steps, rate=options.rate, threads=options.threads,
        encoder_factor=0.4,
    )  # fmt: skip
    run(
        network, batches, mixed_loss,
        lambda net: measure(net, val) | street_figures(net, street), loop,
        is_encoder=lambda name: not name.startswith("classifier"),
    )  # fmt: skip


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=TypesRun.out)
    parser.add_argument("--weights", type=Path, help="start from these instead of ImageNet's")
    parser.add_argument("--rate", type=float, default=TypesRun.rate)
    parser.add_argument("--photos", type=int, help="photos per epoch")
    parser.add_argument("--epochs", type=int, default=TypesRun.epochs)
    train(TypesRun(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
