"""Label the photos without part labels by teachers: soft labels, and what is known of each car.

Self-training (Xie et al. 2020) with the probabilities of the teachers (Hinton et al. 2015). Photos
of the validation part are never labelled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.corrections import lid_of
from training.parts_data import FLIPPED, IGNORE
from training.photos import Indices, PhotoSet, TrainingData
from training.soft_maps import SoftMaps
from training.split import Part
from training.warps import (
    bilinear,
    fitting_warps,
    inside,
    on_canvas,
    source_points,
    surrounded,
    whole_warps,
)
from training.weights import BASIC_CLASSES, CLASSES, PARTS_SIZE, predict
from vision.labels import BACK_DOORS, PART_NAMES, TAILGATE, TRUNK, WHEEL, label_of

COLUMNS = 7  # of the table behind `Found`
STRIDE = 4  # pixels of a photo per cell of its soft labels
LOOKS = ((384, 512), (480, 640))  # input sizes; a teacher sees the first one, or both
_ROOM = 0.97  # size of a photo relative to the largest that fits
_SURE, _AREA = 0.72, 0.02  # of a photo that is used: mean probability, and share, of the car
_CAR = 0.5  # a cell above this probability of any part belongs to the car
_DOUBTFUL_LID = 0.3  # cells of a pickup above this probability of a lid teach nothing
_SAVED = 20  # batches between two notes of the progress


@dataclass(frozen=True)
class Found:
    """The cars that a part network finds in n photos; zeros for photos that it has not seen.

    Attributes:
        sure: (n,) mean probability of the cells of the car.
        area: (n,) share of the photo that the car covers.
        boxes: (n, 4) around the car's parts, in pixels.
        back_doors: (n,) share of the car that is a back door.
    """

    sure: NDArray[np.float32]
    area: NDArray[np.float32]
    boxes: NDArray[np.float32]
    back_doors: NDArray[np.float32]

    @classmethod
    def of(cls, table: NDArray[np.float32]) -> Found:
        """Return the columns of a table (n, 7)."""
        return cls(table[:, 0], table[:, 1], table[:, 2:6], table[:, 6])


@dataclass(frozen=True)
class SoftLabels:
    """The soft labels of a set of photos; those of photos of "val" are empty.

    Attributes:
        maps: label probabilities, `STRIDE` pixels per cell.
        side: cells along each side of a map.
        found: the cars in the photos.
    """

    maps: SoftMaps
    side: int
    found: Found

    def usable(self) -> NDArray[np.bool_]:
        """Return (n,) true for the photos whose labels are good enough to learn from."""
        return np.asarray((self.found.sure > _SURE) & (self.found.area > _AREA))


@dataclass(frozen=True)
class Teachers:
    """Part networks whose probabilities are averaged, over mirror images, too.

    Attributes:
        networks: in evaluation mode, on the device.
        names: of their weights; other names mean other labels.
        looks: number of input sizes, see LOOKS.
    """

    networks: Sequence[nn.Module]
    names: Sequence[str]
    looks: int = 1


def chances(photos: Tensor, networks: Sequence[nn.Module], batch: int) -> Tensor:
    """Return the averaged label probabilities (n, labels, h/4, w/4) of photos (n, 3, h, w)."""
    channels = torch.from_numpy(FLIPPED[:CLASSES].astype(np.int64)).to(photos.device)
    total = torch.zeros((), device=photos.device)
    for network in networks:
        total = total + predict(network, photos, batch).softmax(1)
        mirrored = predict(network, photos.flip(3), batch).softmax(1)
        total = total + mirrored.flip(3)[:, channels]
    return total / (2 * len(networks))


def label_photos(
    photos: PhotoSet,
    teachers: Teachers,
    folder: Path,
    batch: int,
    only: Indices | None = None,
) -> SoftLabels:
    """Label all photos but those of "val", or go on where an earlier call was cut off.

    Args:
        photos: to label.
        teachers: see `Teachers`.
        folder: of the labels; labels by other teachers in it are replaced.
        batch: photos per step.
        only: indices of the photos to label; None for all.
    """
    side = photos.side // STRIDE
    maps = SoftMaps(folder, len(photos), side * side, CLASSES, photos.device)
    order = np.flatnonzero([row.part != "val" for row in photos.rows]).astype(np.int64)
    if only is not None:
        order = np.intersect1d(order, only)
    stamp = _stamp(photos, teachers, order)
    table, done = _resume(folder, stamp, len(photos))
    for number, start in enumerate(range(done, len(order), batch), start=1):
        chosen = order[start : start + batch]
        labels = _see(photos, chosen, teachers, batch)
        labels = apply_facts(labels, photos, chosen)
        maps.write(chosen, labels)
        table[chosen] = _describe(labels, photos.sizes[chosen])
        if number % _SAVED == 0:
            _note(folder, stamp, start + len(chosen), maps, table)
    _note(folder, stamp, len(order), maps, table)
    maps.load()
    return SoftLabels(maps, side, Found.of(table))


def find_street_cars(photos: PhotoSet, part: Part, network: nn.Module, batch: int) -> Found:
    """Return the cars that a network finds in the street photos of one part of the split."""
    table = np.zeros((len(photos), COLUMNS), np.float32)
    street = [row.source == "street" and row.part == part for row in photos.rows]
    order, teachers = np.flatnonzero(street).astype(np.int64), Teachers([network], [""])
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        table[chosen] = _describe(_see(photos, chosen, teachers, batch), photos.sizes[chosen])
    return Found.of(table)


def _stamp(photos: PhotoSet, teachers: Teachers, order: Indices) -> str:
    names = [photos.rows[index].photo for index in order.tolist()]
    content = json.dumps([CLASSES, teachers.looks, list(teachers.names), names])
    return hashlib.sha256(content.encode()).hexdigest()


def _resume(folder: Path, stamp: str, count: int) -> tuple[NDArray[np.float32], int]:
    """Return the table of `Found`, and the number of photos that are labelled already."""
    note = folder / "progress.json"
    if note.exists():
        progress = json.loads(note.read_text(encoding="utf-8"))
        if progress["stamp"] == stamp:
            return np.load(folder / "found.npy"), int(progress["done"])
    return np.zeros((count, COLUMNS), np.float32), 0


def _note(folder: Path, stamp: str, done: int, maps: SoftMaps, table: NDArray[np.float32]) -> None:
    """Write the progress atomically, after everything that it covers."""
    maps.flush()
    np.save(folder / "found.new.npy", table)
    (folder / "found.new.npy").replace(folder / "found.npy")
    fresh = folder / "progress.new"
    fresh.write_text(json.dumps({"stamp": stamp, "done": done}), encoding="utf-8")
    fresh.replace(folder / "progress.json")


def _see(photos: PhotoSet, chosen: Indices, teachers: Teachers, batch: int) -> Tensor:
    """Return the probabilities (n, labels, side, side) of photos on their canvas."""
    pixels, sizes = photos.take(chosen), photos.sizes[chosen]
    side, total = photos.side // STRIDE, torch.zeros((), device=photos.device)
    for size in LOOKS[: teachers.looks]:
        warps = fitting_warps(sizes, size, _ROOM)
        points = source_points(warps, size, photos.device)
        seen = surrounded(bilinear(pixels, sizes, points), inside(points, sizes))
        labels = chances(seen, teachers.networks, batch)
        total = total + on_canvas(labels, warps, size, (photos.side, photos.side), STRIDE)
    labels = total / teachers.looks
    cells = source_points(np.tile(np.eye(3), (len(chosen), 1, 1)), (side, side), photos.device)
    within = inside(cells * STRIDE, sizes)[:, None]
    empty = torch.zeros_like(labels)
    empty[:, 0] = 1
    return torch.where(within, labels, empty)


def apply_facts(labels: Tensor, photos: PhotoSet, chosen: Indices) -> Tensor:
    """Correct probabilities (n, labels, h, w) by the cars' known types and doors.

    - The type names the lid. Lids of pickups are left out: annotators outlined the bed's side.
    - The "back door" of a two-door car is its quarter panel.
    """
    labels = labels.clone()
    for number, index in enumerate(chosen.tolist()):
        row, own = photos.rows[index], labels[number]
        if row.doors == 2:
            for door, side in zip(BACK_DOORS, ("left", "right"), strict=True):
                panel = f"{side}_quarter_panel"
                own[label_of(panel) if panel in PART_NAMES else 0] += own[door]
                own[door] = 0
        if row.type is not None:
            lid = own[TRUNK] + own[TAILGATE]
            if row.type == "pickup":
                own[:, lid > _DOUBTFUL_LID] = 1 / CLASSES
            else:
                right, wrong = (
                    (TRUNK, TAILGATE) if lid_of(row.type) == "trunk" else (TAILGATE, TRUNK)
                )
                own[right], own[wrong] = lid, 0
    return labels


def _describe(labels: Tensor, sizes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the table (n, 7) of `Found`, from probabilities (n, labels, side, side)."""
    best, names = labels.max(1)
    car = (names > 0) & (names < BASIC_CLASSES)  # the type networks' boxes leave the panels out
    count = car.sum((1, 2))
    sure = (best * car).sum((1, 2)) / count.clamp_min(1)
    whole = torch.from_numpy(sizes.prod(1) / STRIDE**2).to(labels)
    parts = labels[:, 1:BASIC_CLASSES].amax(1) > _CAR
    rows, columns = (_ends(parts.any(axis)) for axis in (2, 1))
    boxes = torch.stack([columns[0], rows[0], columns[1], rows[1]], 1) * STRIDE
    doors = torch.stack([(labels[:, door] > 0.6).sum((1, 2)) for door in BACK_DOORS]).amax(0)
    back = doors / parts.sum((1, 2)).clamp_min(1)
    table = torch.cat([torch.stack([sure, count / whole], 1), boxes, back[:, None]], 1)
    result: NDArray[np.float32] = table.float().cpu().numpy()
    return result


