"""Fit the thresholds of networks in 8 bits so that they answer as those in float32.

The targets are the calibrated confidences in float32, not labels. So any photos will do, and what
was fitted to labels in float32 keeps its meaning in 8 bits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from img_to_segments import PartSegmenter
from training.calibrate import GROUPS, Looks, look_at, raw_thresholds
from training.calibration import Array, fit_platt_to, fit_weights, softmax
from training.validation import ValidationPhoto
from vision.labels import label_of
from vision.model_files import read_description
from vision.runtimes.choose import RuntimeConfig


def fit_confidences(
    folder: Path, photos: Sequence[ValidationPhoto]
) -> tuple[dict[str, float], dict[str, float]]:
    """Fit the maps of the confidences of parts.

    Args:
        folder: of the models.
        photos: any photos of cars.

    Returns:
        The thresholds of the groups of which parts are found, and figures: the share of cells with
        the same label, and the mean difference of the confidences of a part.
    """
    segmenters = PartSegmenter(folder=folder, runtime=RuntimeConfig("onnx")), _uncalibrated(folder)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in GROUPS}
    same = []
    for photo in tqdm(photos, "confidences", mininterval=5):
        rgb = photo.read().pixels
        exact, rounded = (segment.cells(rgb) for segment in segmenters)
        same.append(float((exact.labels == rounded.labels).mean()))
        for group, names in GROUPS.items():
            for label in map(label_of, names):
                if label in exact.confidences and label in rounded.confidences:
                    pair = rounded.confidences[label], exact.confidences[label]
                    pairs[group].append(pair)
    thresholds: dict[str, float] = {}
    differences = []
    for group, found in pairs.items():
        if found:
            raw, target = np.array(found).T
            platt = fit_platt_to(raw, target)
            thresholds |= {f"{group}_slope": platt.slope, f"{group}_offset": platt.offset}
            differences += np.abs(platt(raw) - target).tolist()
    figures = {"same_cells": float(np.mean(same))}
    if differences:
        figures["confidence_off"] = float(np.mean(differences))
    return thresholds, figures


def _uncalibrated(folder: Path) -> PartSegmenter:
    """Return the part network in 8 bits, with its own confidences."""
    runtime = RuntimeConfig("onnx", precision="int8")
    described = runtime.describe("parts", folder)
    raw = replace(described, thresholds=raw_thresholds(described.thresholds))
    return PartSegmenter(raw, folder, runtime)


def fit_types(
    folder: Path, photos: Sequence[ValidationPhoto]
) -> tuple[dict[str, float], dict[str, float]]:
    """Fit the weights of both type networks.

    Args:
        folder: of the models.
        photos: any photos of cars.

    Returns:
        The thresholds, if parts are found, and figures: the share of photos with the same type, and
        the mean difference of the probability of the type.
    """
    exact = look_at(photos, folder, "float32")
    rounded = look_at(photos, folder, "int8")
    both = {photo.path for photo in exact.photos} & {photo.path for photo in rounded.photos}
    if not both:
        return {}, {}
    logits = [_of_photos(looks, both) for looks in (exact, rounded)]
    thresholds = read_description("types", folder).thresholds
    before = np.array([thresholds["picture_weight"], thresholds["shape_weight"]])
    target = _mixed(before, logits[0])
    weights = fit_weights(logits[1], target, np.ones(len(target)))
    found = _mixed(weights, logits[1])
    best = np.arange(len(target)), target.argmax(1)
    figures = {
        "same_types": float((found.argmax(1) == best[1]).mean()),
        "type_off": float(np.abs(found[best] - target[best]).mean()),
    }
    return dict(zip(("picture_weight", "shape_weight"), weights.tolist(), strict=True)), figures


def _of_photos(looks: Looks, paths: Collection[Path]) -> Array:
    """Return the log-probabilities (2, n, 8) of some of the photos."""
    return looks.log_probabilities()[:, [photo.path in paths for photo in looks.photos]]


def _mixed(weights: Array, logits: Array) -> Array:
    """Return the probabilities (n, 8) of the weighted sum of log-probabilities (2, n, 8)."""
    return softmax(np.einsum("k,knc->nc", weights, logits))
