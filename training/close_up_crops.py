"""Choose the parts that a part network is shown from near, and the whole photos between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.panel_crops import ANNOTATED, CAR, EMPTY, Views
from training.part_boxes import Boxes, PartBoxes, annotated_parts, random_boxes, taught_parts
from training.photos import Indices, TrainingData
from training.teacher_labels import SoftLabels


@dataclass(frozen=True)
class CropPlan:
    """The crops of a training, in random order.

    Attributes:
        rows: (n, 2) kind and photo of each crop.
        boxes: (n, 4), see `panel_crops.Crops`.
    """

    rows: NDArray[np.int64]
    boxes: Boxes


def plan_close_ups(
    data: TrainingData, soft: SoftLabels, near: Views, whole: Views, seed: int
) -> CropPlan:
    """Return the crops in random order: parts from near, and whole photos.

    Args:
        data: all photos; those of "train" are chosen.
        soft: a teacher's labels of some photos of cars, whose parts are chosen.
        near: numbers of close-ups.
        whole: numbers of whole photos.
        seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    train = [s.of_part("train") for s in (data.annotated, data.cars, data.empty)]
    found = {
        ANNOTATED: annotated_parts(data.labels, train[ANNOTATED]),
        CAR: taught_parts(soft, train[CAR]),
    }
    rows, boxes = [], []
    for kind, count in ((ANNOTATED, near.annotated), (CAR, near.cars)):
        chosen = _by_group(found[kind], count, rng)
        rows += [(kind, found[kind].photos[index]) for index in chosen]
        boxes += [found[kind].boxes[index] for index in chosen]
    for index in rng.choice(train[EMPTY], near.empty).tolist():
        rows.append((EMPTY, index))
        boxes.append(tuple(random_boxes(data.empty.sizes[[index]], rng)[0].tolist()))
    for kind, count in enumerate((whole.annotated, whole.cars, whole.empty)):
        for index in rng.choice(train[kind], count).tolist() if len(train[kind]) else ():
            rows.append((kind, index))
            boxes.append((np.nan,) * 4)
    order = rng.permutation(len(rows))
    return CropPlan(np.array(rows, np.int64)[order], np.array(boxes, np.float64)[order])


def _by_group(parts: PartBoxes, count: int, rng: Generator) -> list[int]:
    """Return indices of parts; each group has its share, and its parts are taken in turn."""
    chosen: list[int] = []
    for group, share in parts.shares().items():
        members, wanted = np.flatnonzero(np.array(parts.groups) == group), round(share * count)
        rounds = [rng.permutation(members) for _ in range(wanted // len(members) + 1)]
        chosen += np.concatenate(rounds)[:wanted].tolist()
    return chosen


def choose_cars(data: TrainingData, count: int, seed: int) -> Indices:
    """Return photos of cars for training, those of damage left out, since many are close-ups."""
    train = data.cars.of_part("train").tolist()
    known = [index for index in train if data.cars.rows[index].source != "damage"]
    rng = np.random.default_rng((seed, 1))
    return np.sort(rng.permutation(np.array(known, np.int64))[:count])
