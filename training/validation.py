"""List the photos that no training has seen: those for validation, and those for calibration.

Validation photos can be split in two halves. Photos of the same car stay together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from segment_interface import Photo, decode_photo
from training.corrections import Correction, read_corrections
from training.damage_data import list_damaged
from training.parts_data import (
    annotated_photos,
    near_duplicate_groups,
    read_rgb,
    widen,
)
from training.split import Part
from training.type_data import TYPES, list_empty, list_samples, list_street

Kind = Literal["annotated", "cars", "street", "empty", "others", "damaged"]
Half = Literal["A", "B"]
Item = TypeVar("Item")

MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class ValidationPhoto:
    """A photo and the truth about its car.

    Attributes:
        path: the photo's file.
        kind: "annotated" (with parts), "cars" (`car_types`, `car_types_in_context`), "street",
            "empty" (no road vehicle), "others" (motorcycles and other vehicles) or "damaged"
            (with annotated damage).
        key: photos of the same car share it.
        type: one of TYPES; None if there is no car or its type is unknown.
        doors: side doors, 2 or 4, None if uncertain.
        labels: label map of an annotated photo, see `parts_data.PartsSample`.
        missing: as in `corrections.Correction`.
        squashed: true if the photo was squashed to a square.
    """

    path: Path
    kind: Kind
    key: str
    type: str | None = None
    doors: int | None = None
    labels: Path | None = None
    missing: tuple[str, ...] = ()
    squashed: bool = False

    def pixels(self) -> NDArray[np.uint8]:
        """Read the photo as (H, W, 3) uint8 RGB, widened to 4:3 if it was squashed.

        Raises:
            FileNotFoundError: it cannot be read.
        """
        rgb = read_rgb(self.path)
        return widen(rgb, cv2.INTER_LINEAR) if self.squashed else rgb

    def read(self) -> Photo:
        """Read the photo as the service reads an upload."""
        if self.squashed:
            return Photo.of(self.pixels())
        return decode_photo(self.path.read_bytes(), MAX_PIXELS)


def list_annotated_photos(data: Path, cache: Path, part: Part = "val") -> list[ValidationPhoto]:
    """Return the photos of one part of the split with annotated parts.

    Raises:
        DataError: see `parts_data.annotated_photos`.
    """
    corrections = read_corrections(data / "car_parts" / "corrections.json")
    photos = []
    for sample in annotated_photos(data, part, cache):
        correction = corrections.get(sample.image.name, Correction())
        photos.append(
            ValidationPhoto(
                sample.image,
                "annotated",
                sample.image.stem,
                type=correction.type,
                doors=correction.side_doors,
                labels=sample.labels,
                missing=sample.missing,
                squashed=sample.squashed,
            )
        )
    return photos


def list_car_photos(data: Path, part: Part = "val") -> list[ValidationPhoto]:
    """Return the photos of one part of the split of `car_types` and `car_types_in_context`.

    A car that is in both has the same key in both.
    """
    return [
        ValidationPhoto(
            sample.path,
            "cars",
            sample.path.stem,
            type=TYPES[sample.label],
            doors=sample.doors,
        )
        for sample in list_samples(data, part)
        if sample.label < len(TYPES)
    ]


def list_street_photos(data: Path, part: Part = "val") -> list[ValidationPhoto]:
    """Return the photos of streets and sellers of one part; near-duplicates share a key."""
    samples = list_street(data, part)
    groups = near_duplicate_groups([sample.path for sample in samples])
    return [
        ValidationPhoto(
            sample.path,
            "street",
            samples[group].path.stem,
            type=TYPES[sample.label],
            doors=sample.doors,
        )
        for sample, group in zip(samples, groups, strict=True)
    ]


def list_empty_photos(data: Path) -> list[ValidationPhoto]:
    """Return the validation photos without a car."""
    return [
        ValidationPhoto(path, "others" if path.parent.name == "not_cars_2" else "empty", path.stem)
        for path in list_empty(data, "val")
    ]


def list_damaged_photos(data: Path, part: Part = "val") -> list[ValidationPhoto]:
    """Return the photos of one part with annotated damage; those of one case share a key."""
    return [
        ValidationPhoto(photo.path, "damaged", photo.key)
        for photo in list_damaged(data)
        if photo.part == part
    ]


def in_half(photos: Sequence[ValidationPhoto], half: Half | None) -> list[ValidationPhoto]:
    """Return the photos of one half; None returns all.

    Each half has about the same number of photos of each kind, source and type. The half of a
    photo depends only on these and on the names of all photos of its kind.
    """
    if half is None:
        return list(photos)
    chosen: set[tuple[str, str]] = set()
    for kind in {photo.kind for photo in photos}:
        chosen |= {(kind, key) for key in _keys([p for p in photos if p.kind == kind], half)}
    return [photo for photo in photos if (photo.kind, photo.key) in chosen]


def _keys(photos: Sequence[ValidationPhoto], half: Half) -> list[str]:
    """Return the keys of one half of photos of one kind."""
    strata: dict[str, tuple[str, str]] = {}  # source and type of each car, by its first photo
    for photo in sorted(photos, key=lambda photo: photo.path):
        source = photo.path.stem.split("_")[0] if photo.kind == "street" else ""
        strata.setdefault(photo.key, (source, photo.type or ""))
    keys = sorted(strata)
    order = np.random.default_rng(2026).permutation(len(keys)).tolist()
    mixed = [keys[index] for index in order]
    mixed.sort(key=strata.__getitem__)  # a stable sort: within a stratum the order stays mixed
    return mixed[0 if half == "A" else 1 :: 2]


def some_of(items: Sequence[Item], count: int, seed: int = 0) -> list[Item]:
    """Return at most `count` items in their order, chosen with a fixed seed."""
    order = np.random.default_rng(seed).permutation(len(items))[:count]
    return [items[index] for index in sorted(order.tolist())]
