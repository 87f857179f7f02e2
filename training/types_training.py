"""Train the type network: eight types, no car, two side doors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from training.augment import change_photos
from training.fit import Step
from training.losses import types_loss
from training.parts_data import STRETCH
from training.photos import FILL, PhotoSet, TrainingData
from training.precision import mixed_precision
from training.type_data import NO_CAR
from training.types_photos import ANNOTATED, ANY, UNKNOWN, CarPhotos
from training.warps import (
    Matrices,
    bilinear,
    inside,
    normalised,
    random_quarters,
    scaling,
    shifting,
    slanting,
    source_points,
    surrounded,
    tilting,
    turning,
)
from training.weights import TYPES_SIZE, predict

CUT_OUTS = 0.08  # share of cars of which a quarter to half is shown, which are of any type
TURNED = 0.08  # share of photos turned by 90, 180 or 270 degrees
_MIXED = 0.5  # share of mixed batches
_HIDDEN = 0.3  # share of photos with hidden patches
_STRETCHES = (1.05, 1.7)  # of photos that were squashed to squares
_DOORS_SMOOTH = 0.02

Boxes = NDArray[np.float64]


def sub_boxes(boxes: Boxes, low: float, high: float, rng: Generator) -> Boxes:
    """Return random boxes inside of boxes (n, 4), of `low` to `high` times their sides."""
    size = boxes[:, 2:] - boxes[:, :2]
    share = rng.uniform(low, high, size.shape)
    first = boxes[:, :2] + size * rng.uniform(0, 1, size.shape) * (1 - share)
    return np.concatenate([first, first + size * share], 1)


def plain_warps(boxes: Boxes, stretch: Matrices, size: tuple[int, int]) -> Matrices:
    """Return the warps that centre boxes in the input, undistorted but for the stretch (n,)."""
    height, width = size
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    scale = np.minimum(width / (wide * stretch), height / high)
    count = len(boxes)
    return (
        shifting(np.full(count, width / 2), np.full(count, height / 2))
        @ scaling(scale * stretch, scale)
        @ shifting(-(boxes[:, 0] + boxes[:, 2]) / 2, -(boxes[:, 1] + boxes[:, 3]) / 2)
    )


def random_changes(count: int, size: tuple[int, int], rng: Generator) -> Matrices:
    """Draw warps (n, 3, 3) of inputs around their centre: turned, mirrored, moved, tilted."""
    height, width = size
    middle = np.full(count, width / 2), np.full(count, height / 2)
    scale = rng.uniform(0.65, 1.25, count)
    mirror = np.where(rng.random(count) < 0.5, -1, 1)
    angle = rng.normal(0, 5, count) + 90 * random_quarters(count, TURNED, rng)
    move = rng.uniform(-0.08, 0.08, (count, 2)) * (width, height)
    return (
        shifting(middle[0] + move[:, 0], middle[1] + move[:, 1])
        @ tilting(rng.uniform(-0.08, 0.08, (count, 2)) / width)
        @ turning(np.deg2rad(angle))
        @ slanting(rng.normal(0, 0.05, count))
        @ scaling(scale * rng.uniform(0.85, 1.18, count) * mirror, scale)
        @ shifting(-middle[0], -middle[1])
    )


def cut_photos(
    data: TrainingData, cars: CarPhotos, warps: Matrices, size: tuple[int, int] = TYPES_SIZE
) -> Tensor:
    """Return the inputs (n, 3, h, w) of 0 to 255 of cars under warps."""
    out = torch.full((len(cars), 3, *size), float(FILL), device=data.device)
    sets: tuple[PhotoSet, ...] = (data.annotated, data.cars, data.empty)
    for number, photos in enumerate(sets):
        chosen = np.flatnonzero(cars.sets == number)
        if len(chosen):
            indices = cars.indices[chosen]
            sizes = photos.sizes[indices]
            points = source_points(warps[chosen], size, data.device)
            seen = bilinear(photos.take(indices), sizes, points)
            place = torch.from_numpy(chosen).to(data.device)
            out[place] = surrounded(seen, inside(points, sizes))
    return out


class TypesBatches:
    """Draws batches of cars for the type network.

    Args:
        data: all photos.
        cars: those to draw.
        batch: cars per step.
        size: (height, width) of the inputs.
    """

    def __init__(
        self,
        data: TrainingData,
        cars: CarPhotos,
        batch: int,
        size: tuple[int, int] = TYPES_SIZE,
    ) -> None:
        self._data, self._cars, self._batch, self._size = data, cars, batch, size
        self._shares, self._targets = cars.shares(), cars.targets()

    def draw(self, rng: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw inputs (n, 3, h, w) and the targets of `losses.types_loss`."""
        drawn = rng.choice(len(self._cars), self._batch, p=self._shares)
        cars, device = self._cars.of(drawn), self._data.device
        boxes, cut = self._boxes(cars, rng)
        stretch = np.where(
            cars.sets == ANNOTATED,
            rng.uniform(*_STRETCHES, len(cars)),
            np.where(cars.labels == ANY, rng.uniform(0.85, 1.3, len(cars)), 1.0),
        )
        warps = random_changes(len(cars), self._size, rng) @ plain_warps(boxes, stretch, self._size)
        x = change_photos(cut_photos(self._data, cars, warps, self._size), rng, _HIDDEN)
        types = np.where(cut[:, None], [[1 / NO_CAR] * NO_CAR + [0.0]], self._targets[drawn])
        doors = np.where(cut, UNKNOWN, cars.doors)
        known = (doors != UNKNOWN).astype(np.float32)
        two = np.clip(doors, _DOORS_SMOOTH, 1 - _DOORS_SMOOTH).astype(np.float32)
        targets = (types.astype(np.float32), two, known)
        wanted, doors_wanted, weight = (torch.from_numpy(each).to(device) for each in targets)
        return normalised(x), wanted, doors_wanted, weight

    def _boxes(self, cars: CarPhotos, rng: Generator) -> tuple[Boxes, NDArray[np.bool_]]:
        """Return moved boxes, and true for those that show only a piece of the car."""
        empty = (cars.labels == NO_CAR)[:, None]
        size = np.tile(cars.boxes[:, 2:] - cars.boxes[:, :2], 2)
        moved = cars.boxes + rng.normal(0, 0.05, size.shape) * size
        boxes = np.where(empty, sub_boxes(cars.boxes, 0.25, 1.0, rng), moved)
        cut = (rng.random(len(cars)) < CUT_OUTS) & ~empty[:, 0]
        return np.where(cut[:, None], sub_boxes(boxes, 0.25, 0.5, rng), boxes), cut


