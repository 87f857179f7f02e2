"""Measure networks on photos that they have not learned from, right after their training.

These figures are of the networks alone. Those of the service are made by `training.evaluate`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.layout_training import layout_logits
from training.layouts import Layouts
from training.parts_metrics import PartScores
from training.photos import TrainingData
from training.split import Part
from training.teacher_labels import find_street_cars, see_whole
from training.type_data import NO_CAR
from training.types_photos import UNKNOWN, CarPhotos, list_cars
from training.types_training import type_logits
from training.warps import on_canvas
from training.weights import PARTS_SIZE, predict
from vision.labels import PANELS, PART_NAMES, TYPE_NAMES

Figures = dict[str, float]


@torch.no_grad()
def check_parts(data: TrainingData, network: nn.Module, part: Part, batch: int) -> Figures:
    """Return figures of a part network on annotated photos, with the corrections applied.

    `miou` is that of the 18 parts, `miou_panels` that of the others, if they are taught.
    """
    scores, photos = PartScores(), data.annotated
    order = photos.of_part(part)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        seen, warps = see_whole(photos, chosen)
        logits = predict(network, seen, batch)
        found = on_canvas(logits, warps, PARTS_SIZE, (photos.side, photos.side), 1).argmax(1)
        for guess, index in zip(found.to(torch.uint8).cpu().numpy(), chosen.tolist(), strict=True):
            row = photos.rows[index]
            truth = data.labels[index, : row.height, : row.width].cpu().numpy()
            scores.add(guess[: row.height, : row.width], truth, row.missing)
    figures = scores.figures()
    panels = [name for name in PANELS if name in PART_NAMES]
    figures["miou"] = _mean(figures, [name for name in PART_NAMES if name not in panels])
    if panels:
        figures["miou_panels"] = _mean(figures, panels)
    return figures


def _mean(figures: Figures, names: list[str]) -> float:
    values = [figures[f"iou_{name}"] for name in names]
    known = [value for value in values if value == value]  # NaN for a part that does not occur
    return float(np.mean(known)) if known else float("nan")


@torch.no_grad()
def check_types(
    data: TrainingData, network: nn.Module, parts: nn.Module, batches: tuple[int, int]
) -> Figures:
    """Return figures of the type network on the photos of "val".

    Args:
        data: all photos.
        network: the type network.
        parts: the part network that finds the cars in street photos.
        batches: photos per step of the part and of the type network.
    """
    cars = list_cars(data, find_street_cars(data.cars, "val", parts, batches[0]), "val")
    logits = type_logits(data, cars, network, batches[1]).cpu()
    chances = logits[:, : NO_CAR + 1].softmax(1).numpy()
    street = np.isin(_sources(data, cars), ("street", "car_parts"))
    figures: Figures = {}
    for name, held in (("", ~street), ("street_", street)):
        held = held & (cars.labels < NO_CAR)
        scores = type_scores(chances[held, :NO_CAR].argmax(1), cars.labels[held])
        figures |= {f"{name}{key}": value for key, value in scores.items()}
    empty = cars.labels == NO_CAR
    is_called_empty = chances[:, NO_CAR] > 0.5
    figures["cars_missed"] = _share(is_called_empty[cars.labels < NO_CAR])
    figures["empty_told"] = _share(is_called_empty[empty])
    known = cars.doors != UNKNOWN
    two = logits[:, NO_CAR + 1].numpy() > 0
    figures["doors_right"] = _share((two == (cars.doors == 1))[known])
    return figures


def _sources(data: TrainingData, cars: CarPhotos) -> NDArray[np.str_]:
    sets = (data.annotated, data.cars, data.empty)
    places = zip(cars.sets.tolist(), cars.indices.tolist(), strict=True)
    return np.array([sets[number].rows[index].source for number, index in places], np.str_)


def type_scores(guess: NDArray[np.int64], truth: NDArray[np.int64]) -> Figures:
    """Return accuracy and macro F1 over the types that occur; NaN without photos."""
    f1 = []
    for label in range(len(TYPE_NAMES)):
        hits = int(((guess == label) & (truth == label)).sum())
        total = int((guess == label).sum() + (truth == label).sum())
        if (truth == label).any():
            f1.append(2 * hits / total)
    nothing = float("nan")
    return {
        "accuracy": _share(guess == truth),
        "macro_f1": float(np.mean(f1)) if f1 else nothing,
    }


def check_layout(layouts: Layouts, network: nn.Module, batch: int) -> Figures:
    """Return figures of the layout network on the photos of "val" in which a car is seen."""
    rows = np.flatnonzero((layouts.splits == "val") & (layouts.parts > 0))
    logits: Tensor = layout_logits(layouts, rows, network, batch)
    guess, turn = (part.argmax(1).numpy() for part in (logits[:, :NO_CAR], logits[:, NO_CAR:]))
    upright = (layouts.turns[rows] == 0) & (layouts.types[rows] != UNKNOWN)
    street = np.isin(layouts.sources[rows], ("street", "car_parts"))
    right = guess == layouts.types[rows]
    return {
        "accuracy": _share(right[upright & ~street]),
        "street": _share(right[upright & street]),
        "turn": _share(turn == layouts.turns[rows]),
    }


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
