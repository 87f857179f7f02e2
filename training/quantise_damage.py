"""Make the damage network in 8 bits: `python -m training.quantise_damage --data DATA`.

It does for the damage network what `training.quantise` does for the others. Photos of damage and of
undamaged cars of the training part give the ranges, and pieces of damage that the network in
float32 finds, too, give the map of confidences.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from analysis.damage_segments import CoarseDamage, DamageSegmenter
from img_to_segments import PartSegmenter
from training.calibration import fit_platt_to
from training.damage_data import list_damaged, may_have_damage
from training.damage_fit import without_thresholds
from training.export import read_fields, write_fields
from training.parts_data import read_rgb
from training.quantise import quantise
from training.validation import list_street_photos, some_of
from vision.labels import DAMAGE_KINDS
from vision.model_files import DAMAGE, MODELS
from vision.runtimes.choose import RuntimeConfig

RANGES, FITTED = (32, 16), (90, 30)  # photos with and without damage

_FLOAT = RuntimeConfig("onnx")
_INT8 = RuntimeConfig("onnx", precision="int8")


def some_photos(data: Path, counts: tuple[int, int], seed: int) -> list[Path]:
    """Return photos of the training part, with and without damage.

    Args:
        data: folder of the data sets.
        counts: most photos with damage, and without.
        seed: other seeds choose other photos.
    """
    damaged = [photo.path for photo in list_damaged(data) if photo.part == "train"]
    clean = [photo.path for photo in list_street_photos(data, "train")]
    sources = damaged, [path for path in clean if not may_have_damage(path.name)]
    return [path for paths, count in zip(sources, counts, strict=True)
            for path in some_of(paths, count, seed)]  # fmt: skip


def fit_confidences(folder: Path, photos: Sequence[Path]) -> tuple[dict[str, float], float]:
    """Fit the map of confidences in 8 bits to the confidences in float32.

    Args:
        folder: of the models.
        photos: any photos, most of them with damage.

    Returns:
        The thresholds that differ, none if no piece is found in both precisions; and the share of
        cells with the same kind.
    """
    exact = _FLOAT.describe(DAMAGE, folder)
    raw = without_thresholds(_INT8.describe(DAMAGE, folder))
    calibrated = replace(exact, thresholds=_without_limits(exact.thresholds))
    one = DamageSegmenter(calibrated, folder, _FLOAT)
    other = DamageSegmenter(raw, folder, _INT8)
    pairs, same = [], []
    for path in tqdm(photos, "confidences", mininterval=5):
        rgb = read_rgb(path)
        target, found = one.cells(rgb), other.cells(rgb)
        pairs += list(_pairs(found, target))
        same.append(float((_kinds(found) == _kinds(target)).mean()))
    if not pairs:
        return {}, float(np.mean(same))
    own, wanted = np.array(pairs).T
    platt = fit_platt_to(own, wanted)
    slopes = {f"{kind}_slope": platt.slope for kind in DAMAGE_KINDS}
    offsets = {f"{kind}_offset": platt.offset for kind in DAMAGE_KINDS}
    return slopes | offsets, float(np.mean(same))


def _without_limits(thresholds: dict[str, float]) -> dict[str, float]:
    """Return thresholds that keep the map of confidences, and all pieces but tiny ones."""
    kept = {
        name: value for name, value in thresholds.items() if name.endswith(("_slope", "_offset"))
    }
    limits = {f"{kind}_cells": 3.0 for kind in DAMAGE_KINDS}
    return kept | limits | {f"{kind}_confidence": 0.0 for kind in DAMAGE_KINDS}


def _kinds(found: CoarseDamage) -> NDArray[np.uint8]:
    """Return the map of kinds, (h, w) uint8."""
    kinds = [0, *(1 + DAMAGE_KINDS.index(piece.kind) for piece in found.pieces)]
    return np.array(kinds, np.uint8)[found.labels]


def _pairs(found: CoarseDamage, target: CoarseDamage) -> Iterator[tuple[float, float]]:
    """Yield the confidences of each piece in both maps that overlaps one of its kind by half."""
    for number, piece in enumerate(found.pieces, start=1):
        under = target.labels[found.labels == number]
        best = int(np.bincount(under, minlength=1)[1:].argmax()) if under.any() else -1
        if best < 0 or target.pieces[best].kind != piece.kind:
            continue
        common = int((under == best + 1).sum())
        if 2 * common >= max(piece.cells, target.pieces[best].cells):
            yield piece.confidence, target.pieces[best].confidence


def quantise_damage(
    data: Path,
    folder: Path,
    ranges: tuple[int, int] = RANGES,
    fitted: tuple[int, int] = FITTED,
) -> dict[str, float]:
    """Make the network in 8 bits, and return figures to print.

    Args:
        data: folder of the data sets.
        folder: of the models.
        ranges: see `RANGES`.
        fitted: see `FITTED`.

    Raises:
        ModelFileError: the network in float32 can't be used.
    """
    segment = PartSegmenter(_FLOAT.describe(DAMAGE, folder), folder, _FLOAT)
    photos = some_photos(data, ranges, seed=1)
    quantise(DAMAGE, folder, [segment.batch(read_rgb(path))[0] for path in photos])
    thresholds, same = fit_confidences(folder, some_photos(data, fitted, seed=2))
    fields = read_fields(DAMAGE, folder)
    fields["int8"]["thresholds"] = {name: round(value, 4) for name, value in thresholds.items()}
    write_fields(fields, DAMAGE, folder)
    return {"same_cells": same}


def main() -> None:
    """Make the network, and print how well it agrees with that in float32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS)
    arguments = parser.parse_args()
    for name, value in quantise_damage(arguments.data, arguments.models).items():
        print(f"{name:24s} {value:.4f}")


if __name__ == "__main__":
    main()
