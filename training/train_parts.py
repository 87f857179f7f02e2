"""Train the part network: `python -m training.train_parts --data DATA --out runs/parts`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from img_to_segments import PART_NAMES
from training.imagenet import load_imagenet
from training.loop import Batch, LoopOptions, run
from training.parts_augment import NATURAL, SQUASHED, augment
from training.parts_data import (
    IGNORE,
    PartsSample,
    annotated_samples,
    area_of,
    read_labels,
    read_rgb,
    widen,
)
from training.parts_metrics import PartScores
from training.precision import mixed_precision
from training.type_data import list_empty
from vision.letterbox import fit_area
from vision.networks import build_network

CLASSES = len(PART_NAMES) + 1
BACKBONE = "tf_efficientnet_lite2"
OPTIONS: dict[str, Any] = {"backbone": BACKBONE, "classes": CLASSES}
LIGHT = OPTIONS | {"separable": [4]}  # the result of `training.lighten`


@dataclass(frozen=True)
class Mix:
    """The shares of annotated, teacher-labelled and empty photos in a batch."""

    annotated: float = 0.42
    pseudo: float = 0.52
    empty: float = 0.06


class PartsDataset(Dataset[tuple[Tensor, Tensor]]):
    """One epoch of drawn samples: inputs (3, h, w) float and labels (h/2, w/2) int64.

    Args:
        samples: all photos.
        size: (height, width) of the inputs.
        count: number of samples to draw.
        epoch: seed of the draw and of the augmentation.
        mix: shares of the kinds; the share of a kind without photos goes to the others.
    """

    def __init__(
        self, samples: list[PartsSample], size: tuple[int, int], count: int, epoch: int, mix: Mix
    ) -> None:
        self.samples, self.size, self.epoch = samples, size, epoch
        kinds = np.array([sample.kind for sample in samples])
        chance = np.zeros(len(samples))
        for kind in ("annotated", "pseudo", "empty"):
            if (kinds == kind).any():
                chance[kinds == kind] = getattr(mix, kind) / (kinds == kind).sum()
        chance *= np.array([1.6 if sample.rare else 1.0 for sample in samples])
        rng = np.random.default_rng((epoch, 1))
        self.chosen = rng.choice(len(samples), count, p=chance / chance.sum())
        self.grounds = [sample.image for sample in samples if sample.kind == "empty"]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.samples[self.chosen[index]]
        rng = np.random.default_rng((self.epoch, index))
        image = read_rgb(sample.image)
        labels = read_labels(sample.labels, image.shape[:2])
        ground = None
        if self.grounds and rng.random() < 0.4:
            ground = read_rgb(self.grounds[rng.integers(len(self.grounds))])
        jitter = SQUASHED if sample.squashed else NATURAL
        pixels, target = augment(image, labels, ground, self.size, jitter, rng)
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).float()
        return (tensor - 127.0) / 128.0, torch.from_numpy(target).long()


def drawn_batches(
    samples: list[PartsSample], size: Callable[[int], tuple[int, int]], steps: int, batch: int
) -> Callable[[int], Iterable[Batch]]:
    """Return a function from epoch number to its batches of size `size(epoch)`, for `loop.run`."""

    def batches(epoch: int) -> Iterable[Batch]:
        dataset = PartsDataset(samples, size(epoch), steps * batch, epoch, Mix())
        return DataLoader(dataset, batch_size=batch, num_workers=1)

    return batches


def parts_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return cross-entropy plus soft Dice over the classes of the batch, at half resolution.

    Ignored pixels count in neither. Dice (Milletari et al. 2016) weighs small parts as much as
    large ones.
    """
    x, target = batch
    x = x.contiguous(memory_format=torch.channels_last)
    with mixed_precision():
        logits = network(x)
    logits = F.interpolate(
        logits.float(), size=target.shape[-2:], mode="bilinear", align_corners=False
    )
    entropy = F.cross_entropy(logits, target, ignore_index=IGNORE)
    valid = target != IGNORE
    truth = torch.where(valid, target, 0)
    chances = logits.softmax(1) * valid[:, None]
    onehot = F.one_hot(truth, logits.shape[1]).movedim(-1, 1) * valid[:, None]
    overlap = (chances * onehot).sum((0, 2, 3))
    total = chances.sum((0, 2, 3)) + onehot.sum((0, 2, 3))
    seen = onehot.sum((0, 2, 3)) > 0
    dice = 1.0 - (2 * overlap[seen] + 1.0) / (total[seen] + 1.0)
    return entropy + dice.mean()


@torch.no_grad()
def measure(network: nn.Module, samples: list[PartsSample], area: int) -> dict[str, float]:
    """Return figures on annotated photos; squashed ones are widened to 4:3, as real photos are."""
    scores = PartScores()
    for sample in samples:
        image = read_rgb(sample.image)
        truth = read_labels(sample.labels, image.shape[:2])
        seen = widen(image, cv2.INTER_LINEAR) if sample.squashed else image
        scores.add(predict(network, seen, truth.shape, area), truth, sample.missing)
    return scores.figures()


