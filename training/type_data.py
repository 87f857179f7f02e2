"""Read photos for the car type classifier: crops, in context, on streets, and without a car."""

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

from training.corrections import read_corrections
from training.parts_data import IGNORE, STRETCH, annotated_samples, photos_in, read_labels
from training.photometric import change_light, change_quality, hide_patches
from vision.model_files import read_description

TYPES = ("convertible", "coupe", "hatchback", "pickup", "sedan", "suv", "van", "wagon")
NO_CAR = len(TYPES)


@dataclass(frozen=True)
class TypeSample:
    """A photo and the type of its car.

    Attributes:
        path: the photo's file.
        label: index in TYPES, or NO_CAR.
        box: of the car (x0, y0, x1, y1) in pixels, None for the whole photo.
        squashed: true if the photo was squashed to a square.
        street: true if the photo shows a car and is not from `car_types` or
            `car_types_in_context`, which share one source.
        doors: side doors of the car, 2 or 4, None if uncertain.
    """

    path: Path
    label: int
    box: tuple[float, float, float, float] | None = None
    squashed: bool = False
    street: bool = False
    doors: int | None = None

    @property
    def target(self) -> tuple[int, int]:
        """The label, and 1 for two doors, 0 for four, -1 if uncertain."""
        return self.label, {2: 1, 4: 0}.get(self.doors or 0, -1)


def list_samples(data: Path, part: str) -> list[TypeSample]:
    """Return the samples of one source, and those without a car, of `part` ("train" or "val")."""
    table = read_table(data / "car_types" / "models.csv")
    doors = {row["photo"]: _number(row["side_doors"]) for row in table}
    samples = [
        TypeSample(path, label, doors=doors.get(path.stem))
        for label, name in enumerate(TYPES)
        for path in photos_in(data / "car_types" / part / name)
    ]
    for row in read_table(data / "car_types_in_context" / "labels.csv"):
        if row["file"].startswith(part + "/"):
            box = (float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"]))
            path = data / "car_types_in_context" / row["file"]
            label = TYPES.index(row["type"])
            samples.append(TypeSample(path, label, box, doors=doors.get(path.stem)))
    return samples + [TypeSample(path, NO_CAR) for path in list_empty(data, part)]


def list_annotated(data: Path, part: str, cache: Path) -> list[TypeSample]:
    """Return the photos of `part` with annotated car parts and a known type.

    Dealers and owners took these photos. The split is that of the part network
    (`parts_data.annotated_samples`). The box surrounds the parts, with the margin of the service.
    """
    train, val = annotated_samples(data, cache)
    corrections = read_corrections(data / "car_parts" / "corrections.json")
    margin = read_description("types").input["margin"]
    samples = []
    for sample in train if part == "train" else val:
        correction = corrections.get(sample.image.name)
        if correction is not None and correction.type is not None:
            box = car_box(read_labels(sample.labels, (0, 0)), margin)
            label, doors = TYPES.index(correction.type), correction.side_doors
            samples.append(TypeSample(sample.image, label, box, True, True, doors))
    return samples


def list_street(data: Path, part: str) -> list[TypeSample]:
    """Return the photos of streets and sellers of `part` with a known type.

    The boxes of the cars are unknown. Photos of Open Images (`openimages_`), which are squashed to
    squares, have no type and are in no part.
    """
    folder = data / "street" / "images"
    return [
        TypeSample(
            folder / row["file"],
            TYPES.index(row["type"]),
            street=True,
            doors=_number(row["side_doors"]),
        )
        for row in read_table(data / "street" / "labels.csv")
        if row["type"] and row["split"] == part
    ]


def read_table(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file; no rows if the file does not exist."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8") as rows:
        return list(csv.DictReader(rows))


def _number(text: str) -> int | None:
    return int(text) if text else None


def car_box(
    labels: NDArray[np.uint8], margin: dict[str, float]
) -> tuple[float, float, float, float]:
    """Return the box around all parts of a label map, grown by shares of its width and height."""
    ys, xs = np.nonzero((labels > 0) & (labels != IGNORE))
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
    """Return the photos without a car of `part` ("train" or "val"); every sixth is for validation.

    `not_cars` shows no road vehicles, `not_cars_2` motorcycles and other vehicles.
    """
    paths = photos_in(data / "not_cars") + photos_in(data / "not_cars_2")
    return [path for i, path in enumerate(paths) if (i % 6 == 0) == (part == "val")]


def jitter(matrix: NDArray[np.float64], rng: Generator) -> tuple[NDArray[np.float64], bool]:
    """Return a (2, 2) matrix of small random changes, and True if it mirrors.

    It scales, stretches, turns and slants, and mirrors half the time.
    """
    matrix = matrix * rng.uniform(0.7, 1.2)
    matrix = matrix @ np.diag([rng.uniform(0.85, 1.18), 1.0])
    angle = np.deg2rad(rng.normal(0.0, 4.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ matrix @ np.array([[1.0, rng.normal(0.0, 0.05)], [0.0, 1.0]])
    mirrors = bool(rng.random() < 0.5)
    return (matrix @ np.diag([-1.0, 1.0]) if mirrors else matrix), mirrors


def shift(size: tuple[int, int], rng: Generator) -> NDArray[np.float64]:
    """Return a random shift (x, y) in an input of `size` (height, width)."""
    return np.multiply(rng.uniform(-0.07, 0.07, 2), size[::-1])


def warp(
    image: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    rng: Generator | None,
    stretch: float = 1.0,
) -> NDArray[np.uint8]:
    """Letterbox the box of a photo into (height, width), jittered if `rng` is given.

    `stretch` widens the photo first; with jitter it is the mean.
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


class TypeDataset(Dataset[tuple[Tensor, Tensor]]):
    """Inputs (3, H, W) float in the network's range, with `TypeSample.target` (2,) int64.

    Args:
        samples: see `list_samples`.
        size: (height, width) of the network's input.
        epoch: seed of the augmentation; None for validation, without augmentation.
    """

    def __init__(
        self, samples: list[TypeSample], size: tuple[int, int], epoch: int | None = None
    ) -> None:
        self.samples, self.size, self.epoch = samples, size, epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
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
        return (tensor - 127.0) / 128.0, torch.tensor(sample.target)


def _random_box(width: int, height: int, rng: Generator) -> tuple[float, float, float, float]:
    """Return a box of random place and size, like a false find of a part network."""
    w, h = width * rng.uniform(0.25, 1.0), height * rng.uniform(0.25, 1.0)
    x, y = rng.uniform(0.0, width - w), rng.uniform(0.0, height - h)
    return x, y, x + w, y + h
