"""Fit thresholds to the calibration photos: `python -m training.calibrate --data DATA`.

FITS has one function per group of thresholds. Each function writes its thresholds to `parts.json`,
`types.json` or `damage.json`, and returns figures to print. `training.calibration` defines the
maps.

Networks of `make train` have not seen the calibration photos, see `training.split`. Others, that
have learned from them, would get thresholds that trust them too much.

The thresholds are those of the networks in float32. `training.quantise` fits those in 8 bits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from analysis.damage_segments import DamageSegmenter
from car_classification import TYPE_NAMES, TypeClassifier
from img_to_segments import PartSegmenter
from pipeline import Pipeline
from settings import Precision
from training.answers import PartsAnswer, Service
from training.calibration import (
    Array,
    Platt,
    Verdicts,
    calibration_error,
    fit_platt,
    fit_weights,
    softmax,
    uncalibrated,
    unseen_platt,
    unseen_weights,
)
from training.corrections import DataError
from training.damage_answers import list_undamaged
from training.damage_data import list_damaged
from training.damage_fit import Look, fit_looks, look_at_damage, without_thresholds
from training.export import read_fields, write_fields
from training.figures import part_verdicts
from training.split import Part
from training.validation import (
    ValidationPhoto,
    list_annotated_photos,
    list_car_photos,
    list_damaged_photos,
    list_street_photos,
)
from vision.labels import BASIC_PARTS, PANELS
from vision.model_files import MODELS, read_description
from vision.runtimes.choose import choose

# Weight in a fit of a photo from the other sources. With it all of these photos together weigh as
# much as those of the one source of the cars.
STREET = 4.0
NO_CAR = len(TYPE_NAMES)
# Prefix of the thresholds of each group of parts that share one map of confidences.
GROUPS = {"confidence": BASIC_PARTS, "panels": PANELS}


@dataclass(frozen=True)
class Looks:
    """The outputs of the type networks for photos in which the part network finds a car.

    Attributes:
        photos: the n photos.
        picture: (n, 10) logits of the picture network: eight types, no car, two doors.
        shape: (n, 12) logits of the layout network: eight types, four turns.
        surest: (n,) highest confidence of a part.
        area: (n,) share of the photo that the parts cover.
    """

    photos: list[ValidationPhoto]
    picture: Array
    shape: Array
    surest: Array
    area: Array

    @property
    def labels(self) -> NDArray[np.int64]:
        """The true types (n,) as indices in TYPE_NAMES; NO_CAR if there is no car."""
        return np.array(
            [NO_CAR if p.type is None else TYPE_NAMES.index(p.type) for p in self.photos]
        )

    @property
    def groups(self) -> NDArray[np.int64]:
        """A number (n,) for each photo; photos of the same car share it."""
        names = [f"{photo.kind}/{photo.key}" for photo in self.photos]
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    @property
    def counts(self) -> Array:
        """The weight (n,) of each photo in a fit."""
        return np.array([1.0 if photo.kind == "cars" else STREET for photo in self.photos])

    def log_probabilities(self) -> Array:
        """Return the log-probabilities (2, n, 8) of the types, by picture and by layout."""
        logits = np.stack([self.picture[:, :NO_CAR], self.shape[:, :NO_CAR]])
        return np.log(softmax(logits))


class Evidence:
    """The photos of one part of the split and the models' outputs, computed on first use.

    Args:
        data: folder of the data sets.
        folder: folder of the models.
        cache: folder of the label maps.
        threads: cores to use.
        part: of the split; thresholds of networks of `make train` are fitted to "calibration".

    Raises:
        DataError: the data cannot be used.
    """

    def __init__(
        self, data: Path, folder: Path, cache: Path, threads: int = 2, part: Part = "calibration"
    ) -> None:
        self.folder, self.threads = folder, threads
        self.annotated = list_annotated_photos(data, cache, part)
        cars, street = list_car_photos(data, part), list_street_photos(data, part)
        self.cars = cars + street + self.annotated
        self.damaged = list_damaged_photos(data, part)
        self.undamaged = list_undamaged(self.annotated, street, cars)
        self._truths = {photo.path: photo for photo in list_damaged(data)}

    @cached_property
    def parts_answers(self) -> list[PartsAnswer]:
        """The service's answers for annotated photos, with the present thresholds."""
        pipeline = Pipeline(1, self.folder, calls=self.threads, precision="float32")
        return Service(pipeline, self.threads).parts_answers(self.annotated)

    @cached_property
    def car_looks(self) -> Looks:
        """The outputs of the type networks for photos of cars."""
        return look_at(self.cars, self.folder)

    @cached_property
    def damage_looks(self) -> list[Look]:
        """The outputs of the damage network for photos of damage and of undamaged cars."""
        description = without_thresholds(read_description("damage", self.folder))
        segmenter = DamageSegmenter(description, self.folder)
        return [
            look_at_damage(
                segmenter,
                f"{photo.kind} {photo.key}",
                photo.read().pixels,
                self._truths.get(photo.path),
            )
            for photo in tqdm(self.damaged + self.undamaged, "damage", mininterval=5)
        ]


