"""Cut channels from a part network that it hardly needs.

`python -m training.prune --data DATA --models models --out runs/pruned`.

Which channels those are, photos say: of all channels that one convolution reads, that one goes
first whose loss the others can make up for best, with the convolution's weights fitted anew by
least squares. Both follow in closed form from the covariance of the channels (optimal brain
surgeon, Hassibi and Stork 1993; for whole channels: He et al. 2017, Kurtic et al. 2023). Channels
that cost much arithmetic go before those that cost little. `training.distil` then heals what was
lost.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from letterbox import fit_area
from model_files import read_description
from networks import PartNetwork, inverted_residuals, keep_channels, keep_hidden, keep_inputs
from training.answers import widen
from training.export import export_graph, export_weights, read_fields, write_fields
from training.parts_data import annotated_samples, read_rgb
from training.type_data import NO_CAR, list_samples

SAVED = 1.4  # GFLOP of 6.4 that go
_PHOTOS = 300
_CELLS = 400  # that are looked at in each map of each photo
_MOST = 0.5  # share of the channels that may go
_TOGETHER = 8  # channels that CPUs work on at a time; fewer save nothing
_RIDGE = 1e-3  # added to the covariance, against its mean variance
_COUNTED = (384, 512)  # height and width of the input for which arithmetic is counted


@dataclass(frozen=True)
class Unit:
    """Channels (C,) that one convolution reads, and that can go.

    Attributes:
        reader: a 1x1 convolution.
        operations: floating point operations, multiplications and additions, for each channel.
        keep: keeps the channels of these numbers and no others, in place.
        shift: adds to what the reader puts out, (channels_out,), in place.
    """

    reader: nn.Conv2d
    operations: float
    keep: Callable[[Tensor], None]
    shift: Callable[[Tensor], None]


@dataclass(frozen=True)
class Moments:
    """Mean (C,) and covariance (C, C) of the channels of a unit over many cells, float64."""

    mean: Tensor
    covariance: Tensor


def units_of(network: PartNetwork) -> list[Unit]:
    """The channels inside the encoder's blocks, and those of the pyramid's mixed maps."""
    blocks = inverted_residuals(network.encoder)
    mixers: list[Any] = list(network.mixers)
    cells = _cells(network, [layer.conv_dw for layer in blocks] + [layer[0] for layer in mixers])
    units = []
    for block in blocks:
        before, after = cells[block.conv_dw]
        operations = before * block.conv_pw.in_channels
        operations += after * (block.conv_dw.weight[0].numel() + block.conv_pwl.out_channels)
        units.append(
            Unit(
                block.conv_pwl, 2 * operations, partial(keep_hidden, block),
                partial(_shift_norm, block.bn3),
            )
        )  # fmt: skip
    readers: list[Any] = [*network.downs[1:], network.head]
    for mixer, reader in zip(mixers, readers, strict=True):
        operations = cells[mixer[0]][1] * (mixer[0].weight[0].numel() + reader.out_channels)
        units.append(
            Unit(
                reader, 2 * operations, partial(_keep_mixed, mixer, reader),
                partial(_shift_bias, reader),
            )
        )  # fmt: skip
    return units


def _cells(network: nn.Module, layers: list[Any]) -> dict[nn.Module, tuple[int, int]]:
    """How many cells the maps before and after each layer have, of an input of `_COUNTED`."""
    found: dict[nn.Module, tuple[int, int]] = {}

    def look(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found[layer] = inputs[0][0, 0].numel() * 16, output[0, 0].numel() * 16

    hooks = [layer.register_forward_hook(look) for layer in layers]
    with torch.no_grad():  # a quarter of both sides is enough to count
        network(torch.zeros(1, 3, _COUNTED[0] // 4, _COUNTED[1] // 4))
    for hook in hooks:
        hook.remove()
    return found


def _keep_mixed(mixer: nn.Sequential, reader: nn.Conv2d, kept: Tensor) -> None:
    keep_channels(mixer[0], kept)
    keep_channels(mixer[1], kept)
    keep_inputs(reader, kept)


def _shift_norm(norm: nn.BatchNorm2d, by: Tensor) -> None:
    assert norm.running_mean is not None
    norm.running_mean -= by


def _shift_bias(layer: nn.Conv2d, by: Tensor) -> None:
    assert layer.bias is not None
    layer.bias += by


@torch.no_grad()
def observe(
    network: PartNetwork, units: list[Unit], photos: Iterable[NDArray[np.uint8]], area: int
) -> list[Moments]:
    """The moments of each unit over photos (H, W, 3) uint8 RGB that fit inputs of `area` pixels."""
    count = [0] * len(units)
    sums = [torch.zeros(unit.reader.in_channels, dtype=torch.float64) for unit in units]
    products = [torch.outer(each, each) for each in sums]
    random = torch.Generator().manual_seed(0)

    def look(number: int, reader: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0][0].flatten(1).double()
        chosen = torch.randperm(values.shape[1], generator=random)[:_CELLS]
        values = values[:, chosen]
        count[number] += values.shape[1]
        sums[number] += values.sum(1)
        products[number] += values @ values.T

    hooks = [
        unit.reader.register_forward_pre_hook(partial(look, number))
        for number, unit in enumerate(units)
    ]
    for rgb in photos:
        pixels = torch.from_numpy(fit_area(rgb, area, 32).pixels).permute(2, 0, 1)[None].float()
        network(pixels.sub(127.0).div(128.0).contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    found = []
    for total, product, cells in zip(sums, products, count, strict=True):
        mean = total / cells
        found.append(Moments(mean, product / cells - torch.outer(mean, mean)))
    return found


def removals(weight: Tensor, covariance: Tensor) -> tuple[list[int], list[float]]:
    """The channels in the order in which they go, until `_MOST` are gone, and what each costs.

    Args:
        weight: (channels_out, C) of the reader.
        covariance: (C, C).

    Returns:
        Numbers of channels, and for each the share of the reader's output (variance) that is lost
        with it, the weights of those that are left being the best.
    """
    weight = weight.double().clone()
    total = float(((weight @ covariance) * weight).sum())
    inverse = torch.linalg.inv(_ridged(covariance, _RIDGE))
    there = torch.ones(len(covariance), dtype=torch.bool)
    order, costs = [], []
    for _ in range(int(_MOST * len(covariance))):
        variances = inverse.diagonal().clamp(min=1e-300)  # of channels that went they are 0
        losses = torch.where(there, (weight**2).sum(0) / variances, torch.inf)
        worst = int(losses.argmin())
        order.append(worst)
        costs.append(float(losses[worst]) / max(total, 1e-12))
        there[worst] = False
        line = inverse[worst] / inverse[worst, worst]
        weight.addr_(weight[:, worst].clone(), line, alpha=-1)
        inverse.addr_(inverse[:, worst].clone(), line, alpha=-1)
    return order, costs


def how_many(costs: list[list[float]], units: list[Unit], saved: float) -> list[int]:
    """How many channels of each unit go, so that about `saved` operations are spared.

    Those go first that cost least for the arithmetic they spare. All but a multiple of `_TOGETHER`
    stay.
    """
    steps = []
    for number, (each, unit) in enumerate(zip(costs, units, strict=True)):
        rising = np.maximum.accumulate(each)
        steps += [(cost / unit.operations, number) for cost in rising.tolist()]
    gone = [0] * len(units)
    for _, number in sorted(steps):
        if saved <= 0:
            break
        gone[number] += 1
        saved -= units[number].operations
    left = []
    for number, unit in enumerate(units):
        channels = unit.reader.in_channels
        kept = round((channels - gone[number]) / _TOGETHER) * _TOGETHER
        left.append(min(max(channels - kept, 0), len(costs[number])))
    return left


@torch.no_grad()
def cut(unit: Unit, gone: list[int], moments: Moments) -> None:
    """Take channels from a unit, and fit the weights that read the others anew."""
    everything = torch.arange(unit.reader.in_channels)
    kept = everything[~torch.isin(everything, torch.tensor(gone, dtype=torch.int64))]
    weight = unit.reader.weight.flatten(1).double()
    covariance = _ridged(moments.covariance, _RIDGE / 100)
    fitted = torch.linalg.solve(covariance[kept][:, kept], covariance[kept] @ weight.T).T
    shift = weight @ moments.mean - fitted @ moments.mean[kept]
    unit.keep(kept)
    unit.reader.weight.copy_(fitted.float()[:, :, None, None])
    unit.shift(shift.float())


def _ridged(covariance: Tensor, share: float) -> Tensor:
    """A covariance that can be inverted, also where a channel never changes."""
    ridge = share * covariance.diagonal().mean() + 1e-12
    return covariance + ridge * torch.eye(len(covariance), dtype=covariance.dtype)


def prune(
    network: PartNetwork, photos: Iterable[NDArray[np.uint8]], area: int, saved: float
) -> dict[str, list[int]]:
    """Cut a network in place.

    Args:
        network: in evaluation mode.
        photos: (H, W, 3) uint8 RGB, as the network meets them.
        area: pixels of an input.
        saved: floating point operations that an input of 384x512 shall take less.

    Returns:
        `hidden` and `mixed`, the options with which `PartNetwork` has this shape.
    """
    units = units_of(network)
    moments = observe(network, units, photos, area)
    orders, costs = [], []
    for unit, seen in zip(tqdm(units, desc="channels"), moments, strict=True):
        order, cost = removals(unit.reader.weight.detach().flatten(1), seen.covariance)
        orders.append(order)
        costs.append(cost)
    counts = how_many(costs, units, saved)
    for unit, order, count, seen in zip(units, orders, counts, moments, strict=True):
        cut(unit, order[:count], seen)
    left = [unit.reader.in_channels for unit in units]
    return {"hidden": left[: -len(network.mixers)], "mixed": left[-len(network.mixers) :]}


def photos_of(data: Path, cache: Path, count: int) -> Iterable[NDArray[np.uint8]]:
    """Training photos, annotated ones and those of types about as often."""
    annotated, _ = annotated_samples(data, cache)
    typed = [sample for sample in list_samples(data, "train") if sample.label != NO_CAR]
    found = [(s.image, s.squashed) for s in annotated], [(s.path, s.squashed) for s in typed]
    rng = np.random.default_rng(0)
    for number in tqdm(range(count), desc="photos"):
        photos = found[number % 2] or found[0]
        path, squashed = photos[int(rng.integers(len(photos)))]
        rgb = widen(read_rgb(path), cv2.INTER_LINEAR) if squashed else read_rgb(path)
        yield np.ascontiguousarray(rgb[:, ::-1]) if rng.random() < 0.5 else rgb


def prune_folder(
    data: Path,
    models: Path,
    out: Path,
    saved: float = SAVED,
    count: int = _PHOTOS,
    cache: Path = Path("runs/cache"),
) -> None:
    """Cut the part network of a models folder; `out` becomes a copy of it with the result."""
    description = read_description("parts", models)
    network = PartNetwork(**description.options)
    state = load_file(models / description.weights)
    network.load_state_dict({name: value.float() for name, value in state.items()}, strict=False)
    shape = prune(
        network.eval(), photos_of(data, cache, count), description.input["area"], saved * 1e9
    )
    shutil.copytree(models, out, dirs_exist_ok=True)
    fields: Mapping[str, Any] = read_fields("parts", models)
    write_fields({**fields, "options": {**description.options, **shape}}, "parts", out)
    export_weights(network.state_dict(), description.weights, out)
    export_graph(description.weights, out)


def main() -> None:
    """Read the command line and prune."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="folder with parts.*")
    parser.add_argument("--out", type=Path, default=Path("runs/pruned"))
    parser.add_argument("--saved", type=float, default=SAVED, help="GFLOP to save")
    arguments = parser.parse_args()
    prune_folder(arguments.data, arguments.models, arguments.out, arguments.saved)


if __name__ == "__main__":
    main()
