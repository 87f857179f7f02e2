"""Read photos with part labels: annotated, labelled by a teacher, or without a car."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from img_to_segments import PART_NAMES
from training.corrections import Correction, DataError, read_corrections
from vision.labels import label_of

IGNORE = 255
STRETCH = 4 / 3  # the annotated photos are squares; real ones are about this wide
VALIDATION = Path(__file__).with_name("validation_photos.json")

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

# Maps each label to its label in a mirrored photo: left and right are swapped.
FLIPPED = np.arange(256, dtype=np.uint8)
for _label, _name in enumerate(PART_NAMES, start=1):
    _other = {"left": "right", "right": "left"}
    _mirrored = "_".join(_other.get(word, word) for word in _name.split("_"))
    FLIPPED[_label] = label_of(_mirrored)


def area_of(longest: int) -> int:
    """Return the area in pixels of an input whose 4:3 photo has a longest side of `longest`.

    It includes one more column of 32-pixel cells, so that 3:2 and square photos fill their input.
    """
    return (longest + 32) * (longest * 3 // 4)


@dataclass(frozen=True)
class PartsSample:
    """A photo and the file of its labels.

    Attributes:
        image: the photo's file.
        labels: PNG label map of the same size (255 is ignored); None for a photo without a car.
        kind: "annotated", "pseudo" (labelled by a teacher) or "empty" (no car).
        squashed: true if the photo was squashed to a square.
        rare: true if it shows one of the rare parts (tailgate, trunk).
        missing: visible parts without a label.
    """

    image: Path
    labels: Path | None
    kind: str
    squashed: bool = False
    rare: bool = False
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Annotation:
    """One annotated part of a photo.

    Attributes:
        name: one of PART_NAMES.
        polygons: x, y, x, y, ... in pixels of the photo, corner coordinates.
        ignored: true if the outline covers something else.
    """

    name: str
    polygons: list[list[float]]
    ignored: bool = False

    def box(self) -> tuple[float, float, float, float]:
        """Return x0, y0, x1, y1 around all polygons, in pixels."""
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in self.polygons])
        (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
        return x0, y0, x1, y1


@dataclass(frozen=True)
class AnnotatedPhoto:
    """A photo of a COCO file with its parts, the largest first."""

    file: str
    height: int
    width: int
    annotations: list[Annotation]


def photos_in(folder: Path) -> list[Path]:
    """Return the JPEG, PNG and WebP files of a folder, sorted by name."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)


def widen(image: NDArray[np.uint8], interpolation: int) -> NDArray[np.uint8]:
    """Widen a photo or label map that was squashed to a square to the width of a real photo."""
    size = (round(image.shape[1] * STRETCH), image.shape[0])
    return cv2.resize(image, size, interpolation=interpolation).astype(np.uint8)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a photo as (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: the file cannot be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(path)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8)


