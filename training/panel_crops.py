"""Keep augmented crops on disk, as the maps of a frozen encoder and the old network's logits.

A step on such crops needs the decoder alone, which takes a fifth of the time of a whole step on a
CPU. A crop has 1.7 MB. The making goes on where it was cut off.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from training.augment import change_photos
from training.fit import seeded
from training.parts_data import FLIPPED, IGNORE
from training.parts_training import grounds, warped_labels
from training.photos import Indices, PhotoSet, TrainingData
from training.precision import mixed_precision
from training.warps import (
    Jitter,
    Zoom,
    bilinear,
    close_up_warps,
    inside,
    normalised,
    random_warps,
    source_points,
    surrounded,
)
from training.weights import PARTS_SIZE
from vision.labels import PANELS, WHEEL, label_of
from vision.networks import PartNetwork

ANNOTATED, CAR, EMPTY = range(3)  # kinds of photos
BATCH = 8  # crops that are made at a time
_JITTER = (
    Jitter((1.05, 1.7), (0.6, 1.5), close_ups=0.12, turned=0.1),
    Jitter((0.85, 1.2), (0.5, 1.35), close_ups=0.12, turned=0.1),
    Jitter((0.8, 1.3), (0.6, 1.8), close_ups=0.12, turned=0.1),
)  # of each kind
_ZOOM = (Zoom((1.05, 1.6)), Zoom((0.85, 1.2)), Zoom((0.8, 1.3)))  # of each kind
_GROUND = 0.35  # share of photos on another photo instead of grey
_HIDDEN = 0.12  # share of photos with hidden patches
_WHEEL, _MISSING = 0.7, 0.35  # background is ignored above these probabilities
_LARGEST = 60_000.0  # of a map, which is kept in float16
_STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True)
class Views:
    """The numbers of crops of annotated photos, other photos of cars, and photos without a car."""

    annotated: int
    cars: int
    empty: int

    def scaled(self, factor: float) -> Views:
        """Return these numbers times a factor, 1 at least."""
        counts = self.annotated, self.cars, self.empty
        return Views(*(max(1, round(count * factor)) for count in counts))


@dataclass(frozen=True)
class CropBatch:
    """Some crops on a device.

    Attributes:
        maps: of the encoder at strides 4, 8, 16 and 32, each (n, channels, h, w).
        before: (n, old labels, 96, 128) float32 logits of the old network.
        labels: (n, 192, 256) int64, 255 ignored.
        kinds: (n,) ANNOTATED, CAR or EMPTY.
        photos: (n,) indices into the photos of each crop's kind.
        warps: (n, 3, 3) from photo to crop.
        mirrored: (n,) true for warps that mirror.
        close: (n,) true for close-ups of a part.
        two_doors: (n,) true for cars that are known to have two side doors.
    """

    maps: list[Tensor]
    before: Tensor
    labels: Tensor
    kinds: NDArray[np.int64]
    photos: Indices
    warps: NDArray[np.float64]
    mirrored: NDArray[np.bool_]
    close: NDArray[np.bool_]
    two_doors: NDArray[np.bool_]


@dataclass(frozen=True)
class _Piece:
    """Crops of one kind before their colours are changed; see `CropBatch` for the last three."""

    photos: Tensor
    within: Tensor
    labels: Tensor
    warps: NDArray[np.float64]
    mirrored: NDArray[np.bool_]


def plan_crops(data: TrainingData, sets: Sequence[Views], seed: int) -> NDArray[np.int64]:
    """Return kind and photo of each crop, (n, 2), one set of views after the other.

    Photos of a kind are taken in turn; those of rocker panels, which are rare, half as often again.
    """
    rng = np.random.default_rng(seed)
    train = [s.of_part("train") for s in (data.annotated, data.cars, data.empty)]
    rockers = [label_of(name) for name in PANELS if "rocker" in name]
    labels = data.labels.cpu().numpy()
    rare = [index for index in train[ANNOTATED].tolist() if np.isin(labels[index], rockers).any()]
    train[ANNOTATED] = np.concatenate(
        [train[ANNOTATED], train[ANNOTATED], np.array(rare, np.int64)]
    )
    plans = []
    for views in sets:
        rows = []
        for kind, count in enumerate((views.annotated, views.cars, views.empty)):
            chosen = _in_turn(train[kind], count, rng)
            rows.append(np.stack([np.full(len(chosen), kind), chosen], 1))
        plans.append(rng.permutation(np.concatenate(rows)))
    return np.concatenate(plans).astype(np.int64)


def _in_turn(photos: Indices, count: int, rng: Generator) -> Indices:
    if not len(photos):
        return photos
    rounds = [rng.permutation(photos) for _ in range(math.ceil(count / len(photos)))]
    return np.concatenate(rounds)[:count]


class Crops:
    """Crops in a folder; their number and shapes are fixed, and they are made one after the other.

    Args:
        folder: of the crops.
        data: all photos; only those of "train" are cropped.
        old: the trained network, in evaluation mode on the device of the data.
        plan: see `plan_crops`.
        name: of the old network's weights; crops by other weights in the folder are replaced.
        seed: of all random numbers.
        boxes: (n, 4) x, y, width, height in pixels of the part that each crop shows from near, not
            a number for crops of the whole photo; None if all are.
    """

    def __init__(
        self,
        folder: Path,
        data: TrainingData,
        old: PartNetwork,
        plan: NDArray[np.int64],
        name: str,
        seed: int,
        boxes: NDArray[np.float64] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.plan = plan
        self._boxes = np.full((len(plan), 4), np.nan) if boxes is None else boxes
        self._folder, self._data, self._old, self._seed = folder, data, old, seed
        drawn = plan.tolist() if boxes is None else [plan.tolist(), boxes.tolist()]
        self._stamp = _stamp(data, drawn, name, seed)
        self._known = old.head.out_channels
        channels: list[int] = old.encoder.feature_info.channels()  # type: ignore[operator,union-attr]
        height, width = PARTS_SIZE
        self._files: dict[str, np.memmap[Any, np.dtype[Any]]] = {
            f"maps{stride}": self._open(
                f"maps{stride}", np.float16, (count, height // stride, width // stride)
            )
            for stride, count in zip(_STRIDES, channels, strict=True)
        }
        cells = (height // _STRIDES[0], width // _STRIDES[0])
        self._files["before"] = self._open("before", np.float16, (self._known, *cells))
        self._files["labels"] = self._open("labels", np.uint8, (height // 2, width // 2))
        self._files["warps"] = self._open("warps", np.float64, (3, 3))
        self._files["mirrored"] = self._open("mirrored", np.uint8, ())

    def _open(self, name: str, kind: Any, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
        path, whole = self._folder / name, (len(self.plan), *shape)
        size = math.prod(whole) * np.dtype(kind).itemsize
        fits = path.exists() and path.stat().st_size == size
        return np.memmap(path, kind, "r+" if fits else "w+", shape=whole)

    def done(self) -> int:
        """Return the number of crops that are made."""
        note = self._folder / "progress.json"
        if not note.exists():
            return 0
        progress = json.loads(note.read_text(encoding="utf-8"))
        return int(progress["done"]) if progress["stamp"] == self._stamp else 0

    @torch.no_grad()
    def make(self, end: int) -> None:
        """Make the crops up to number `end`, without those that are made."""
        for start in range(self.done(), end, BATCH):
            stop = min(start + BATCH, end)
            self._make(np.arange(start, stop), seeded(self._seed, start))
            fresh = self._folder / "progress.new"
            fresh.write_text(json.dumps({"stamp": self._stamp, "done": stop}), encoding="utf-8")
            fresh.replace(self._folder / "progress.json")

    def _make(self, numbers: Indices, rng: Generator) -> None:
        numbers = numbers[np.argsort(self.plan[numbers, 0], kind="stable")]
        kinds, chosen = self.plan[numbers].T
        pieces = [
            self._cut(kind, numbers[kinds == kind], rng) for kind in np.unique(kinds).tolist()
        ]
        photos = torch.cat([piece.photos for piece in pieces])
        within = torch.cat([piece.within for piece in pieces])
        labels = torch.cat([piece.labels for piece in pieces])
        warps = np.concatenate([piece.warps for piece in pieces])
        mirrored = np.concatenate([piece.mirrored for piece in pieces])
        x = surrounded(photos, within, self._around(len(numbers), rng))
        x = normalised(change_photos(x, rng, _HIDDEN))
        with mixed_precision(x.device):
            maps = self._old.encoder(x)
            before = decode(self._old, maps).float()
        whole = np.where(self.is_close(numbers), CAR, kinds)  # near, the old network sees little
        self._ignore_missing(labels, before, whole, chosen, mirrored)
        for stride, each in zip(_STRIDES, maps, strict=True):
            self._write(f"maps{stride}", numbers, each.float().clamp(-_LARGEST, _LARGEST))
        self._write("before", numbers, before)
        self._write("labels", numbers, labels)
        self._files["warps"][numbers], self._files["mirrored"][numbers] = warps, mirrored

    def _write(self, name: str, numbers: Indices, values: Tensor) -> None:
        self._files[name][numbers] = values.cpu().numpy()

    def is_close(self, numbers: Indices) -> NDArray[np.bool_]:
        """Return (n,) true for the crops that show a part from near."""
        return np.asarray(~np.isnan(self._boxes[numbers, 0]))

    def _cut(self, kind: int, numbers: Indices, rng: Generator) -> _Piece:
        """Return crops of photos of one kind."""
        photos, chosen = self._photos(kind), self.plan[numbers, 1]
        sizes = photos.sizes[chosen]
        warps, mirrored = random_warps(sizes, PARTS_SIZE, _JITTER[kind], rng)
        close = self.is_close(numbers)
        if close.any():
            boxes = self._boxes[numbers[close]]
            near = close_up_warps(boxes, PARTS_SIZE, _ZOOM[kind], rng)
            warps[close], mirrored[close] = near
        points = source_points(warps, PARTS_SIZE, photos.device)
        if kind == ANNOTATED:
            place = torch.from_numpy(chosen).to(photos.device)
            labels = warped_labels(self._data.labels[place], sizes, warps, mirrored)
        else:
            shape = (len(chosen), PARTS_SIZE[0] // 2, PARTS_SIZE[1] // 2)
            label = IGNORE if kind == CAR else 0
            labels = torch.full(shape, label, dtype=torch.uint8, device=photos.device)
        pixels = bilinear(photos.take(chosen), sizes, points)
        return _Piece(pixels, inside(points, sizes), labels, warps, mirrored)

    def _photos(self, kind: int) -> PhotoSet:
        return (self._data.annotated, self._data.cars, self._data.empty)[kind]

    def _around(self, count: int, rng: Generator) -> Tensor:
        empty = self._data.empty
        chosen = rng.choice(empty.of_part("train"), count)
        return grounds(empty, chosen, PARTS_SIZE, _GROUND, rng)

    def _ignore_missing(
        self,
        labels: Tensor,
        before: Tensor,
        kinds: NDArray[np.int64],
        chosen: Indices,
        mirrored: NDArray[np.bool_],
    ) -> None:
        """Ignore background where the old network sees a wheel, or a part without annotation."""
        seen = F.interpolate(before.softmax(1), scale_factor=2.0, mode="bilinear")
        for number in np.flatnonzero(kinds == ANNOTATED).tolist():
            hit = seen[number, WHEEL] > _WHEEL
            for name in self._data.annotated.rows[chosen[number]].missing:
                label = label_of(name)
                if mirrored[number]:
                    label = int(FLIPPED[label])
                if label < self._known:
                    hit = hit | (seen[number, label] > _MISSING)
            labels[number][hit & (labels[number] == 0)] = IGNORE

    def read(self, numbers: Indices) -> CropBatch:
        """Return crops by their numbers."""
        device = self._data.device
        kinds, photos = self.plan[numbers].T
        read = {
            name: torch.from_numpy(file[numbers]).to(device)
            for name, file in self._files.items()
            if name not in ("warps", "mirrored")
        }
        maps = [
            read[f"maps{stride}"].float().contiguous(memory_format=torch.channels_last)
            for stride in _STRIDES
        ]
        return CropBatch(
            maps,
            read["before"].float(),
            read["labels"].long(),
            kinds,
            photos,
            self._files["warps"][numbers],
            self._files["mirrored"][numbers] > 0,
            self.is_close(numbers),
            self.have_two_doors(numbers),
        )

    def have_two_doors(self, numbers: Indices) -> NDArray[np.bool_]:
        """Return (n,) true for the crops of cars that are known to have two side doors."""
        plan = self.plan[numbers].tolist()
        return np.array([self._photos(kind).rows[photo].doors == 2 for kind, photo in plan], bool)

    def car_sizes(self, photos: Indices) -> NDArray[np.float64]:
        """Return (n, 2) width and height in pixels of photos without part labels."""
        return self._data.cars.sizes[photos]

    def cars(self, end: int) -> Indices:
        """Return the photos without part labels of the crops up to number `end`."""
        kinds, photos = self.plan[:end].T
        return np.unique(photos[kinds == CAR])


def last_blocks(network: PartNetwork) -> list[nn.Module]:
    """Return the blocks of the encoder between its maps at strides 16 and 32."""
    names: list[str] = network.encoder.feature_info.module_name()  # type: ignore[operator,union-attr]
    first, last = (int(name.rpartition(".")[2]) for name in names[-2:])
    blocks: Any = network.encoder.blocks
    return list(blocks[first + 1 : last + 1])


def last_stage(network: PartNetwork, maps: Sequence[Tensor]) -> list[Tensor]:
    """Return the maps of an encoder with the coarsest made anew from the one before it."""
    *finer, _ = maps
    coarsest = finer[-1]
    for block in last_blocks(network):
        coarsest = block(coarsest)
    return [*finer, coarsest]


def decode(network: PartNetwork, maps: Sequence[Tensor]) -> Tensor:
    """Return the logits (n, labels, h/4, w/4) of a network from the maps of its encoder."""
    *finer, coarsest = maps
    top = network.context(network.laterals[0](coarsest))
    logits: Tensor = network.head(network.decode(top, finer[::-1])[-1])
    return logits


def _stamp(data: TrainingData, drawn: list[Any], name: str, seed: int) -> str:
    photos = [row.photo for s in (data.annotated, data.cars, data.empty) for row in s.rows]
    labels = hashlib.sha256(data.labels.cpu().numpy().tobytes()).hexdigest()
    content = json.dumps([name, seed, labels, photos, drawn])
    return hashlib.sha256(content.encode()).hexdigest()
