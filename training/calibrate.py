"""Fit the confidences to the validation photos: `python -m training.calibrate --data DATA`.

Writes `confidence_slope` and `confidence_offset` among the thresholds of `parts.json`, and
`picture_weight` and `shape_weight` among those of `types.json`; see `training.calibration`. Prints
the expected calibration error before, and after by cross-validation.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from car_classification import TypeClassifier
from img_to_segments import PartSegmenter
from model_files import MODELS, ModelDescription, read_description
from pipeline import outline
from training.answers import Answer, drawn, widen
from training.calibration import (
    Array,
    Verdicts,
    calibration_error,
    fit_platt,
    fit_weights,
    softmax,
    unseen_platt,
    unseen_weights,
)
from training.export import read_fields, write_fields
from training.figures import part_verdicts
from training.parts_data import annotated_samples, read_labels, read_rgb
from training.train_shapes import STREET
from training.type_data import NO_CAR, list_samples, list_street


def raw_thresholds(thresholds: Mapping[str, float]) -> dict[str, float]:
    """Thresholds that leave confidences as the network gives them."""
    identity = {"confidence_slope": 1.0, "confidence_offset": 0.0}
    identity |= {"picture_weight": 1.0, "shape_weight": 0.0}
    return {key: identity.get(key, value) for key, value in thresholds.items()}


def raw_description(name: str, folder: Path) -> ModelDescription:
    """A description whose confidences are as the network gives them."""
    description = read_description(name, folder)
    return replace(description, thresholds=raw_thresholds(description.thresholds))


def raw_verdicts(data: Path, folder: Path, cache: Path) -> Verdicts:
    """The parts found in the annotated validation photos, with raw confidences."""
    segment = PartSegmenter(raw_description("parts", folder), folder)
    found = []
    for sample in tqdm(annotated_samples(data, cache)[1], desc="parts"):
        rgb = widen(read_rgb(sample.image), cv2.INTER_LINEAR)
        truth = widen(read_labels(sample.labels, rgb.shape[:2]), cv2.INTER_NEAREST)
        segmentation = segment(rgb)
        parts = outline(segmentation.labels, segmentation.confidences)
        found.append(Answer(sample.image, parts, drawn(parts, *truth.shape), truth))
    return part_verdicts(found)


@dataclass(frozen=True)
class TypeLogits:
    """What the type networks say of the validation cars, as the service shows them the photos.

    Attributes:
        logits: (2, n, 8) log-probabilities of the picture and of the layout of the parts.
        labels: (n,) true types.
        cars: (n,) numbers; some cars are there twice, cropped and in context, under one number.
        counts: (n,) how much each photo counts in a fit: those of other sources, which are few,
            as much more as they were drawn in training.
    """

    logits: Array
    labels: NDArray[np.int64]
    cars: NDArray[np.int64]
    counts: Array


def type_logits(data: Path, folder: Path, cache: Path) -> TypeLogits:
    """Ask both networks; photos in which the part network sees no car are left out."""
    segment = PartSegmenter(folder=folder)
    classify = TypeClassifier(raw_description("types", folder), folder)
    known = [sample for sample in list_samples(data, "val") if sample.label != NO_CAR]
    street = list_street(data, "val", cache)
    rows, samples = [], []
    for sample in tqdm(known + street, desc="types"):
        rgb = read_rgb(sample.path)
        if sample.squashed:
            rgb = widen(rgb, cv2.INTER_LINEAR)
        seen = segment.cells(rgb)
        if seen.confidences:
            box = seen.box(*rgb.shape[:2])
            shape = classify.shape.logits(seen.probabilities, box, rgb.shape[:2])
            rows.append((classify.logits(rgb, box)[:NO_CAR], shape))
            samples.append(sample)
    _, cars = np.unique([sample.path.stem for sample in samples], return_inverse=True)
    others = np.array([sample.squashed for sample in samples])
    return TypeLogits(
        np.log(softmax(np.array(rows).transpose(1, 0, 2))),
        np.array([sample.label for sample in samples]),
        cars,
        np.where(others, STREET, 1.0),
    )


def calibrate_parts(data: Path, folder: Path, cache: Path) -> dict[str, float]:
    """Fit the part confidences and write them to `folder`; returns the errors before and after."""
    verdicts = raw_verdicts(data, folder, cache)
    before = calibration_error(verdicts.confidence, verdicts.right)
    if verdicts.right.all() or not verdicts.right.any():
        return {"parts_ece_before": before, "parts_ece_after": before}  # nothing to learn from
    platt = fit_platt(verdicts.confidence, verdicts.right)
    fitted = {"confidence_slope": platt.slope, "confidence_offset": platt.offset}
    write_thresholds("parts", folder, fitted)
    after = calibration_error(unseen_platt(verdicts), verdicts.right)
    return {"parts_ece_before": before, "parts_ece_after": after}


def calibrate_types(data: Path, folder: Path, cache: Path) -> dict[str, float]:
    """Fit the weights of both type networks and write them to `folder`.

    Returns:
        The calibration error of the picture alone, and that of both by cross-validation.
    """
    said = type_logits(data, folder, cache)
    before = calibration_error(
        np.exp(said.logits[0]).max(1), said.logits[0].argmax(1) == said.labels
    )
    picture, shape = fit_weights(said.logits, said.labels, said.counts).tolist()
    write_thresholds("types", folder, {"picture_weight": picture, "shape_weight": shape})
    unseen = unseen_weights(said.logits, said.labels, said.counts, said.cars)
    after = calibration_error(unseen.max(1), unseen.argmax(1) == said.labels)
    return {"types_ece_before": before, "types_ece_after": after}


def write_thresholds(name: str, folder: Path, fitted: Mapping[str, float]) -> None:
    """Put rounded values among the thresholds of `<folder>/<name>.json`."""
    fields = read_fields(name, folder)
    fields["thresholds"] |= {key: round(value, 4) for key, value in fitted.items()}
    write_fields(fields, name, folder)


def main() -> None:
    """Fit both, or one of them, and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--only", choices=("parts", "types"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    errors: dict[str, float] = {}
    if arguments.only != "types":
        errors |= calibrate_parts(arguments.data, arguments.models, Path("runs/cache"))
    if arguments.only != "parts":
        errors |= calibrate_types(arguments.data, arguments.models, Path("runs/cache"))
    for name, value in errors.items():
        print(f"{name:24s} {value:.4f}")


if __name__ == "__main__":
    main()
