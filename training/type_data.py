"""List the photos for the car types: crops, in context, on streets, and without a car."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.corrections import read_corrections
from training.parts_data import IGNORE, annotated_photos, photos_in, read_labels
from training.split import Part, part_of
from vision.labels import TYPE_NAMES
from vision.model_files import read_description

TYPES = TYPE_NAMES
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


def list_samples(data: Path, part: Part) -> list[TypeSample]:
    """Return the samples of `car_types` and `car_types_in_context`, and those without a car."""
    table = read_table(data / "car_types" / "models.csv")
    doors = {row["photo"]: _number(row["side_doors"]) for row in table}
    folder = "val" if part == "val" else "train"
    samples = [
        TypeSample(path, label, doors=doors.get(path.stem))
        for label, name in enumerate(TYPES)
        for path in photos_in(data / "car_types" / folder / name)
        if part_of(path.stem, val=part == "val") == part
    ]
    for row in read_table(data / "car_types_in_context" / "labels.csv"):
        path = data / "car_types_in_context" / row["file"]
        if part_of(path.stem, val=row["file"].startswith("val/")) == part:
            box = (float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"]))
            label = TYPES.index(row["type"])
            samples.append(TypeSample(path, label, box, doors=doors.get(path.stem)))
    return samples + [TypeSample(path, NO_CAR) for path in list_empty(data, part)]


def list_annotated(data: Path, part: Part, cache: Path) -> list[TypeSample]:
    """Return the photos of `part` with annotated car parts and a known type.

    Dealers and owners took these photos. The box surrounds the parts, with the margin of the
    service.
    """
    corrections = read_corrections(data / "car_parts" / "corrections.json")
    margin = read_description("types").input["margin"]
    samples = []
    for sample in annotated_photos(data, part, cache):
        correction = corrections.get(sample.image.name)
        if correction is not None and correction.type is not None:
            box = car_box(read_labels(sample.labels), margin)
            label, doors = TYPES.index(correction.type), correction.side_doors
            samples.append(TypeSample(sample.image, label, box, True, True, doors))
    return samples


def list_street(data: Path, part: Part) -> list[TypeSample]:
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
        if row["type"] and part_of(Path(row["file"]).stem, val=row["split"] == "val") == part
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


def list_empty(data: Path, part: Part) -> list[Path]:
    """Return the photos without a car of one part of the split; every sixth is for validation.

    `not_cars` shows no road vehicles, `not_cars_2` motorcycles and other vehicles.
    """
    paths = photos_in(data / "not_cars") + photos_in(data / "not_cars_2")
    return [path for i, path in enumerate(paths) if part_of(path.stem, val=i % 6 == 0) == part]
