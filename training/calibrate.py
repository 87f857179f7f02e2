"""Fit the confidences to the validation photos: `python -m training.calibrate --data DATA`.

Writes `confidence_slope` and `confidence_offset` among the thresholds of `parts.json`, and the
`temperature` among those of `types.json`; see `training.calibration`. Prints the expected
calibration error before, and after by cross-validation.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
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
    fit_temperature,
    softmax,
    unseen_platt,
    unseen_temperature,
)
from training.export import read_fields, write_fields
from training.figures import part_verdicts
from training.parts_data import annotated_samples, read_labels, read_rgb
from training.type_data import NO_CAR, list_samples


def raw_thresholds(thresholds: Mapping[str, float]) -> dict[str, float]:
    """Thresholds that leave confidences as the network gives them."""
    identity = {"confidence_slope": 1.0, "confidence_offset": 0.0, "temperature": 1.0}
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


def type_logits(data: Path, folder: Path) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Logits (n, 8) of the validation cars in their true boxes, labels, and numbers of the cars.

    Some cars are there twice, cropped and in context; both have one number.
    """
    classify = TypeClassifier(raw_description("types", folder), folder)
    samples = [sample for sample in list_samples(data, "val") if sample.label != NO_CAR]
    logits = []
    for sample in tqdm(samples, desc="types"):
        rgb = read_rgb(sample.path)
        if sample.box is not None:
            x0, y0, x1, y1 = (max(0, round(edge)) for edge in sample.box)
            rgb = rgb[y0:y1, x0:x1]
        logits.append(classify.logits(rgb)[:NO_CAR])
    _, cars = np.unique([sample.path.stem for sample in samples], return_inverse=True)
    return np.array(logits), np.array([sample.label for sample in samples]), cars


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


def calibrate_types(data: Path, folder: Path) -> dict[str, float]:
    """Fit the types' temperature and write it to `folder`; returns the errors before and after."""
    logits, labels, cars = type_logits(data, folder)
    right = logits.argmax(1) == labels
    before = calibration_error(softmax(logits).max(1), right)
    write_thresholds("types", folder, {"temperature": fit_temperature(logits, labels)})
    after = calibration_error(unseen_temperature(logits, labels, cars).max(1), right)
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
        errors |= calibrate_types(arguments.data, arguments.models)
    for name, value in errors.items():
        print(f"{name:24s} {value:.4f}")


if __name__ == "__main__":
    main()