def look_at(
    photos: Sequence[ValidationPhoto], folder: Path, precision: Precision = "float32"
) -> Looks:
    """Run the type networks on photos as the service does, and skip photos without parts."""
    runtime = choose(precision=precision)
    segment = PartSegmenter(folder=folder, runtime=runtime)
    classify = TypeClassifier(folder=folder, runtime=runtime)
    held: list[ValidationPhoto] = []
    rows = []
    for photo in tqdm(photos, "types", mininterval=5):
        rgb = photo.read().pixels
        cells = segment.cells(rgb).basic
        if cells.confidences:
            box = cells.box(*rgb.shape[:2])
            picture = classify.logits(rgb, box)
            shape = classify.shape.logits(cells.probabilities, box, rgb.shape[:2])
            held.append(photo)
            rows.append((picture, shape, max(cells.confidences.values()), cells.area))
    pictures, shapes, surest, areas = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Looks(
        held,
        np.array(pictures).reshape(len(held), -1 if held else 0),
        np.array(shapes).reshape(len(held), -1 if held else 0),
        np.array(surest),
        np.array(areas),
    )


def raw_thresholds(thresholds: Mapping[str, float]) -> dict[str, float]:
    """Return thresholds that leave the networks' confidences unchanged."""
    identity = {f"{name}_slope": 1.0 for name in GROUPS} | {
        f"{name}_offset": 0.0 for name in GROUPS
    }
    identity |= {"picture_weight": 1.0, "shape_weight": 0.0}
    return {key: identity.get(key, value) for key, value in thresholds.items()}


def fit_part_confidences(evidence: Evidence) -> dict[str, float]:
    """Fit the maps from a part's confidence to the share of right parts, on all photos.

    The basic parts and the body panels have a map each.

    Returns:
        The calibration error of the networks' confidences, and the error after calibration, by
        cross-validation.
    """
    thresholds = read_description("parts", evidence.folder).thresholds
    before, after, rights = [], [], []
    for name, names in GROUPS.items():
        present = Platt(thresholds.get(f"{name}_slope", 1.0), thresholds.get(f"{name}_offset", 0.0))
        verdicts = part_verdicts(evidence.parts_answers, names)
        raw = Verdicts(uncalibrated(verdicts.confidence, present), verdicts.right, verdicts.photo)
        before.append(raw.confidence)
        after.append(raw.confidence)
        rights.append(raw.right)
        if raw.right.all() or not raw.right.any():
            continue  # no data to fit
        platt = fit_platt(raw.confidence, raw.right)
        fitted = {f"{name}_slope": platt.slope, f"{name}_offset": platt.offset}
        write_thresholds("parts", evidence.folder, fitted)
        after[-1] = unseen_platt(raw)
    right = np.concatenate(rights)
    return {
        "parts_ece_before": calibration_error(np.concatenate(before), right),
        "parts_ece_after": calibration_error(np.concatenate(after), right),
    }


