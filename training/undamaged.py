"""Draw cars without damage for batches: all equally often, or mostly those that look damaged.

Mining hard negatives (Sung and Poggio 1998; Felzenszwalb et al. 2010): a trained network looks at
all undamaged cars, and the next training shows more of those in which it saw damage.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch import nn

from training.damage_data import may_have_damage
from training.photos import Indices, PhotoSet, TrainingData
from training.split import Part
from training.teacher_labels import see_whole
from training.warps import Jitter
from training.weights import predict

Drawn = list[tuple[PhotoSet, Indices, Jitter]]

FULL = 60  # cells of 96x128 with damage; photos with more are drawn no more often
LEAST = 0.05  # weight of a photo without such cells; one with FULL cells has 1 more
_ANNOTATED, _CARS = 0, 1
_SQUASHED = Jitter((1.0, 1.8), (0.7, 2.0), close_ups=0.25, turned=0.05)
_NATURAL = Jitter((0.82, 1.22), (0.7, 1.8), close_ups=0.3, turned=0.05)


def undamaged(cars: PhotoSet, part: Part) -> Indices:
    """Return the photos of cars that hardly show damage, of one part of the split."""
    clean = [
        row.source != "damage" and not may_have_damage(row.photo) and row.part == part
        for row in cars.rows
    ]
    return np.flatnonzero(clean).astype(np.int64)


class EvenlyDrawn:
    """All undamaged cars of "train": a third annotated photos, if there are any, the rest others.

    Args:
        data: all photos.
    """

    def __init__(self, data: TrainingData) -> None:
        self._data = data
        self._annotated = data.annotated.of_part("train")
        self._cars = undamaged(data.cars, "train")

    def __len__(self) -> int:
        return len(self._annotated) + len(self._cars)

    def draw(self, count: int, rng: Generator) -> Drawn:
        """Draw photos, with the ranges of their random geometry."""
        others = count - count // 3 if len(self._cars) else 0
        others = others if len(self._annotated) else count
        drawn = [(self._data.annotated, self._annotated, count - others, _SQUASHED)]
        drawn += [(self._data.cars, self._cars, others, _NATURAL)]
        return [(s, rng.choice(held, each), jitter) for s, held, each, jitter in drawn if each]


@dataclass(frozen=True)
class MinedCars:
    """All undamaged cars of "train", and how damaged a network takes them for.

    Attributes:
        data: all photos.
        rows: (n, 2) 0 for an annotated photo and 1 for another one, and its index.
        cells: (n,) cells of 96x128 in which the network sees any kind of damage.
    """

    data: TrainingData
    rows: NDArray[np.int64]
    cells: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def chances(self) -> NDArray[np.float64]:
        """Return how often each photo is drawn as a hard one (n,); they sum to 1."""
        weights = LEAST + np.minimum(self.cells, FULL) / FULL
        return np.asarray(weights / weights.sum(), np.float64)

    def draw(self, count: int, rng: Generator) -> Drawn:
        """Draw photos, a third of them by chance, with the ranges of their random geometry."""
        hard = rng.choice(len(self), count - count // 3, p=self.chances())
        chosen = self.rows[np.concatenate([hard, rng.choice(len(self), count // 3)])]
        kinds = ((_ANNOTATED, self.data.annotated, _SQUASHED), (_CARS, self.data.cars, _NATURAL))
        drawn = [(photos, chosen[chosen[:, 0] == kind, 1], each) for kind, photos, each in kinds]
        return [(photos, held, jitter) for photos, held, jitter in drawn if len(held)]


def mine(data: TrainingData, network: nn.Module, name: str, folder: Path, batch: int) -> MinedCars:
    """Look for damage in all undamaged cars of "train", or go on where a call was cut off.

    Args:
        data: all photos.
        network: a damage network, in evaluation mode, on the device.
        name: of its weights; another name means other numbers.
        folder: keeps the numbers of photos that the network has seen.
        batch: photos per step.
    """
    sets = (data.annotated, data.cars)
    chosen = (data.annotated.of_part("train"), undamaged(data.cars, "train"))
    kinds = np.repeat((_ANNOTATED, _CARS), [len(each) for each in chosen])
    rows = np.stack([kinds, np.concatenate(chosen)], 1).astype(np.int64)
    progress = _Progress(folder / "mined.npz", _stamp(sets, rows, name), len(rows))
    while progress.done < len(rows):
        held = rows[progress.done : progress.done + batch]
        kind = int(held[0, 0])
        photos = held[held[:, 0] == kind, 1]
        progress.add(_damaged_cells(network, sets[kind], photos, batch))
    return MinedCars(data, rows, progress.cells)


class _Progress:
    """The numbers of the photos that have been seen, kept in a file.

    Args:
        path: of the file.
        stamp: another one than that of the file means to start anew.
        count: number of photos.

    Attributes:
        cells: (count,) of damage.
        done: photos that have been seen, the first ones.
    """

    def __init__(self, path: Path, stamp: str, count: int) -> None:
        self._path, self._stamp = path, stamp
        self.cells, self.done = np.zeros(count, np.int64), 0
        if path.exists():
            with np.load(path) as held:
                if str(held["stamp"]) == stamp:
                    self.cells, self.done = held["cells"].copy(), int(held["done"])

    def add(self, cells: NDArray[np.int64]) -> None:
        """Take the numbers of the next photos, and write the file atomically."""
        self.cells[self.done : self.done + len(cells)] = cells
        self.done += len(cells)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name("mined.new.npz")
        np.savez(fresh, stamp=self._stamp, cells=self.cells, done=self.done)
        fresh.replace(self._path)


def _stamp(sets: tuple[PhotoSet, ...], rows: NDArray[np.int64], name: str) -> str:
    names = [sets[kind].rows[index].photo for kind, index in rows.tolist()]
    return hashlib.sha256(json.dumps([name, names]).encode()).hexdigest()


def _damaged_cells(
    network: nn.Module, photos: PhotoSet, chosen: Indices, batch: int
) -> NDArray[np.int64]:
    """Return the cells (n,) of whole photos in which a network sees any kind of damage."""
    seen, _ = see_whole(photos, chosen)
    labels = predict(network, seen, batch).argmax(1)
    return np.asarray((labels > 0).sum((1, 2)).cpu().numpy(), np.int64)
