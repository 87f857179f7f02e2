"""Test what the type network is taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.tiny import write_data
from training.corrections import DataError
from training.pack import Row, list_sources, write_packs
from training.photos import TrainingData, read_packs
from training.precision import CPU
from training.teacher_labels import Found
from training.type_data import NO_CAR, TYPES
from training.types_photos import (
    ANY,
    CARS,
    SOFT,
    UNKNOWN,
    list_cars,
    list_untyped,
    street_doors,
    taught,
)
from training.types_training import TypesBatches, cut_photos, plain_warps
from training.weights import MARGIN, TYPES_SIZE
from vision.model_files import read_description

SEDAN, SUV = TYPES.index("sedan"), TYPES.index("suv")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("data")
    write_packs(list_sources(write_data(folder), folder / "cache"), folder / "packs")
    return read_packs(folder / "packs", CPU)


def found(data: TrainingData) -> Found:
    """Return cars that fill the same box of all photos."""
    count = len(data.cars)
    boxes = np.tile(np.array([16, 18, 80, 86], np.float32), (count, 1))
    ones = np.ones(count, np.float32)
    return Found(ones, ones * 0.5, boxes, ones * 0.1)


def test_margin_is_that_of_service() -> None:
    for name in ("types", "shapes"):
        assert read_description(name).input["margin"] == MARGIN


def test_cars_to_learn_from(data: TrainingData) -> None:
    cars = list_cars(data, found(data), "train")
    counts = np.bincount(cars.labels, minlength=SOFT + 1)
    assert counts[SEDAN] == 3 + 5  # crops, one of them uncropped, too, and annotated photos
    assert counts[SUV] == 3 + 1  # crops, and one of the street
    assert counts[ANY] == 2  # a close-up of damage and one of the street
    assert counts[NO_CAR] == len(data.empty.of_part("train"))
    assert (cars.doors[cars.labels == ANY] == UNKNOWN).all()
    assert cars.shares().sum() == pytest.approx(1)


def test_validation_cars_are_others(data: TrainingData) -> None:
    train, val = (list_cars(data, found(data), part) for part in ("train", "val"))
    places = [set(zip(c.sets.tolist(), c.indices.tolist(), strict=True)) for c in (train, val)]
    assert not places[0] & places[1]
    assert set(val.labels) == {SEDAN, SUV, TYPES.index("coupe"), NO_CAR}


def test_street_car_is_where_parts_are_seen(data: TrainingData) -> None:
    lost = replace(found(data), boxes=np.zeros((len(data.cars), 4), np.float32))
    seen, unseen = (list_cars(data, each, "train") for each in (found(data), lost))
    assert len(seen) == len(unseen) + 1
    street = [row.source == "street" for row in data.cars.rows]
    (index,) = np.flatnonzero(
        (seen.sets == CARS) & np.isin(seen.indices, np.flatnonzero(street)) & (seen.labels == SUV)
    )
    assert seen.boxes[index].tolist() == pytest.approx([13.44, 7.8, 82.56, 88.72], abs=0.01)


@pytest.mark.parametrize(
    ("known", "back_door", "doors"),
    [
        ({"doors": 2, "type": "sedan"}, 0.2, 1),
        ({"type": "suv"}, 0.0, 0),
        ({"type": "coupe"}, 0.2, UNKNOWN),
        ({"type": "hatchback"}, 0.2, 0),
        ({"type": "hatchback"}, 0.01, UNKNOWN),
        ({}, 0.2, 0),
    ],
)
def test_doors_of_street_cars(known: dict[str, object], back_door: float, doors: int) -> None:
    row = Row("x", "car", "train", "street", **known)  # type: ignore[arg-type]
    assert street_doors(row, back_door) == doors


def test_sure_teacher_tells_type(data: TrainingData) -> None:
    untyped = list_untyped(data, found(data))
    assert len(untyped) == 0  # the one street photo without a type is a close-up
    cars = list_cars(data, found(data), "train").of(np.arange(2))
    chances = torch.full((2, NO_CAR + 1), 0.02)
    chances[0, SUV], chances[1, SUV], chances[1, NO_CAR] = 0.84, 0.4, 0.46
    sure = taught(replace(cars, labels=np.full(2, SOFT)), chances)
    assert len(sure) == 1
    assert sure.classes().tolist() == [SUV]
    assert sure.targets()[0, SUV] == pytest.approx(0.84)
    assert len(cars.joined(sure)) == 3


def test_targets_sum_to_one(data: TrainingData) -> None:
    cars = list_cars(data, found(data), "train")
    np.testing.assert_allclose(cars.targets().sum(1), 1, atol=1e-6)


def test_inputs_are_those_of_service(data: TrainingData) -> None:
    """A drawn part of the car is where its box puts it."""
    cars = list_cars(data, found(data), "train")
    context = cars.of(np.flatnonzero((cars.boxes == [14, 18, 82, 88]).all(1)))
    seen = cut_photos(data, context, plain_warps(context.boxes, np.ones(1), TYPES_SIZE))
    assert seen.shape == (1, 3, *TYPES_SIZE)
    grey = (seen[0] == 127).all(0)
    width = (82 - 14) * TYPES_SIZE[0] / (88 - 18)
    assert grey.any(0).sum() == pytest.approx(0, abs=TYPES_SIZE[1])
    assert not grey[:, 144 - int(width / 2) + 2 : 144 + int(width / 2) - 2].all(0).any()


def test_batches(data: TrainingData) -> None:
    batches = TypesBatches(data, list_cars(data, found(data), "train"), 16, (48, 72))
    torch.manual_seed(0)
    x, types, two, known = batches.draw(np.random.default_rng(0))
    assert x.shape == (16, 3, 48, 72)
    torch.testing.assert_close(types.sum(1), torch.ones(16))
    assert set(known.tolist()) <= {0.0, 1.0}
    assert ((two >= 0) & (two <= 1)).all()


def test_data_without_packs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_packs(tmp_path, CPU)
