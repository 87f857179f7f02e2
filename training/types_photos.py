"""List the cars that the type network learns from: box, type, doors, and how often each is drawn.

A street photo's box is where the part network sees a car. People noted only certain two-door cars
there, so four doors follow from the type, or from a back door that the part network sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.pack import Box, Row
from training.photos import TrainingData
from training.split import Part
from training.teacher_labels import Found
from training.type_data import NO_CAR
from training.weights import MARGIN
from vision.labels import TYPE_NAMES

ANY = NO_CAR + 1  # a close-up: any type
SOFT = ANY + 1  # a type that a teacher tells softly
UNKNOWN = -1  # number of doors
ANNOTATED, CARS, EMPTY = range(3)  # sets of photos

# How often a photo is drawn relative to others of its class.
_WEIGHTS = {"car_parts": 5.0, "street": 3.0, "car_types_in_context": 2.0, "car_types": 1.0}
_CLOSE_UP = 0.25
# How much more often a class is drawn than by the square root of its size.
_MORE = np.array([1.0, 1.15, 1.4, 1.0, 1.0, 1.0, 1.0, 1.6, 1.0, 1.0])
_FOUR_DOORS = ("sedan", "suv", "wagon")  # unless it is noted that they have two
_UNCLEAR = ("coupe", "convertible")  # a few have four doors
_BACK_DOOR = 0.03  # of the car, so that it is no false find
_CAR = 0.05  # share of a photo from which a car is worth a teacher's answer


@dataclass(frozen=True)
class CarPhotos:
    """Cars (n), or boxes without one.

    Attributes:
        sets: (n,) ANNOTATED, CARS or EMPTY.
        indices: (n,) in that set.
        boxes: (n, 4) in pixels.
        labels: (n,) a type, NO_CAR, ANY or SOFT.
        doors: (n,) 1 for two, 0 for four, UNKNOWN.
        weights: (n,) see `shares`.
        softs: (n, 9) probabilities of types and no car, of the SOFT ones.
    """

    sets: NDArray[np.int64]
    indices: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    doors: NDArray[np.int64]
    weights: NDArray[np.float64]
    softs: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.sets)

    def of(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> CarPhotos:
        """Return some of the cars."""
        return CarPhotos(*(column[chosen] for column in self._columns()))

    def joined(self, others: CarPhotos) -> CarPhotos:
        """Return these cars and others."""
        pairs = zip(self._columns(), others._columns(), strict=True)
        return CarPhotos(*(np.concatenate(pair) for pair in pairs))

    def _columns(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]

    def classes(self) -> NDArray[np.int64]:
        """Return the labels (n,), with the most likely type of the SOFT ones."""
        return np.where(self.labels == SOFT, self.softs[:, :NO_CAR].argmax(1), self.labels)

    def shares(self) -> NDArray[np.float64]:
        """Return the probability (n,) that a draw takes each car."""
        classes = self.classes()
        counts = np.maximum(np.bincount(classes, minlength=len(_MORE)), 1)
        weights = self.weights / np.sqrt(counts[classes]) * _MORE[classes]
        return np.asarray(weights / weights.sum())

    def targets(self) -> NDArray[np.float32]:
        """Return the wanted probabilities (n, 9) of types and no car, smoothed."""
        smooth = np.eye(NO_CAR + 1) * 0.9 + 0.1 / (NO_CAR + 1)
        any_type = np.array([[1 / NO_CAR] * NO_CAR + [0.0]])
        table = np.concatenate([smooth, any_type, any_type])[self.labels]
        soft = self.labels == SOFT
        return np.where(soft[:, None], self.softs, table).astype(np.float32)


def list_cars(data: TrainingData, found: Found, part: Part) -> CarPhotos:
    """Return the cars of one part of the split whose type is known, and boxes without a car.

    Args:
        data: all photos.
        found: where a part network sees the cars of `data.cars`.
        part: "train", or "val" to measure.
    """
    lines = _annotated(data, part) + _cars(data, found, part) + _without_car(data, part)
    return _table(lines)


def list_untyped(data: TrainingData, found: Found) -> CarPhotos:
    """Return the street photos for training whose type is unknown."""
    lines = []
    for index, row in enumerate(data.cars.rows):
        if row.source == "street" and row.type is None and not row.close_up:
            box = _with_margin(found.boxes[index])
            if box is not None and found.area[index] > _CAR:
                doors = street_doors(row, float(found.back_doors[index]))
                lines.append(_Line(CARS, index, box, SOFT, doors, 1.0))
    return _table(lines)


def taught(cars: CarPhotos, chances: Tensor) -> CarPhotos:
    """Return the cars of which a teacher is fairly sure, with its probabilities (n, 9)."""
    values = chances.cpu().numpy()
    sure = (values[:, :NO_CAR].max(1) > 0.5) & (values[:, NO_CAR] < 0.2)
    return replace(cars.of(sure), softs=values[sure].astype(np.float32))


@dataclass(frozen=True)
class _Line:
    set_: int
    index: int
    box: Box
    label: int
    doors: int
    weight: float


def _annotated(data: TrainingData, part: Part) -> list[_Line]:
    return [
        _Line(ANNOTATED, index, row.box, TYPE_NAMES.index(row.type), _doors(row), _weight(row))
        for index, row in enumerate(data.annotated.rows)
        if row.part == part and row.type is not None and row.box is not None
    ]


def _cars(data: TrainingData, found: Found, part: Part) -> list[_Line]:
    lines = []
    for index, row in enumerate(data.cars.rows):
        whole: Box = (0.0, 0.0, float(row.width), float(row.height))
        if row.part != part:
            continue
        if row.close_up:
            lines.append(_Line(CARS, index, whole, ANY, UNKNOWN, _CLOSE_UP))
        elif row.type is not None:
            box: Box | None = row.box or whole
            doors = _doors(row)
            if row.source == "street":
                box = _with_margin(found.boxes[index])
                doors = street_doors(row, float(found.back_doors[index]))
            if box is not None:
                label = TYPE_NAMES.index(row.type)
                lines.append(_Line(CARS, index, box, label, doors, _weight(row)))
    return lines


def _without_car(data: TrainingData, part: Part) -> list[_Line]:
    return [
        _Line(EMPTY, index, (0.0, 0.0, float(row.width), float(row.height)), NO_CAR, UNKNOWN, 1.0)
        for index, row in enumerate(data.empty.rows)
        if row.part == part
    ]


def _weight(row: Row) -> float:
    return _WEIGHTS.get(row.source, 1.0)


def _doors(row: Row) -> int:
    return UNKNOWN if row.doors is None else int(row.doors == 2)


def street_doors(row: Row, back_door: float) -> int:
    """Return 1 for two side doors of a street photo's car, 0 for four, or UNKNOWN.

    Args:
        row: the facts.
        back_door: share of the car that the part network takes for a back door.
    """
    if row.doors == 2:
        return 1
    if row.type in _FOUR_DOORS:
        return 0
    if row.type in _UNCLEAR:
        return UNKNOWN
    return 0 if back_door > _BACK_DOOR else UNKNOWN


def _with_margin(box: NDArray[np.float32]) -> Box | None:
    """Return the box around the parts with the margin of the service, None if there is none."""
    x0, y0, x1, y1 = (float(value) for value in box)
    width, height = x1 - x0, y1 - y0
    if width <= 0 or height <= 0:
        return None
    side, top, bottom = (MARGIN[name] for name in ("side", "top", "bottom"))
    return x0 - side * width, y0 - top * height, x1 + side * width, y1 + bottom * height


def _table(lines: Sequence[_Line]) -> CarPhotos:
    return CarPhotos(
        np.array([line.set_ for line in lines], np.int64),
        np.array([line.index for line in lines], np.int64),
        np.array([line.box for line in lines], np.float64).reshape(-1, 4),
        np.array([line.label for line in lines], np.int64),
        np.array([line.doors for line in lines], np.int64),
        np.array([line.weight for line in lines], np.float64),
        np.zeros((len(lines), NO_CAR + 1), np.float32),
    )
