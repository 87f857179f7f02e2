"""What the service answers on the validation photos, beside the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES
from pipeline import Part, Pipeline, outline
from poligons_from_seg import rasterize
from training.parts_data import annotated_samples, read_labels, read_rgb
from training.type_data import NO_CAR, list_empty, list_samples, list_street

STRETCH = 4 / 3  # the annotated photos are squares; real ones are about this wide


@dataclass(frozen=True)
class Answer:
    """What a client gets for one photo, and the truth: label maps (H, W) uint8."""

    photo: Path
    parts: list[Part]
    guess: NDArray[np.uint8]
    truth: NDArray[np.uint8]


@dataclass(frozen=True)
class TypeAnswer:
    """The type that a client gets for one photo, and the true label.

    Attributes:
        label: place in TYPE_NAMES, or NO_CAR.
        scores: probabilities (8,) of the types; None where no car was found.
    """

    photo: Path
    label: int
    scores: NDArray[np.float64] | None

    @property
    def guess(self) -> int:
        """The answer as a label."""
        return NO_CAR if self.scores is None else int(self.scores.argmax())


def widen(image: NDArray[np.uint8], interpolation: int) -> NDArray[np.uint8]:
    """Give a photo or label map that was squashed to a square the width of a real photo."""
    size = (round(image.shape[1] * STRETCH), image.shape[0])
    return cv2.resize(image, size, interpolation=interpolation).astype(np.uint8)


def drawn(parts: list[Part], height: int, width: int) -> NDArray[np.uint8]:
    """The label map (height, width) that the polygons of all parts make."""
    labels = np.zeros((height, width), np.uint8)
    for part in parts:
        labels[rasterize(part.polygons, height, width)] = PART_NAMES.index(part.name) + 1
    return labels


def answers(pipeline: Pipeline, data: Path, cache: Path = Path("runs/cache")) -> Iterator[Answer]:
    """The service's answers on the annotated validation photos."""
    _, val = annotated_samples(data, cache)
    for sample in tqdm(val, desc="parts"):
        rgb = widen(read_rgb(sample.image), cv2.INTER_LINEAR)
        truth = widen(read_labels(sample.labels, rgb.shape[:2]), cv2.INTER_NEAREST)
        analysis = pipeline.analyse(rgb)
        parts = outline(analysis.labels, analysis.confidences)
        yield Answer(sample.image, parts, drawn(parts, *truth.shape), truth)


def type_answers(pipeline: Pipeline, data: Path) -> Iterator[TypeAnswer]:
    """The service's types on the validation photos: those with a car, then those without."""
    photos = [(s.path, s.label) for s in list_samples(data, "val") if s.label != NO_CAR]
    photos += [(path, NO_CAR) for path in list_empty(data, "val")]
    for path, label in tqdm(photos, desc="types"):
        yield _type_answer(pipeline, path, label, read_rgb(path))


def street_answers(
    pipeline: Pipeline, data: Path, cache: Path = Path("runs/cache")
) -> Iterator[TypeAnswer]:
    """The service's types on the annotated validation photos, which are from other sources."""
    for sample in tqdm(list_street(data, "val", cache), desc="types, street"):
        rgb = widen(read_rgb(sample.path), cv2.INTER_LINEAR)
        yield _type_answer(pipeline, sample.path, sample.label, rgb)


def _type_answer(pipeline: Pipeline, path: Path, label: int, rgb: NDArray[np.uint8]) -> TypeAnswer:
    car_type = pipeline.analyse(rgb).type
    scores = None
    if car_type is not None:
        scores = np.array([car_type.scores[name] for name in TYPE_NAMES])
    return TypeAnswer(path, label, scores)
