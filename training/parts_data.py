"""Read annotated photos: their label maps, with corrections and body panels."""

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

from training.corrections import Correction, DataError, read_corrections
from training.split import VALIDATION, Part, part_of, validation_names
from vision.labels import PANELS, PART_NAMES, label_of

IGNORE = 255
STRETCH = 4 / 3  # the annotated photos are squares; real ones are about this wide

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

# Maps each label to its label in a mirrored photo: left and right are swapped.
FLIPPED = np.arange(256, dtype=np.uint8)
for _label, _name in enumerate(PART_NAMES, start=1):
    _other = {"left": "right", "right": "left"}
    _mirrored = "_".join(_other.get(word, word) for word in _name.split("_"))
    FLIPPED[_label] = label_of(_mirrored)


@dataclass(frozen=True)
class PartsSample:
    """An annotated photo and the file of its labels.

    Attributes:
        image: the photo's file.
        labels: PNG label map of the same size; 255 is ignored.
        squashed: true if the photo was squashed to a square.
        rare: true if it shows one of the rare parts (tailgate, trunk).
        missing: visible parts without a label.
    """

    image: Path
    labels: Path
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


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read a label map (H, W) uint8.

    Raises:
        FileNotFoundError: the file cannot be read.
    """
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
    annotations: Path,
    out: Path,
    corrections: Mapping[str, Correction] | None = None,
    panels: Path | None = None,
) -> list[Path]:
    """Write a PNG label map for each photo of a COCO file of polygons; see `read_coco`.

    If annotations overlap, the smaller one is drawn on top, since lights and mirrors are in front
    of panels. Annotations that cover something else become 255. The panels fill what is left.

    Args:
        annotations: the COCO file.
        out: folder of the label maps.
        corrections: by file name of the photo.
        panels: folder of the masks of body panels, see `add_panels`.

    Returns:
        The label maps, in the order of the file's `images`.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for photo in read_coco(annotations, corrections):
        labels = np.zeros((photo.height, photo.width), np.uint8)
        for part in photo.annotations:
            label = IGNORE if part.ignored else label_of(part.name)
            draw_polygons(labels, part.polygons, label)
        path = out / (Path(photo.file).stem + ".png")
        if panels is not None and (panels / path.name).exists():
            labels = add_panels(labels, read_labels(panels / path.name))
        _write_png(path, labels)
        paths.append(path)
    return paths


def add_panels(labels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add the body panels to a label map, where no annotated part is.

    Panels that are not in PART_NAMES stay background.

    Args:
        labels: (H, W) uint8, 255 ignored.
        mask: (H, W) uint8: 0 none, 1 to 7 the index in PANELS plus 1, 255 unknown.

    Returns:
        The new label map. Unknown pixels become 255 if any panel is in PART_NAMES.
    """
    known = np.zeros(256, np.uint8)
    for index, name in enumerate(PANELS, start=1):
        if name in PART_NAMES:
            known[index] = label_of(name)
    if not known.any():
        return labels
    known[IGNORE] = IGNORE
    free = (labels == 0) | ((labels == IGNORE) & (mask != IGNORE) & (known[mask] > 0))
    return np.where(free, known[mask], labels).astype(np.uint8)


def _write_png(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write a label map atomically, since another training run may read it."""
    fresh = path.with_name(f"{path.stem}.{os.getpid()}.new.png")
    cv2.imwrite(str(fresh), labels)
    fresh.replace(path)


def draw_polygons(labels: NDArray[np.uint8], polygons: list[list[float]], label: int) -> None:
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
    return bool(rare & set(np.unique(read_labels(labels)).tolist()))


def annotated_photos(data: Path, part: Part, cache: Path) -> list[PartsSample]:
    """Return the annotated photos of one part of the split, with corrected labels.

    Label maps are written to `cache / "labels"`.

    Raises:
        DataError: the corrections cannot be used, or there are no validation photos.
    """
    folder = data / "car_parts"
    corrections = read_corrections(folder / "corrections.json")
    document, masks = folder / "annotations.json", folder / "panels"
    paths = rasterise_coco(document, cache / "labels", corrections, masks)
    held_out = set(validation_names())
    photos = read_coco(document)
    if held_out.isdisjoint(photo.file for photo in photos):
        raise DataError(f"{document} names none of the photos in training/{VALIDATION.name}")
    samples = []
    for photo, path in zip(photos, paths, strict=True):
        if part_of(path.stem, val=photo.file in held_out) != part:
            continue
        missing = corrections.get(photo.file, Correction()).missing
        if not (masks / path.name).exists():
            missing += tuple(name for name in PANELS if name in PART_NAMES)
        image = folder / "images" / photo.file
        rare = has_rare_part(path)
        samples.append(PartsSample(image, path, True, rare, missing))
    return samples