def predict(
    network: nn.Module, rgb: NDArray[np.uint8], shape: tuple[int, ...], area: int
) -> NDArray[np.uint8]:
    """Return the label map of `shape` (H, W) uint8 of a photo (h, w, 3) of any size."""
    height, width = shape
    placed = fit_area(rgb, area, 32)
    x = torch.from_numpy(placed.pixels).permute(2, 0, 1)[None].float().sub(127.0).div(128.0)
    with mixed_precision():
        output = network(x.contiguous(memory_format=torch.channels_last))
    stride = x.shape[2] // output.shape[2]
    logits = output[0, :, : placed.height // stride, : placed.width // stride].float().numpy()
    full = cv2.resize(logits.transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_LINEAR)
    labels: NDArray[np.uint8] = full.argmax(2).astype(np.uint8)
    return labels


def size_of(epoch: int, epochs: int) -> tuple[int, int]:
    """Return an epoch's input size for a start from ImageNet: small first, to learn fast."""
    small, middle, full = (288, 384), (352, 448), (384, 512)
    share = epoch / max(epochs, 1)
    return small if share < 0.5 else middle if share < 0.75 else full


def later_size_of(epoch: int) -> tuple[int, int]:
    """Return an epoch's input size for a start from part weights: the service's shapes in turn."""
    return ((384, 512), (448, 448), (384, 512), (352, 576))[epoch % 4]


def start_from(network: nn.Module, weights: Path) -> None:
    """Load the weights of an earlier training run (`ema.pt`) or of `models/` (safetensors).

    Raises:
        ValueError: the weights belong to another network.
    """
    if weights.suffix == ".safetensors":
        state = {name: value.float() for name, value in load_file(weights).items()}
    else:
        state = torch.load(weights, weights_only=True)
    shapes, wanted = (
        {name: value.shape for name, value in tensors.items()}
        for tensors in (state, network.state_dict())
    )
    # safetensors lack only the step counters of batch norms.
    strangers = sorted(
        name
        for name in shapes.keys() | wanted.keys()
        if shapes.get(name) != wanted.get(name) and not name.endswith("num_batches_tracked")
    )
    if strangers:
        raise ValueError(f"{weights} holds the weights of another network: {strangers[0]}")
    network.load_state_dict(state, strict=False)


@dataclass(frozen=True)
class PartsRun:
    """The options of one training run of the part network.

    Attributes:
        data: folder of the data sets.
        out: folder of checkpoints and log; an interrupted run resumes from there.
        pseudo: folder written by `training.pseudo_labels`, or None for annotated photos only.
        weights: initial weights, see `start_from`; None for ImageNet's.
        epochs, photos: number of passes, and of photos drawn per pass.
        batch: photos per step.
        rate: peak learning rate.
        cache: folder of the label maps and the split.
        threads: cores to use.
    """

    data: Path
    out: Path = Path("runs/parts")
    pseudo: Path | None = None
    weights: Path | None = None
    epochs: int = 40
    photos: int = 800
    batch: int = 8
    rate: float = 1.5e-3
    cache: Path = Path("runs/cache")
    threads: int = 2


def train(options: PartsRun) -> None:
    """Train from ImageNet weights or the given ones, or resume an interrupted run."""
    torch.manual_seed(0)
    samples, val = annotated_samples(options.data, options.cache)
    if options.pseudo:
        index = json.loads((options.pseudo / "index.json").read_text(encoding="utf-8"))
        samples += [
            PartsSample(Path(row["image"]), options.pseudo / row["labels"], "pseudo")
            for row in index
        ]
    samples += [PartsSample(path, None, "empty") for path in list_empty(options.data, "train")]
    steps = options.photos // options.batch

    def size(epoch: int) -> tuple[int, int]:
        return later_size_of(epoch) if options.weights else size_of(epoch, options.epochs)

    network = build_network("pyramid", OPTIONS)
    if options.weights:
        start_from(network, options.weights)
    else:
        load_imagenet(network, BACKBONE)
    loop = LoopOptions(
        options.out, options.epochs, steps, rate=options.rate, threads=options.threads
    )
    batches = drawn_batches(samples, size, steps, options.batch)
    run(network, batches, parts_loss, lambda net: measure(net, val, area_of(512)), loop)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=PartsRun.out)
    parser.add_argument("--pseudo", type=Path, help="folder written by training.pseudo_labels")
    parser.add_argument("--weights", type=Path, help="start from these instead of ImageNet's")
    parser.add_argument("--epochs", type=int, default=PartsRun.epochs)
    parser.add_argument("--photos", type=int, default=PartsRun.photos, help="photos per epoch")
    parser.add_argument("--batch", type=int, default=PartsRun.batch)
    parser.add_argument("--rate", type=float, default=PartsRun.rate)
    train(PartsRun(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
