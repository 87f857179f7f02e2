"""Teach a pruned part network to answer as the one it was cut from.

`python -m training.distil --data DATA --teacher models --student runs/pruned --out runs/distilled`.

The teacher's logits are all that is learned from (Hinton et al. 2015), so photos need no labels:
those of the car types do as well as the annotated ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from model_files import read_description
from networks import build_network
from runtimes import Runtime, choose
from training.loop import Batch, LoopOptions, run
from training.parts_data import PartsSample, annotated_samples, area_of
from training.precision import mixed_precision
from training.train_parts import Mix, PartsDataset, later_size_of, measure
from training.type_data import NO_CAR, list_empty, list_samples

TEMPERATURE = 2.0  # of the softmax that is learned; above 1 the less likely labels count for more


@dataclass(frozen=True)
class DistilRun:
    """One distillation.

    Attributes:
        data: folder of the data sets.
        teacher, student: models folders with `parts.*`; the student is the start.
        out: folder of checkpoints and log; a run that was cut goes on from there.
        epochs, photos: how many passes, each of how many drawn photos.
        batch: photos per step.
        rate: peak learning rate.
        cache: folder of the label maps and the split.
        threads: cores to use.
    """

    data: Path
    teacher: Path
    student: Path
    out: Path = Path("runs/distilled")
    epochs: int = 8
    photos: int = 480
    batch: int = 8
    rate: float = 2e-4
    cache: Path = Path("runs/cache")
    threads: int = 2


def distil(options: DistilRun) -> None:
    """Train the student, or go on where the last run stopped."""
    torch.manual_seed(0)
    annotated, val = annotated_samples(options.data, options.cache)
    samples = annotated + [
        PartsSample(sample.path, None, "pseudo")
        for sample in list_samples(options.data, "train")
        if sample.label != NO_CAR
    ]
    samples += [PartsSample(path, None, "empty") for path in list_empty(options.data, "train")]
    steps = options.photos // options.batch

    def batches(epoch: int) -> Iterable[Batch]:
        size = later_size_of(epoch)
        dataset = PartsDataset(samples, size, steps * options.batch, epoch, Mix())
        return DataLoader(dataset, batch_size=options.batch, num_workers=1)

    description = read_description("parts", options.student)
    network = build_network("pyramid", description.options)
    state = load_file(options.student / description.weights)
    network.load_state_dict({name: value.float() for name, value in state.items()}, strict=False)
    choice = choose("onnx", options.threads)
    teacher = choice.load(read_description("parts", options.teacher), options.teacher)
    loop = LoopOptions(
        options.out,
        options.epochs,
        steps,
        rate=options.rate,
        encoder_factor=1.0,
        ema_decay=0.99,
        threads=options.threads,
    )
    run(
        network,
        batches,
        lambda net, batch: distil_loss(net, teacher, batch),
        lambda net: measure(net, val, area_of(512)),
        loop,
    )


def distil_loss(network: nn.Module, teacher: Runtime, batch: Batch) -> Tensor:
    """Divergence (Kullback and Leibler) of the student's softened labels from the teacher's.

    Batch norms keep their statistics: the student is then in training what it is in service, and
    can come as near to the teacher as its size allows.
    """
    x = batch[0]
    with torch.no_grad():
        answers = [teacher(photo[None].numpy()) for photo in x]
        wanted = torch.from_numpy(np.concatenate(answers)).div(TEMPERATURE).log_softmax(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with mixed_precision():
        logits = network(x.contiguous(memory_format=torch.channels_last))
    given = logits.float().div(TEMPERATURE).log_softmax(1)
    divergence = F.kl_div(given, wanted, reduction="none", log_target=True)
    return TEMPERATURE**2 * divergence.sum(1).mean()


def main() -> None:
    """Read the command line and distil."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="models folder")
    parser.add_argument("--student", type=Path, required=True, help="models folder, see prune")
    parser.add_argument("--out", type=Path, default=DistilRun.out)
    parser.add_argument("--epochs", type=int, default=DistilRun.epochs)
    parser.add_argument("--photos", type=int, default=DistilRun.photos, help="photos per epoch")
    parser.add_argument("--batch", type=int, default=DistilRun.batch)
    parser.add_argument("--rate", type=float, default=DistilRun.rate)
    distil(DistilRun(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
