"""Train the shape network: `python -m training.train_shapes --data DATA --out runs/shapes`.

The network predicts the car type from the layout of the parts. It needs the part network in
`models/`, whose output is its input.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from img_to_segments import PartSegmenter
from training.loop import Batch, LoopOptions, run
from training.shape_data import LABELS, TURNS, Layout, ShapeDataset, label_layouts
from training.type_data import TYPES, TypeSample, list_annotated, list_samples, list_street
from vision.model_files import MODELS, read_description
from vision.networks import build_network

SIZE = (32, 48)
# The outputs are the types, and the quarter turns of the photo.
OPTIONS: dict[str, Any] = {"labels": LABELS, "size": SIZE, "classes": len(TYPES) + TURNS}
STREET = 3.0  # sampling factor of the photos of other sources: few, and like users' own


def weights_of(layouts: list[Layout]) -> NDArray[np.float64]:
    """Return each layout's probability of a draw: classes by the square root of their size."""
    labels = np.array([layout.label for layout in layouts])
    counts = np.bincount(labels, minlength=len(TYPES)).astype(np.float64)
    street = np.array([layout.street for layout in layouts])
    weights: NDArray[np.float64] = np.where(street, STREET, 1.0) / np.sqrt(counts[labels])
    weights /= weights.sum()
    return weights


def smoothed_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of types, with label smoothing, and of turns."""
    x, (y, quarters) = batch[0], batch[1].unbind(1)
    logits = network(x)
    types = F.cross_entropy(logits[:, : len(TYPES)], y, label_smoothing=0.05)
    return types + 0.3 * F.cross_entropy(logits[:, len(TYPES) :], quarters)


@torch.no_grad()
def accuracy(network: nn.Module, layouts: list[Layout], margin: dict[str, float]) -> float:
    """Return the share of the layouts whose type is right."""
    loader = DataLoader(ShapeDataset(layouts, SIZE, margin), batch_size=256)
    hits = [network(x)[:, : len(TYPES)].argmax(1) == y[:, 0] for x, y in loader]
    return torch.cat(hits).float().mean().item() if hits else float("nan")


@dataclass(frozen=True)
class ShapesRun:
    """The options of one training run of the shape network.

    Attributes:
        data: folder of the data sets.
        out: folder of checkpoints and log; an interrupted run resumes from there.
        models: folder of the part network that sees the parts.
        epochs: number of passes.
        photos: layouts drawn per pass; None for the number of all layouts.
        batch: layouts per step.
        rate: peak learning rate.
        limit: maximum number of photos of each set, drawn once; None for all.
        cache: folder of the part label maps and their split.
        threads: cores to use.
    """

    data: Path
    out: Path = Path("runs/shapes")
    models: Path = MODELS
    epochs: int = 30
    photos: int | None = None
    batch: int = 64
    rate: float = 2e-3
    limit: int | None = None
    cache: Path = Path("runs/cache")
    threads: int = 2


def layouts_of(options: ShapesRun, part: str) -> tuple[list[Layout], list[Layout]]:
    """Return the layouts of "train" or "val": of the type photos, and of other sources."""
    segment = PartSegmenter(folder=options.models)
    folder = options.out / "layouts"
    others = list_annotated(options.data, part, options.cache) + list_street(options.data, part)
    sets = (list_samples(options.data, part), others)
    known, street = (label_layouts(some(each, options.limit), segment, folder) for each in sets)
    return known, street


def some(samples: list[TypeSample], limit: int | None) -> list[TypeSample]:
    """Return at most `limit` samples, drawn with a fixed seed."""
    chosen = np.random.default_rng(0).permutation(len(samples))[:limit]
    return [samples[index] for index in sorted(chosen.tolist())]


def train(options: ShapesRun) -> None:
    """Train from random weights, or resume an interrupted run.

    Raises:
        ValueError: the part network sees no car.
    """
    torch.manual_seed(0)
    margin = read_description("shapes").input["margin"]
    known, others = layouts_of(options, "train")
    layouts = known + others
    if not layouts:
        raise ValueError("the part network sees a car in none of the photos")
    val, street = layouts_of(options, "val")
    chance = weights_of(layouts)
    steps = max(1, (options.photos or len(layouts)) // options.batch)

    def batches(epoch: int) -> Iterable[Batch]:
        chosen = np.random.default_rng(epoch).choice(len(layouts), steps * options.batch, p=chance)
        dataset = Subset(ShapeDataset(layouts, SIZE, margin, epoch), chosen.tolist())
        return DataLoader(dataset, batch_size=options.batch, num_workers=1)

    def measure(network: nn.Module) -> dict[str, float]:
        figures = {"accuracy": accuracy(network, val, margin)}
        return figures | ({"street": accuracy(network, street, margin)} if street else {})

    loop = LoopOptions(
        options.out,
        options.epochs,
        steps,
        rate=options.rate,
        weight_decay=0.05,
        threads=options.threads,
    )
    run(build_network("shape", OPTIONS | {"drop_rate": 0.4}), batches, smoothed_loss, measure, loop)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train the shape network.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ShapesRun.out)
    parser.add_argument("--epochs", type=int, default=ShapesRun.epochs)
    parser.add_argument("--photos", type=int, help="layouts per epoch; all by default")
    parser.add_argument("--batch", type=int, default=ShapesRun.batch)
    parser.add_argument("--rate", type=float, default=ShapesRun.rate)
    train(ShapesRun(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
