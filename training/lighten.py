"""Make a part network lighter: `python -m training.lighten --data DATA --weights ema.pt`.

The full convolution that mixes the finest map of the pyramid takes a seventh of all arithmetic.
This module replaces it by a depthwise separable one, trained to reproduce the output of the full
one: the logits (Hinton et al. 2015) and the map before them (Romero et al. 2015). Training
therefore needs no labels, and uses the car type photos. All earlier layers stay unchanged, and one
pass through them serves both networks.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.loop import LoopOptions, run
from training.parts_data import PartsSample, annotated_samples, area_of
from training.precision import mixed_precision
from training.train_parts import (
    LIGHT,
    OPTIONS,
    drawn_batches,
    later_size_of,
    measure,
    start_from,
)
from training.type_data import NO_CAR, list_empty, list_samples
from vision.networks import MIXED, ConvNormAct, PartNetwork, SeparableNormAct

TEMPERATURE = 2.0  # of the softmax that is learned; above 1 the less likely labels count for more
MAP = 0.1  # weight of the finest map relative to the logits
_FINEST = MIXED.index(4)
_LEARNING = (f"laterals.{_FINEST + 1}.", f"downs.{_FINEST}.", f"mixers.{_FINEST}.", "head.")


@dataclass(frozen=True)
class LightRun:
    """The options of one run.

    Attributes:
        data: folder of the data sets.
        weights: the full network, `ema.pt` of a training run.
        out: folder of checkpoints and log; an interrupted run resumes from there.
        epochs, photos: number of passes, and of photos drawn per pass.
        batch: photos per step.
        rate: peak learning rate of the separable convolution; the rest uses a quarter of it.
        cache: folder of the label maps and the split.
        threads: cores to use.
    """

    data: Path
    weights: Path
    out: Path = Path("runs/light")
    epochs: int = 20
    photos: int = 720
    batch: int = 8
    rate: float = 2e-3
    cache: Path = Path("runs/cache")
    threads: int = 2


def lighten(options: LightRun) -> None:
    """Train the light network, or resume an interrupted run."""
    annotated, val = annotated_samples(options.data, options.cache)
    samples = annotated + [
        PartsSample(sample.path, None, "pseudo")
        for sample in list_samples(options.data, "train")
        if sample.label != NO_CAR
    ]
    samples += [PartsSample(path, None, "empty") for path in list_empty(options.data, "train")]
    steps = options.photos // options.batch

    full = PartNetwork(**OPTIONS)
    start_from(full, options.weights)
    full.eval().to(memory_format=torch.channels_last)
    loop = LoopOptions(
        options.out,
        options.epochs,
        steps,
        rate=options.rate,
        encoder_factor=0.25,
        weight_decay=0.0,
        warmup=0.05,
        threads=options.threads,
    )
    run(
        lightened(full),
        drawn_batches(samples, later_size_of, steps, options.batch),
        lambda net, batch: light_loss(net, full, batch[0]),
        lambda net: measure(net, val, area_of(512)),
        loop,
        is_encoder=lambda name: not name.startswith("mixers"),
    )


def lightened(full: PartNetwork) -> PartNetwork:
    """Return the network with the separable convolution closest to the full one.

    All parameters that are not trained are frozen.
    """
    light = PartNetwork(**LIGHT)
    replaced = f"mixers.{_FINEST}."
    state = {name: value for name, value in full.state_dict().items() if replaced not in name}
    light.load_state_dict(state, strict=False)
    source, target = full.mixers[_FINEST], light.mixers[_FINEST]
    assert isinstance(source, ConvNormAct)
    assert isinstance(target, SeparableNormAct)
    _split(source, target)
    for name, parameter in light.named_parameters():
        parameter.requires_grad_(name.startswith(_LEARNING))
    return light


@torch.no_grad()
def _split(source: ConvNormAct, target: SeparableNormAct) -> None:
    """Reduce the kernels of each input channel to the one that its outputs share most.

    That kernel is the first right singular vector of their matrix (outputs x 9). The pointwise
    convolution takes the left one, scaled.
    """
    weight = source.state_dict()["0.weight"]
    depthwise, pointwise = (target.state_dict()[name] for name in ("0.weight", "1.weight"))
    u, s, v = torch.linalg.svd(weight.permute(1, 0, 2, 3).flatten(2), full_matrices=False)
    depthwise.zero_()
    depthwise[:, 0, 1:4, 1:4] = v[:, 0].reshape(-1, 3, 3)
    pointwise[:, :, 0, 0] = (u[:, :, 0] * s[:, :1]).T
    target[2].load_state_dict(source[1].state_dict())


def light_loss(light: nn.Module, full: PartNetwork, x: Tensor) -> Tensor:
    """Return the distance of the light network from the full one.

    It is the Kullback-Leibler divergence of the softened labels, plus the squared error of the
    finest map relative to its mean square. Batch norms keep their statistics, so the network is the
    same in training as in service.

    Args:
        light: a `PartNetwork` that differs from `full` in the finest map only.
        full: the network to learn from.
        x: (N, 3, H, W) inputs.
    """
    assert isinstance(light, PartNetwork)
    for module in light.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with mixed_precision():
        with torch.no_grad():
            top, finer = full.encode(x.contiguous(memory_format=torch.channels_last))
            *_, coarse, wanted_map = full.decode(top, finer)
            wanted = full.head(wanted_map)
        given_map = light.mix(_FINEST, coarse, finer[_FINEST])
        given = light.head(given_map)
    divergence = F.kl_div(
        given.float().div(TEMPERATURE).log_softmax(1),
        wanted.float().div(TEMPERATURE).log_softmax(1),
        reduction="none",
        log_target=True,
    )
    error = F.mse_loss(given_map.float(), wanted_map.float()) / wanted_map.float().square().mean()
    return TEMPERATURE**2 * divergence.sum(1).mean() + MAP * error


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Make a part network lighter.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="ema.pt of the full network")
    parser.add_argument("--out", type=Path, default=LightRun.out)
    parser.add_argument("--epochs", type=int, default=LightRun.epochs)
    parser.add_argument("--photos", type=int, default=LightRun.photos, help="photos per epoch")
    parser.add_argument("--batch", type=int, default=LightRun.batch)
    parser.add_argument("--rate", type=float, default=LightRun.rate)
    lighten(LightRun(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
