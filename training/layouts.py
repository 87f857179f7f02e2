"""Show the part network all photos in four turns, and keep the layouts that it sees."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.parts_data import STRETCH
from training.photos import Indices, PhotoSet, TrainingData
from training.soft_maps import SoftMaps
from training.types_photos import UNKNOWN
from training.warps import (
    Matrices,
    bilinear,
    inside,
    scaling,
    shifting,
    source_points,
    surrounded,
    turning,
)
from training.weights import BASIC_CLASSES, PARTS_SIZE, TURNS, basic_labels, predict
from vision.labels import TYPE_NAMES

STRIDE = 4
CELLS = PARTS_SIZE[0] * PARTS_SIZE[1] // STRIDE**2
_ISLAND = 0.05  # pieces of a part below this share of its largest are no part of the car
_CAR = 0.004  # share of the cells from which there is a car, as in the service
_FEW_CELLS, _SMALL_PART = 3, 0.01  # a part counts from so many cells, and share of the car
_SAVED = 20  # batches between two notes of the progress


@dataclass(frozen=True)
class Layouts:
    """The layouts of n views; each photo has four views that follow one another.

    Attributes:
        maps: label probabilities of the cells of each view.
        tall: (n,) true for views that are taller than wide: their maps are (128, 96) cells.
        boxes: (n, 4) around the parts, in cells.
        parts: (n,) number of parts that are seen; 0 if no car is.
        turns: (n,) quarter turns clockwise.
        types: (n,) index of the car's type, or UNKNOWN.
        sources: (n,) name of the data set.
        splits: (n,) part of the split.
    """

    maps: SoftMaps
    tall: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    parts: NDArray[np.int64]
    turns: NDArray[np.int64]
    types: NDArray[np.int64]
    sources: NDArray[np.str_]
    splits: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.tall)


@dataclass(frozen=True)
class _Views:
    """The sizes and turns of all views of one set of photos, and where they are in the table."""

    photos: PhotoSet
    indices: Indices
    first: int
    stretch: float

    def sizes(self, rows: Indices) -> Matrices:
        """Return width and height (n, 2) of the upright photos, in undistorted pixels."""
        return self.photos.sizes[self.indices[rows // TURNS]] * (self.stretch, 1.0)


def see_layouts(
    data: TrainingData, network: nn.Module, name: str, folder: Path, batch: int
) -> Layouts:
    """Return the layouts of all photos of cars, or go on where an earlier call was cut off.

    Args:
        data: all photos; those of "val" measure.
        network: the part network.
        name: of its weights; another name means other layouts.
        folder: of the layouts.
        batch: views per step.
    """
    sets = _sets(data)
    count = sum(len(views.indices) for views in sets) * TURNS
    maps = SoftMaps(folder, count, CELLS, BASIC_CLASSES, data.device)
    progress = _Progress(folder, _stamp(sets, name), count)
    for views in sets:
        for tall in (False, True):
            rows = np.flatnonzero(_tall(views) == tall).astype(np.int64)
            for start in range(0, len(rows), batch):
                chosen = rows[start : start + batch]
                place = chosen + views.first
                if progress.lacks(place):
                    labels, cells = _see(views, chosen, tall, network, batch)
                    maps.write(place, basic_labels(labels))
                    progress.add(place, _describe(labels, cells), maps)
    progress.write(maps)
    maps.load()
    return _collect(sets, maps, progress.table)


def _sets(data: TrainingData) -> list[_Views]:
    cars = [i for i, row in enumerate(data.cars.rows) if row.part != "calibration"]
    annotated = np.flatnonzero([row.part != "calibration" for row in data.annotated.rows])
    return [
        _Views(data.cars, np.array(cars, np.int64), 0, 1.0),
        _Views(data.annotated, annotated.astype(np.int64), len(cars) * TURNS, STRETCH),
    ]


def _stamp(sets: list[_Views], name: str) -> str:
    names = [[views.photos.rows[i].photo for i in views.indices.tolist()] for views in sets]
    return hashlib.sha256(json.dumps([BASIC_CLASSES, name, names]).encode()).hexdigest()


class _Progress:
    """The boxes and numbers of parts of the views that have been seen, kept in a folder."""

    def __init__(self, folder: Path, stamp: str, count: int) -> None:
        self._folder, self._stamp, self._fresh = folder, stamp, 0
        self.table = np.full((count, 5), -1.0)  # the number of parts is -1 before it is known
        note = folder / "progress.json"
        if note.exists() and json.loads(note.read_text(encoding="utf-8"))["stamp"] == stamp:
            self.table = np.load(folder / "views.npy")

    def lacks(self, place: Indices) -> bool:
        return bool((self.table[place, 4] < 0).any())

    def add(self, place: Indices, found: NDArray[np.float64], maps: SoftMaps) -> None:
        self.table[place] = found
        self._fresh += 1
        if self._fresh % _SAVED == 0:
            self.write(maps)

    def write(self, maps: SoftMaps) -> None:
        """Write the table atomically, after the maps."""
        maps.flush()
        np.save(self._folder / "views.new.npy", self.table)
        (self._folder / "views.new.npy").replace(self._folder / "views.npy")
        note = self._folder / "progress.json"
        note.write_text(json.dumps({"stamp": self._stamp}), encoding="utf-8")


def _tall(views: _Views) -> NDArray[np.bool_]:
    """Return (n,) true for the views that are taller than wide."""
    rows = np.arange(len(views.indices) * TURNS)
    sizes = views.sizes(rows)
    wide = sizes[:, 0] >= sizes[:, 1]
    square = sizes[:, 0] == sizes[:, 1]
    return np.asarray(~square & (wide == (rows % 2 == 1)))


def turned_warps(sizes: Matrices, quarters: NDArray[np.int64], scale: Matrices) -> Matrices:
    """Return the warps that turn photos clockwise and place them in the top left corner.

    Args:
        sizes: (n, 2) width and height of the photos.
        quarters: (n,) quarter turns.
        scale: (n,) of the photos.
    """
    wide, high = sizes[:, 0] * scale, sizes[:, 1] * scale
    zero = np.zeros(len(sizes))
    across = np.where(quarters == 1, high, np.where(quarters == 2, wide, zero))
    down = np.where(quarters == 2, high, np.where(quarters == 3, wide, zero))
    return (
        shifting(across, down)
        @ turning(np.asarray(quarters * (np.pi / 2), np.float64))
        @ scaling(scale, scale)
    )


def _see(
    views: _Views, rows: Indices, tall: bool, network: nn.Module, batch: int
) -> tuple[Tensor, NDArray[np.int64]]:
    """Return probabilities (n, labels, h, w) of views, and the (height, width) of each in cells."""
    size = (PARTS_SIZE[1], PARTS_SIZE[0]) if tall else PARTS_SIZE
    photos, indices = views.photos, views.indices[rows // TURNS]
    sizes, quarters = views.sizes(rows), rows % TURNS
    shown = np.where((quarters % 2 == 1)[:, None], sizes[:, ::-1], sizes)
    scale = np.minimum(size[1] / shown[:, 0], size[0] / shown[:, 1])
    warps = turned_warps(sizes, quarters, scale)
    warps = warps @ scaling(np.full(len(rows), views.stretch), np.ones(len(rows)))
    points = source_points(warps, size, photos.device)
    own = photos.sizes[indices]
    seen = surrounded(bilinear(photos.take(indices), own, points), inside(points, own))
    labels = predict(network, seen, batch).softmax(1)
    ends = np.maximum(1, np.rint(shown * scale[:, None] / STRIDE)).astype(np.int64)[:, ::-1]
    y, x = (torch.arange(n // STRIDE, device=photos.device) for n in size)
    limit = torch.from_numpy(ends.copy()).to(photos.device).view(-1, 2, 1, 1)
    within = (y.view(1, -1, 1) < limit[:, 0]) & (x.view(1, 1, -1) < limit[:, 1])
    empty = torch.zeros_like(labels)
    empty[:, 0] = 1
    return torch.where(within[:, None], labels, empty), ends


def _describe(labels: Tensor, ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return box and number of basic parts (n, 5) of probabilities (n, labels, h, w)."""
    names = labels.argmax(1)
    best = names.where(names < BASIC_CLASSES, 0).to(torch.uint8).cpu().numpy()
    cut = [map_[:height, :width] for map_, (height, width) in zip(best, ends, strict=True)]
    with ThreadPoolExecutor() as pool:
        return np.array(list(pool.map(find_parts, cut)), np.float64)