def types_step(batches: TypesBatches) -> Step:
    """Return the step that trains the type network; half of the batches are mixed (mixup)."""

    def step(network: nn.Module, rng: Generator) -> tuple[Tensor, int]:
        x, types, two, known = batches.draw(rng)
        if rng.random() < _MIXED:
            share = float(rng.beta(0.4, 0.4))
            order = torch.randperm(len(x), device=x.device)
            x = x * share + x[order] * (1 - share)
            types = types * share + types[order] * (1 - share)
            both = share * known + (1 - share) * known[order]
            two = share * known * two + (1 - share) * known[order] * two[order]
            two, known = two / both.clamp_min(1e-6), both**2
        with mixed_precision(x.device):
            logits = network(x.contiguous(memory_format=torch.channels_last))
        return types_loss(logits, types, two, known), len(x)

    return step


def type_logits(
    data: TrainingData, cars: CarPhotos, network: nn.Module, batch: int, mirrored: bool = False
) -> Tensor:
    """Return the logits (n, 10) of cars as the service sees them, or of their mirror images."""
    rows = []
    for start in range(0, len(cars), batch):
        some = cars.of(np.arange(start, min(start + batch, len(cars))))
        stretch = np.where(some.sets == ANNOTATED, STRETCH, 1.0)
        seen = cut_photos(data, some, plain_warps(some.boxes, stretch, TYPES_SIZE))
        rows.append(predict(network, seen.flip(3) if mirrored else seen, batch))
    return torch.cat(rows) if rows else torch.zeros((0, NO_CAR + 2), device=data.device)
