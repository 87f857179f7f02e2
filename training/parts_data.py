"""Photos with part labels: annotated ones, ones labelled by a teacher, and ones without a car."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from img_to_segments import PART_NAMES

IGNORE = 255
VALIDATION_SHARE = 0.15

# The label that each label becomes in a mirrored photo: left and right change places.
FLIPPED = np.arange(256, dtype=np.uint8)
for _label, _name in enumerate(PART_NAMES, start=1):
    _other = {"left": "right", "right": "left"}
    _mirrored = "_".join(_other.get(word, word) for word in _name.split("_"))
    FLIPPED[_label] = PART_NAMES.index(_mirrored) + 1


def area_of(longest: int) -> int:
    """Pixels of an input in which a 4:3 photo's longest side is `longest`.

    One column of 32-pixel cells more, so that 3:2 and square photos fill theirs, too.
    """
    return (longest + 32) * (longest * 3 // 4)


@dataclass(frozen=True)
class PartsSample:
    """One photo and where its labels are.

    Attributes:
        image: the photo's file.
        labels: PNG label map of the same size (255 is ignored); None for no car at all.
        kind: "annotated", "pseudo" (labelled by a teacher) or "empty" (no car).
        squashed: the photo was squashed to a square and has lost its width.
        rare: holds one of the rare parts (tailgate, trunk).
    """

    image: Path
    labels: Path | None
    kind: str
    squashed: bool = False
    rare: bool = False


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A photo as (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: if it can't be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(path)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8)


def read_labels(path: Path | None, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A label map (H, W) uint8; all background where there is no file.

    Raises:
        FileNotFoundError: if the file can't be read.
    """
    if path is None:
        return np.zeros(shape, np.uint8)
    labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if labels is None:
        raise FileNotFoundError(path)
    return labels.astype(np.uint8)


def rasterise_coco(annotations: Path, out: Path) -> list[Path]:
    """Write a PNG label map for each photo of a COCO file of polygons.

    Categories are matched to PART_NAMES by name; others are left out. Where annotations
    overlap the smaller one lies on top, since lights and mirrors stand before panels.

    Returns:
        The label maps, in the order of the file's `images`.
    """
    out.mkdir(parents=True, exist_ok=True)
    coco = json.loads(annotations.read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in coco["categories"]}
    by_photo: dict[int, list[dict[str, Any]]] = {}
    for annotation in coco["annotations"]:
        by_photo.setdefault(annotation["image_id"], []).append(annotation)
    paths = []
    for photo in coco["images"]:
        labels = np.zeros((photo["height"], photo["width"]), np.uint8)
        for item in sorted(by_photo.get(photo["id"], []), key=lambda a: -a["area"]):
            name = names[item["category_id"]]
            if name in PART_NAMES:
                _draw(labels, item["segmentation"], PART_NAMES.index(name) + 1)
        path = out / (Path(photo["file_name"]).stem + ".png")
        _write_png(path, labels)
        paths.append(path)
    return paths


def _write_png(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write a label map at one stroke: another training may be reading it."""
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
    """256-bit difference hash of an RGB photo: is each cell brighter than its left neighbour."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (size + 1, size), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits: NDArray[np.bool_] = (small[:, 1:] > small[:, :-1]).ravel()
    return bits


def near_duplicate_groups(images: list[Path], distance: int = 26) -> list[int]:
    """A group number per photo; photos whose hashes (mirrored too) are near share one."""
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
    """Whether a label map's file holds a tailgate or a trunk, which few photos do."""
    rare = {PART_NAMES.index("tailgate") + 1, PART_NAMES.index("trunk") + 1}
    return bool(rare & set(np.unique(read_labels(labels, (0, 0))).tolist()))


def annotated_samples(data: Path, cache: Path) -> tuple[list[PartsSample], list[PartsSample]]:
    """The annotated photos, split for training and validation by near-duplicate group.

    The split depends only on the data; it is written to `cache / "split.json"` once.
    """
    folder = data / "car_parts"
    paths = rasterise_coco(folder / "annotations.json", cache / "labels")
    coco = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    images = [folder / "images" / photo["file_name"] for photo in coco["images"]]
    split = cache / "split.json"
    if not split.exists():
        groups = near_duplicate_groups(images)
        order = np.random.default_rng(2024).permutation(sorted(set(groups)))
        chosen = set(order[: round(VALIDATION_SHARE * len(order))].tolist())
        names = [i.name for i, g in zip(images, groups, strict=True) if g in chosen]
        fresh = split.with_suffix(f".{os.getpid()}.new")
        fresh.write_text(json.dumps(sorted(names)), encoding="utf-8")
        fresh.replace(split)
    held_out = set(json.loads(split.read_text(encoding="utf-8")))
    train: list[PartsSample] = []
    val: list[PartsSample] = []
    for image, path in zip(images, paths, strict=True):
        sample = PartsSample(image, path, "annotated", squashed=True, rare=has_rare_part(path))
        (val if image.name in held_out else train).append(sample)
    return train, val