def find_parts(labels: NDArray[np.uint8]) -> tuple[int, int, int, int, int]:
    """Return the box around the parts of a label map, without islands, and their number."""
    car = labels.copy()
    for label in np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1:
        mask = (labels == label).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        here = (slice(y, y + height), slice(x, x + width))
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask[here], connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA]
        small = [n for n in range(1, count) if areas[n] < _ISLAND * areas[1:].max()]
        if small:
            car[here][np.isin(pieces, small)] = 0
    x, y, width, height = cv2.boundingRect(car)
    cells = np.count_nonzero(car)
    if cells < _CAR * car.size:
        return x, y, x + width, y + height, 0
    counts = np.bincount(car.ravel(), minlength=BASIC_CLASSES)[1:]
    parts = int((counts >= max(_FEW_CELLS, _SMALL_PART * cells)).sum())
    return x, y, x + width, y + height, max(1, parts)


def _collect(sets: list[_Views], maps: SoftMaps, table: NDArray[np.float64]) -> Layouts:
    rows = [views.photos.rows[i] for views in sets for i in views.indices.tolist()]
    types = [UNKNOWN if row.type is None else TYPE_NAMES.index(row.type) for row in rows]
    return Layouts(
        maps,
        np.concatenate([_tall(views) for views in sets]),
        table[:, :4],
        table[:, 4].astype(np.int64),
        np.tile(np.arange(TURNS), len(rows)),
        np.repeat(np.array(types, np.int64), TURNS),
        np.repeat(np.array([row.source for row in rows]), TURNS),
        np.repeat(np.array([row.part for row in rows]), TURNS),
    )