def read_labels(path: Path | None, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a label map (H, W) uint8; without a file all of it is background.

    Raises:
        FileNotFoundError: the file cannot be read.
    """
    if path is None:
        return np.zeros(shape, np.uint8)
    labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if labels is None:
        raise FileNotFoundError(path)
    return labels.astype(np.uint8)


def read_coco(
    annotations: Path, corrections: Mapping[str, Correction] | None = None
) -> list[AnnotatedPhoto]:
    """Read the photos of a COCO file of polygons, in the order of its `images`.

    Categories are matched to PART_NAMES by name, after the corrections; others are ignored.

    Args:
        annotations: the COCO file.
        corrections: by file name of the photo.
    """
    coco = json.loads(annotations.read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in coco["categories"]}
    by_photo: dict[int, list[dict[str, Any]]] = {}
    for item in coco["annotations"]:
        by_photo.setdefault(item["image_id"], []).append(item)
    photos = []
    for photo in coco["images"]:
        correction = (corrections or {}).get(photo["file_name"], Correction())
        parts = []
        for item in sorted(by_photo.get(photo["id"], []), key=lambda a: -a["area"]):
            annotated = names[item["category_id"]]
            name = correction.name_of(annotated)
            if name in PART_NAMES:
                parts.append(Annotation(name, item["segmentation"], annotated in correction.bad))
        photos.append(AnnotatedPhoto(photo["file_name"], photo["height"], photo["width"], parts))
    return photos


def rasterise_coco(
    annotations: Path, out: Path, corrections: Mapping[str, Correction] | None = None
) -> list[Path]:
    """Write a PNG label map for each photo of a COCO file of polygons; see `read_coco`.

    If annotations overlap, the smaller one is drawn on top, since lights and mirrors are in front
    of panels. Annotations that cover something else become 255.

    Returns:
        The label maps, in the order of the file's `images`.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for photo in read_coco(annotations, corrections):
        labels = np.zeros((photo.height, photo.width), np.uint8)
        for part in photo.annotations:
            label = IGNORE if part.ignored else label_of(part.name)
            _draw(labels, part.polygons, label)
        path = out / (Path(photo.file).stem + ".png")
        _write_png(path, labels)
        paths.append(path)
    return paths


def _write_png(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write a label map atomically, since another training run may read it."""
    fresh = path.with_name(f"{path.stem}.{os.getpid()}.new.png")
    cv2.imwrite(str(fresh), labels)
    fresh.replace(path)


def _draw(labels: NDArray[np.uint8], polygons: list[list[float]], label: int) -> None:
    """Fill COCO polygons (pixel-corner coordinates) into a label map, in place."""
    shift = 4  # sub-pixel bits of cv2
    for polygon in polygons:
        corners = np.array(polygon, np.float64).reshape(-1, 2) - 0.5
        points = np.round(corners * (1 << shift)).astype(np.int32)
        cv2.fillPoly(labels, [points], int(label), shift=shift)


def difference_hash(image: NDArray[np.uint8], size: int = 16) -> NDArray[np.bool_]:
    """Return the 256-bit difference hash of an RGB photo: True for cells brighter than the left."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (size + 1, size), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits: NDArray[np.bool_] = (small[:, 1:] > small[:, :-1]).ravel()
    return bits


def near_duplicate_groups(images: list[Path], distance: int = 26) -> list[int]:
    """Return a group number per photo; photos with similar hashes (mirrored too) share one."""
    photos = [read_rgb(path) for path in images]
    plain = np.array([difference_hash(photo) for photo in photos])
    mirrored = np.array([difference_hash(photo[:, ::-1].copy()) for photo in photos])
    groups = list(range(len(images)))
    for i in range(len(images)):
        for hashes in (plain, mirrored):
            for j in np.flatnonzero((hashes[i] != plain).sum(1) <= distance):
                low, high = sorted((groups[i], groups[int(j)]))
                groups = [low if group == high else group for group in groups]
    return groups


def has_rare_part(labels: Path) -> bool:
    """Return True if the label map in a file holds a tailgate or a trunk, which are rare."""
    rare = {label_of("tailgate"), label_of("trunk")}
    return bool(rare & set(np.unique(read_labels(labels, (0, 0))).tolist()))


def annotated_samples(data: Path, cache: Path) -> tuple[list[PartsSample], list[PartsSample]]:
    """Return the annotated photos for training and for validation, with corrected labels.

    The validation photos are those named in `validation_photos.json`. They are fixed, so that no
    training run behind the present networks has seen them. Label maps are written to
    `cache / "labels"`.

    Raises:
        DataError: the corrections cannot be used, or there are no validation photos.
    """
    folder = data / "car_parts"
    corrections = read_corrections(folder / "corrections.json")
    document = folder / "annotations.json"
    paths = rasterise_coco(document, cache / "labels", corrections)
    held_out = set(validation_names())
    train: list[PartsSample] = []
    val: list[PartsSample] = []
    for photo, path in zip(read_coco(document), paths, strict=True):
        sample = PartsSample(
            folder / "images" / photo.file,
            path,
            "annotated",
            squashed=True,
            rare=has_rare_part(path),
            missing=corrections.get(photo.file, Correction()).missing,
        )
        (val if photo.file in held_out else train).append(sample)
    if not val:
        raise DataError(f"{document} names none of the photos in training/{VALIDATION.name}")
    return train, val


def validation_names() -> list[str]:
    """Return the file names of the annotated photos that are reserved for validation."""
    names: list[str] = json.loads(VALIDATION.read_text(encoding="utf-8"))
    return names
