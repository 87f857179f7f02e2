"""Train a part network on annotated photos, teachers' labels, and photos without a car."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from training.augment import change_photos
from training.fit import Step
from training.losses import parts_loss
from training.part_boxes import annotated_parts, random_boxes
from training.parts_data import FLIPPED
from training.photos import Indices, PhotoSet, TrainingData
from training.precision import mixed_precision
from training.teacher_labels import STRIDE, SoftLabels
from training.warps import (
    EMPTY,
    NATURAL,
    SQUASHED,
    Jitter,
    Matrices,
    Zoom,
    bilinear,
    close_up_warps,
    filling_warps,
    inside,
    nearest,
    normalised,
    random_warps,
    source_points,
    surrounded,
)
from training.weights import CLASSES, PARTS_SIZE

ANNOTATED, TAUGHT = 0.36, 0.58  # shares of a batch; the rest has no car
ALONE = 0.92  # share of annotated photos without a teacher
_RARE = 1.6  # how much more often photos of trunks and tailgates are drawn
_DAMAGED = 0.7  # how often photos of damaged cars are drawn: many are close-ups
_GROUND = 0.4  # share of photos on another photo instead of grey
_HIDDEN = 0.2  # share of photos with hidden patches


@dataclass(frozen=True)
class PartsInput:
    """A batch: inputs, hard labels of the first photos, soft labels of the others."""

    x: Tensor
    labels: Tensor
    taught: Tensor | None


@dataclass(frozen=True)
class PartsMix:
    """The composition of the batches.

    Attributes:
        batch: photos per step, at least 3.
        close_ups: share of photos that are cut to a part of the car.
        turned: share of photos turned by 90, 180 or 270 degrees.
        near: share of annotated photos, and of photos without a car, that show one part, or as
            little, as large as the input allows.
        size: (height, width) of the inputs, multiples of 32.
        annotated: ranges of the geometry of the annotated photos.
    """

    batch: int
    close_ups: float = 0.15
    turned: float = 0.1
    near: float = 0.12
    size: tuple[int, int] = PARTS_SIZE
    annotated: Jitter = SQUASHED

    def jitter(self, ranges: Jitter) -> Jitter:
        """Return ranges with these shares."""
        return replace(ranges, close_ups=self.close_ups, turned=self.turned)


class PartsBatches:
    """Draws batches for the part network.

    Args:
        data: all photos; only those of "train" are drawn.
        labels: label maps of the annotated photos, see `teacher_labels.ignore_missing`.
        soft: the teachers' labels of `data.cars`, or None to learn from annotated photos alone.
        mix: composition.
    """

    def __init__(
        self, data: TrainingData, labels: Tensor, soft: SoftLabels | None, mix: PartsMix
    ) -> None:
        self._data, self._labels, self._soft, self._mix = data, labels, soft, mix
        self._annotated, self._empty = (s.of_part("train") for s in (data.annotated, data.empty))
        rare = [data.annotated.rows[index].rare for index in self._annotated.tolist()]
        self._rare = _shares(np.where(rare, _RARE, 1.0))
        self._parts = annotated_parts(labels, self._annotated)
        self._cars, self._shares = _learnable(data.cars, soft)
        share = ANNOTATED if len(self._cars) else ALONE
        self._hard = max(1, int(mix.batch * share))
        self._taught = max(1, int(mix.batch * TAUGHT)) if len(self._cars) else 0
        self._none = max(1, mix.batch - self._hard - self._taught)

    def draw(self, rng: Generator) -> PartsInput:
        """Draw a batch; see `losses.parts_loss` for the shapes of its labels."""
        photos, within, labels = self._draw_hard(rng)
        empty, around, nothing = self._draw_empty(rng)
        pieces, insides, taught = [photos, empty], [within, around], None
        if self._taught and self._soft is not None:
            more, more_within, taught = self._draw_taught(self._soft, rng)
            pieces, insides = [*pieces, more], [*insides, more_within]
        x = surrounded(torch.cat(pieces), torch.cat(insides), self._grounds(rng, pieces))
        x = normalised(change_photos(x, rng, _HIDDEN))
        return PartsInput(x, torch.cat([labels, nothing]).long(), taught)

    def _draw_hard(self, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        photos, size = self._data.annotated, self._mix.size
        chosen = rng.choice(self._annotated, self._hard, p=self._rare)
        near = rng.random(self._hard) < (self._mix.near if len(self._parts) else 0)
        drawn = [self._parts.draw(rng) for _ in range(int(near.sum()))]
        chosen[near] = [photo for photo, _ in drawn]
        sizes = photos.sizes[chosen]
        warps, mirrored = random_warps(sizes, size, self._mix.jitter(self._mix.annotated), rng)
        if drawn:
            boxes = np.array([box for _, box in drawn])
            zoom = Zoom(self._mix.annotated.stretch)
            warps[near], mirrored[near] = close_up_warps(boxes, size, zoom, rng)
        points = source_points(warps, size, photos.device)
        place = torch.from_numpy(chosen).to(photos.device)
        labels = warped_labels(self._labels[place], sizes, warps, mirrored)
        return bilinear(photos.take(chosen), sizes, points), inside(points, sizes), labels

    def _draw_empty(self, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        photos, (height, width) = self._data.empty, self._mix.size
        chosen = rng.choice(self._empty, self._none)
        sizes = photos.sizes[chosen]
        warps, _ = random_warps(sizes, self._mix.size, EMPTY, rng)
        near = rng.random(len(chosen)) < self._mix.near
        if near.any():
            boxes = random_boxes(sizes[near], rng)
            warps[near], _ = close_up_warps(boxes, self._mix.size, Zoom(), rng)
        points = source_points(warps, self._mix.size, photos.device)
        shape = (len(chosen), height // 2, width // 2)
        labels = torch.zeros(shape, dtype=torch.uint8, device=photos.device)
        return bilinear(photos.take(chosen), sizes, points), inside(points, sizes), labels

    def _draw_taught(self, soft: SoftLabels, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        photos, size = self._data.cars, self._mix.size
        chosen = rng.choice(self._cars, self._taught, p=self._shares)
        sizes = photos.sizes[chosen]
        warps, mirrored = random_warps(sizes, size, self._mix.jitter(NATURAL), rng)
        points = source_points(warps, size, photos.device)
        maps = soft.maps.read(chosen).view(len(chosen), CLASSES, soft.side, soft.side)
        taught = warped_soft_labels(maps, sizes, warps, mirrored)
        return bilinear(photos.take(chosen), sizes, points), inside(points, sizes), taught

    def _grounds(self, rng: Generator, pieces: list[Tensor]) -> Tensor:
        """Return pictures (n, 3, h, w) to surround the photos: grey, or photos without a car."""
        count = sum(len(piece) for piece in pieces)
        chosen = rng.choice(self._empty, count)
        return grounds(self._data.empty, chosen, self._mix.size, _GROUND, rng)


def warped_labels(
    labels: Tensor,
    sizes: Matrices,
    warps: Matrices,
    mirrored: NDArray[np.bool_],
    size: tuple[int, int] = PARTS_SIZE,
) -> Tensor:
    """Return the labels of inputs at half resolution; left and right change in mirrored ones.

    Args:
        labels: (n, side, side) uint8 label maps of the photos.
        sizes: (n, 2) width and height of the photos, in pixels.
        warps: (n, 3, 3) from photo to input.
        mirrored: (n,) true for warps that mirror.
        size: (height, width) of the inputs, in pixels.

    Returns:
        (n, height / 2, width / 2) uint8.
    """
    moved = nearest(labels, sizes, source_points(warps, size, labels.device, 2))
    other = torch.from_numpy(FLIPPED).to(labels.device)[moved.long()]
    return torch.where(_column(mirrored, moved), other, moved)


def warped_soft_labels(
    maps: Tensor,
    sizes: Matrices,
    warps: Matrices,
    mirrored: NDArray[np.bool_],
    size: tuple[int, int] = PARTS_SIZE,
) -> Tensor:
    """Return the label probabilities of inputs, which are background outside of the photos.

    Args:
        maps: (n, labels, cells, cells) probabilities, `STRIDE` pixels of the photos per cell.
        sizes: (n, 2) width and height of the photos, in pixels.
        warps: (n, 3, 3) from photo to input.
        mirrored: (n,) true for warps that mirror.
        size: (height, width) of the inputs, in pixels.

    Returns:
        (n, labels, height / STRIDE, width / STRIDE) float32.
    """
    cells = source_points(warps, size, maps.device, STRIDE)
    channels = torch.from_numpy(FLIPPED[:CLASSES].astype(np.int64)).to(maps.device)
    maps = torch.where(_column(mirrored, maps), maps[:, channels], maps)
    taught = bilinear(maps, sizes, cells, STRIDE)
    taught = taught / taught.sum(1, keepdim=True).clamp_min(1e-3)
    nothing = F.one_hot(torch.zeros_like(taught[:, 0]).long(), CLASSES).movedim(-1, 1)
    return torch.where(inside(cells, sizes)[:, None], taught, nothing.float())


def grounds(
    photos: PhotoSet, chosen: Indices, size: tuple[int, int], share: float, rng: Generator
) -> Tensor:
    """Return pictures (n, 3, h, w) to surround photos: a share of `chosen`, grey for the others."""
    sizes = photos.sizes[chosen]
    points = source_points(filling_warps(sizes, size), size, photos.device)
    pictures = bilinear(photos.take(chosen), sizes, points)
    grey = torch.full_like(pictures, 127.0)
    return torch.where(_column(rng.random(len(chosen)) < share, pictures), pictures, grey)


def _learnable(cars: PhotoSet, soft: SoftLabels | None) -> tuple[Indices, NDArray[np.float64]]:
    """Return the photos to learn from by a teacher's labels, and the share of each."""
    if soft is None:
        return np.empty(0, np.int64), np.empty(0)
    chosen = np.intersect1d(cars.of_part("train"), np.flatnonzero(soft.usable()))
    damaged = [cars.rows[index].source == "damage" for index in chosen.tolist()]
    return chosen, _shares(np.where(damaged, _DAMAGED, 1.0)) if len(chosen) else np.empty(0)


def _shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(weights / weights.sum())


def _column(flags: NDArray[np.bool_], like: Tensor) -> Tensor:
    """Return flags (n,) in the shape (n, 1, ...) of a tensor, on its device."""
    return torch.from_numpy(flags).to(like.device).view(-1, *[1] * (like.ndim - 1))


def parts_step(batches: PartsBatches) -> Step:
    """Return the step that trains a part network on batches."""

    def step(network: nn.Module, rng: Generator) -> tuple[Tensor, int]:
        batch = batches.draw(rng)
        with mixed_precision(batch.x.device):
            logits = network(batch.x)
        return parts_loss(logits, batch.labels, batch.taught), len(batch.x)

    return step
