"""Read packs: photos, label maps, and the facts about them, ready for a device.

On a GPU all photos are decoded once and kept in its memory. On CPUs they are decoded when they are
drawn, which takes little of the time of a training step.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.corrections import DataError
from training.pack import SIDES, Kind, Row

FILL = 127  # grey, outside of a photo

Indices = NDArray[np.int64]


class PhotoSet:
    """The photos of one kind, each in the top left corner of a square canvas.

    Args:
        rows: the facts.
        files: the encoded photos.
        side: of the canvas, in pixels.
        device: on which photos are returned.

    Attributes:
        rows: as above.
        sizes: (n, 2) float64, width and height of each photo in pixels.
    """

    def __init__(
        self, rows: Sequence[Row], files: Sequence[bytes], side: int, device: torch.device
    ) -> None:
        self.rows, self.side, self.device = list(rows), side, device
        self.sizes = np.array([(row.width, row.height) for row in rows], np.float64).reshape(-1, 2)
        self._files = list(files)
        self._pixels: Tensor | None = None
        if device.type == "cuda":
            self._pixels = self._decode(np.arange(len(self))).to(device)
            self._files = []

    def __len__(self) -> int:
        return len(self.rows)

    def of_part(self, part: str) -> Indices:
        """Return the indices of the photos of one part of the split."""
        return np.flatnonzero([row.part == part for row in self.rows]).astype(np.int64)

    def take(self, indices: Indices) -> Tensor:
        """Return photos as (n, 3, side, side) uint8 on the device."""
        if self._pixels is not None:
            return self._pixels[torch.from_numpy(indices).to(self.device)]
        return self._decode(indices)

    def _decode(self, indices: Indices) -> Tensor:
        out = torch.full((len(indices), 3, self.side, self.side), FILL, dtype=torch.uint8)

        def put(number: int, index: int) -> None:
            photo = _decode(self._files[index], cv2.IMREAD_COLOR)
            height, width = photo.shape[:2]
            pixels = torch.from_numpy(np.ascontiguousarray(photo[:, :, ::-1]))
            out[number, :, :height, :width] = pixels.permute(2, 0, 1)

        if self.device.type == "cuda":
            with ThreadPoolExecutor() as pool:
                list(pool.map(put, range(len(indices)), indices.tolist()))
        else:  # the cores are busy with the network
            for number, index in enumerate(indices.tolist()):
                put(number, index)
        return out


def _decode(data: bytes, flags: int) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise DataError("a photo of the packs cannot be decoded")
    return image.astype(np.uint8)


@dataclass(frozen=True)
class TrainingData:
    """All packed photos on a device.

    Attributes:
        annotated: photos with part labels, of all parts of the split.
        cars: other photos of cars; those of "val" measure, and are never trained on.
        empty: photos without a car.
        damaged: photos of damage, of all parts of the split.
        labels: (n, side, side) uint8 label maps of the annotated photos, 255 ignored.
        damage: (n, side, side) uint8 label maps of damage of the damaged photos.
        device: holds the photos and the networks.
    """

    annotated: PhotoSet
    cars: PhotoSet
    empty: PhotoSet
    damaged: PhotoSet
    labels: Tensor
    damage: Tensor
    device: torch.device


def read_packs(
    folder: Path,
    device: torch.device,
    limit: int | None = None,
    needed: Collection[Kind] = ("annotated", "empty"),
) -> TrainingData:
    """Read the packs of a folder.

    Args:
        folder: holds `pack*.zip`, written by `training.pack`.
        device: see `TrainingData`.
        limit: maximum number of photos of each kind and part, for trials.
        needed: kinds of photos that must be there.

    Raises:
        DataError: there are no packs, or they lack a kind of photos.
    """
    rows: dict[Kind, list[Row]] = {kind: [] for kind in SIDES}
    files: dict[Kind, list[bytes]] = {kind: [] for kind in SIDES}
    maps: dict[Kind, list[bytes]] = {"annotated": [], "damaged": []}
    for path in sorted(folder.glob("pack*.zip"), key=lambda path: (len(path.name), path.name)):
        with zipfile.ZipFile(path) as pack:
            for fields in json.loads(pack.read("rows.json")):
                row = _row(fields)
                rows[row.kind].append(row)
                files[row.kind].append(pack.read(row.photo))
                if row.labels is not None:
                    maps[row.kind].append(pack.read(row.labels))
    if not all(rows[kind] for kind in needed):
        raise DataError(f"{folder} holds no packs, or not all of them; see training/README.md")
    kept = {kind: _some(rows[kind], limit) for kind in rows}
    sets = {
        kind: PhotoSet(
            [rows[kind][i] for i in kept[kind]],
            [files[kind][i] for i in kept[kind]],
            SIDES[kind],
            device,
        )
        for kind in rows
    }
    labels, damage = (
        _label_maps([files[i] for i in kept[kind]], SIDES[kind]).to(device)
        for kind, files in maps.items()
    )
    annotated, cars, empty, damaged = (sets[kind] for kind in SIDES)
    return TrainingData(annotated, cars, empty, damaged, labels, damage, device)


def _row(fields: dict[str, object]) -> Row:
    box = fields.pop("box")
    missing, damage = fields.pop("missing"), fields.pop("damage")
    assert isinstance(missing, list)
    assert isinstance(damage, list)
    corners = tuple(box) if isinstance(box, list) else None
    return Row(**fields, box=corners, missing=tuple(missing), damage=tuple(damage))  # type: ignore[arg-type]


def _some(rows: Sequence[Row], limit: int | None) -> list[int]:
    """Return the indices of at most `limit` rows of each part, spread evenly."""
    if limit is None:
        return list(range(len(rows)))
    chosen: list[int] = []
    for part in ("train", "calibration", "val"):
        members = [index for index, row in enumerate(rows) if row.part == part]
        places = np.linspace(0, len(members) - 1, min(limit, len(members)))
        chosen += [members[place] for place in places.astype(int).tolist()]
    return sorted(chosen)


def _label_maps(files: Sequence[bytes], side: int) -> Tensor:
    maps = torch.zeros((len(files), side, side), dtype=torch.uint8)
    for number, data in enumerate(files):
        labels = _decode(data, cv2.IMREAD_GRAYSCALE)
        maps[number, : labels.shape[0], : labels.shape[1]] = torch.from_numpy(labels)
    return maps
