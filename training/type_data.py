"""Crops for the car type classifier: tight crops, photos in context, and no cars at all."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from model_files import read_description
from training.parts_data import annotated_samples, read_labels
from training.photometric import change_light, change_quality, hide_patches

TYPES = ("convertible", "coupe", "hatchback", "pickup", "sedan", "suv", "van", "wagon")
NO_CAR = len(TYPES)
STREET_TYPES = Path(__file__).with_name("car_parts_types.csv")
STRETCH = 4 / 3  # what gives a squashed photo the width that most have


@dataclass(frozen=True)
class TypeSample:
    """A photo and the type of its car.

    Attributes:
        path: the photo's file.
        label: index in TYPES, or NO_CAR.
        box: of the car (x0, y0, x1, y1) in pixels, None for the whole photo.
        squashed: the photo was squashed to a square and has lost its width.
    """

    path: Path
    label: int
    box: tuple[float, float, float, float] | None = None
    squashed: bool = False


def list_samples(data: Path, part: str) -> list[TypeSample]:
    """All samples of `part` ("train" or "val") under the shared data folder.

    Photos without a car are split by name: every sixth goes to validation.
    """
    samples = [
        TypeSample(path, label)
        for label, name in enumerate(TYPES)
        for path in sorted((data / "car_types" / part / name).glob("*.jpg"))
    ]
    with (data / "car_types_in_context" / "labels.csv").open() as file:
        for row in csv.DictReader(file):
            if row["file"].startswith(part + "/"):
                box = (float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"]))
                path = data / "car_types_in_context" / row["file"]
                samples.append(TypeSample(path, TYPES.index(row["type"]), box))
    return samples + [TypeSample(path, NO_CAR) for path in list_empty(data, part)]


def list_street(data: Path, part: str, cache: Path) -> list[TypeSample]:
    """The photos of `part` with annotated car parts, whose types people have told by eye.

    They are photos by dealers and owners of cars that the other sets lack. They are split as
    for the part network (`parts_data.annotated_samples`). The box is that of the parts, with the
    margin that the service gives it.
    """
    train, val = annotated_samples(data, cache)
    with STREET_TYPES.open() as file:
        types = {row["file"]: TYPES.index(row["type"]) for row in csv.DictReader(file)}
    margin = read_description("types").input["margin"]
    samples = []
    for sample in train if part == "train" else val:
        if sample.image.name in types:
            box = car_box(read_labels(sample.labels, (0, 0)), margin)
            samples.append(TypeSample(sample.image, types[sample.image.name], box, squashed=True))
    return samples


def car_box(
    labels: NDArray[np.uint8], margin: dict[str, float]
) -> tuple[float, float, float, float]:
    """The box around all parts of a label map, grown by shares of its width and height."""
    ys, xs = np.nonzero(labels)
    x0, y0, x1, y1 = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    side, top, bottom = (margin[name] for name in ("side", "top", "bottom"))
    width, height = x1 - x0, y1 - y0
    return (
        float(x0 - side * width),
        float(y0 - top * height),
        float(x1 + side * width),
        float(y1 + bottom * height),
    )


def list_empty(data: Path, part: str) -> list[Path]:
    """Photos without a road vehicle of `part` ("train" or "val")."""
    paths = sorted((data / "not_cars").glob("*.jpg"))
    return [path for i, path in enumerate(paths) if (i % 6 == 0) == (part == "val")]


def jitter(matrix: NDArray[np.float64], rng: Generator) -> tuple[NDArray[np.float64], bool]:
    """A (2, 2) matrix that scales, stretches, turns and slants a little more, and half the time
    mirrors; and whether it does."""
    matrix = matrix * rng.uniform(0.7, 1.2)
    matrix = matrix @ np.diag([rng.uniform(0.85, 1.18), 1.0])
    angle = np.deg2rad(rng.normal(0.0, 4.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ matrix @ np.array([[1.0, rng.normal(0.0, 0.05)], [0.0, 1.0]])
    mirrors = bool(rng.random() < 0.5)
    return (matrix @ np.diag([-1.0, 1.0]) if mirrors else matrix), mirrors


def shift(size: tuple[int, int], rng: Generator) -> NDArray[np.float64]:
    """A way (x, y) to move by in an input of `size` (height, width)."""
    return np.multiply(rng.uniform(-0.07, 0.07, 2), size[::-1])


def warp(
    image: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    rng: Generator | None,
    stretch: float = 1.0,
) -> NDArray[np.uint8]:
    """Letterbox the box of a photo into (height, width), jittered where `rng` is given.

    `stretch` widens the photo first, in the mean where there is jitter.
    """
    height, width = size
    x0, y0, x1, y1 = box
    scale = min(width / ((x1 - x0) * stretch), height / (y1 - y0))
    matrix = np.array([[scale * stretch, 0.0], [0.0, scale]])
    centre = np.array([width / 2, height / 2])
    if rng is not None:
        matrix, _ = jitter(matrix, rng)
        centre = centre + shift(size, rng)
    offset = centre - matrix @ np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    affine = np.hstack([matrix, offset[:, None]])
    shrink = float(np.sqrt(abs(np.linalg.det(matrix))))
    if shrink < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / shrink).astype(np.uint8)
    out = cv2.warpAffine(image, affine, (width, height), borderValue=(127, 127, 127))
    return out.astype(np.uint8)


class TypeDataset(Dataset[tuple[Tensor, int]]):
    """Inputs (3, H, W) float in the network's range, with their label.

    Args:
        samples: see `list_samples`.
        size: (height, width) of the network's input.
        epoch: seeds the augmentation; None for validation, without augmentation.
    """

    def __init__(
        self, samples: list[TypeSample], size: tuple[int, int], epoch: int | None = None
    ) -> None:
        self.samples, self.size, self.epoch = samples, size, epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample = self.samples[index]
        bgr = cv2.imread(str(sample.path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise FileNotFoundError(sample.path)
        image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8)
        height, width = image.shape[:2]
        box = sample.box or (0.0, 0.0, float(width), float(height))
        stretch = STRETCH if sample.squashed else 1.0
        if self.epoch is None:
            out = warp(image, box, self.size, None, stretch)
        else:
            rng = np.random.default_rng((self.epoch, index))
            if sample.label == NO_CAR:
                box = _random_box(width, height, rng)
            out = warp(image, box, self.size, rng, stretch)
            out = change_quality(change_light(out, rng), rng)
            if rng.random() < 0.25:
                out = hide_patches(out, rng)
        tensor = torch.from_numpy(out).permute(2, 0, 1).float()
        return (tensor - 127.0) / 128.0, sample.label


def _random_box(width: int, height: int, rng: Generator) -> tuple[float, float, float, float]:
    """A box of any place and size, as a part network would wrongly find."""
    w, h = width * rng.uniform(0.25, 1.0), height * rng.uniform(0.25, 1.0)
    x, y = rng.uniform(0.0, width - w), rng.uniform(0.0, height - h)
    return x, y, x + w, y + h