def _ends(line: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first true cell and the one after the last of lines (n, cells), or zeros."""
    numbers = torch.arange(line.shape[1], device=line.device)
    some = line.any(1)
    first = torch.where(line, numbers, line.shape[1]).amin(1) * some
    return first.float(), (torch.where(line, numbers + 1, 0).amax(1) * some).float()


def see_whole(photos: PhotoSet, chosen: Indices) -> tuple[Tensor, NDArray[np.float64]]:
    """Return whole photos as inputs (n, 3, h, w) of 0 to 255, and their warps."""
    sizes = photos.sizes[chosen]
    squashed = np.array([photos.rows[index].squashed for index in chosen.tolist()], bool)
    warps = whole_warps(sizes, PARTS_SIZE, squashed)
    points = source_points(warps, PARTS_SIZE, photos.device)
    seen = bilinear(photos.take(chosen), sizes, points)
    return surrounded(seen, inside(points, sizes)), warps


def ignore_missing(
    data: TrainingData, networks: Sequence[nn.Module], batch: int, only: Indices | None = None
) -> Tensor:
    """Ignore background of annotated photos where teachers see a part without an annotation.

    This concerns the parts that a review found missing, and wheels.

    Args:
        data: all photos.
        networks: the teachers.
        batch: photos per step.
        only: indices of the annotated photos that are looked at; None for all of "train".

    Returns:
        The label maps of `data` with 255 at these pixels.
    """
    labels = data.labels.clone()
    looked = data.annotated.of_part("train") if only is None else only
    for start in range(0, len(looked), batch):
        chosen = looked[start : start + batch]
        seen, warps = see_whole(data.annotated, chosen)
        side = (data.annotated.side, data.annotated.side)
        full = on_canvas(chances(seen, networks, batch), warps, PARTS_SIZE, side, 1)
        for number, index in enumerate(chosen.tolist()):
            width, height = (int(value) for value in data.annotated.sizes[index])
            own = full[number, :, :height, :width]
            hit = own[WHEEL] > 0.7
            for name in data.annotated.rows[index].missing:
                if name in PART_NAMES:
                    hit = hit | (own[label_of(name)] > 0.35)
            place = labels[index, :height, :width]
            place[hit & (place == 0)] = IGNORE
    return labels