def fit_type_weights(evidence: Evidence) -> dict[str, float]:
    """Fit the weights of both type networks to all photos.

    Returns:
        The calibration error of the picture network alone, and that of both networks by
        cross-validation.
    """
    looks = evidence.car_looks
    if not looks.photos:
        return {}
    logits, labels = looks.log_probabilities(), looks.labels
    picture, shape = fit_weights(logits, labels, looks.counts).tolist()
    write_thresholds("types", evidence.folder, {"picture_weight": picture, "shape_weight": shape})
    unseen = unseen_weights(logits, labels, looks.counts, looks.groups)
    return {
        "types_ece_before": _error(np.exp(logits[0]), labels),
        "types_ece_after": _error(unseen, labels),
    }


def type_accuracies(looks: Looks, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Return the accuracy of the picture network and of both, where every car gets a type.

    The figures are `picture_accuracy` and `both_accuracy` of `car_types`, and `picture_street` and
    `both_street` of the photos of other sources.
    """
    logits = looks.log_probabilities()
    weights = (thresholds["picture_weight"], thresholds["shape_weight"])
    guesses = {"picture": logits[0], "both": np.einsum("k,knc->nc", weights, logits)}
    own = np.array([photo.kind == "cars" for photo in looks.photos], bool)
    figures = {}
    for name, values in guesses.items():
        right = values.argmax(1) == looks.labels
        for source, held in (("accuracy", own), ("street", ~own)):
            if held.any():
                figures[f"{name}_{source}"] = float(right[held].mean())
    return figures


def _error(probabilities: Array, labels: NDArray[np.int64]) -> float:
    return calibration_error(probabilities.max(1), probabilities.argmax(1) == labels)


def write_thresholds(name: str, folder: Path, fitted: Mapping[str, float]) -> None:
    """Write rounded values into the thresholds of `<folder>/<name>.json`."""
    fields = read_fields(name, folder)
    fields["thresholds"] |= {key: round(value, 4) for key, value in fitted.items()}
    write_fields(fields, name, folder)


def fit_damage(evidence: Evidence) -> dict[str, float]:
    """Fit the thresholds of the damage network; without photos of damage they stay.

    Returns:
        The figures of `damage_fit.fit_looks`.
    """
    looks = evidence.damage_looks
    if not any(look.kinds for look in looks):
        return {}
    thresholds, figures = fit_looks(looks)
    write_thresholds("damage", evidence.folder, thresholds)
    return figures


# Add functions here that fit further thresholds (no car, type unknown, two doors).
FITS: dict[str, Callable[[Evidence], dict[str, float]]] = {
    "parts": fit_part_confidences,
    "types": fit_type_weights,
    "damage": fit_damage,
}


def calibrate(evidence: Evidence, names: Sequence[str] = tuple(FITS)) -> dict[str, float]:
    """Run the named fits in order, and return all their figures."""
    figures: dict[str, float] = {}
    for name, fit in FITS.items():
        if name in names:
            figures |= fit(evidence)
    return figures


def main() -> None:
    """Run the requested fits and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--only", choices=tuple(FITS), nargs="+", default=tuple(FITS))
    parser.add_argument("--part", choices=("calibration", "val"), default="calibration")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cache = Path("runs/cache")
    try:
        evidence = Evidence(
            arguments.data, arguments.models, cache, arguments.threads, arguments.part
        )
    except DataError as error:
        sys.exit(str(error))
    for name, value in calibrate(evidence, arguments.only).items():
        print(f"{name:24s} {value:.4f}")


if __name__ == "__main__":
    main()
