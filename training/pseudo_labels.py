"""Label photos with a teacher: `python -m training.pseudo_labels --data DATA --out runs/pseudo`.

Self-training (Xie et al. 2020): a teacher labels the car type photos, which have no part labels,
and its confident labels become training data. The teacher is the part network in `models/`, or
others given by folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from img_to_segments import PART_NAMES, PartSegmenter
from training.corrections import lid_of
from training.parts_data import FLIPPED, IGNORE, area_of, photos_in, read_rgb
from training.precision import mixed_precision
from vision.labels import label_of
from vision.model_files import MODELS, ModelDescription, read_description
from vision.runtimes.choose import RuntimeConfig

Probabilities = NDArray[np.float32]
Teacher = Callable[[NDArray[np.uint8]], Probabilities]

TAILGATE, TRUNK = label_of("tailgate"), label_of("trunk")
SURE_PIXEL = 0.6  # pixels below are ignored in training
SURE_CAR = 0.8  # photos whose car has a lower mean probability are skipped


def flip_averaged(segmenters: list[PartSegmenter]) -> Teacher:
    """Return a teacher that averages segmenters over the photo and its mirror image.

    The mirror image's left and right are swapped back. The teacher's probabilities (labels, h, w)
    have the resolution of the first segmenter's output.
    """
    channels = FLIPPED[: len(PART_NAMES) + 1]

    def teacher(rgb: NDArray[np.uint8]) -> Probabilities:
        total: Probabilities | None = None
        for segmenter in segmenters:
            plain = _softmax(segmenter.logits(rgb))
            mirrored = _softmax(segmenter.logits(np.ascontiguousarray(rgb[:, ::-1])))
            both = plain + mirrored[channels][:, :, ::-1]
            if total is None:
                total = both
                continue
            size = total.shape[2], total.shape[1]
            resized = cv2.resize(both.transpose(1, 2, 0), size, interpolation=cv2.INTER_LINEAR)
            total = total + resized.transpose(2, 0, 1)
        if total is None:
            raise ValueError("no segmenter is given")
        result: Probabilities = (total / (2 * len(segmenters))).astype(np.float32)
        return result

    return teacher


def _softmax(logits: NDArray[np.float32]) -> Probabilities:
    values = np.exp(logits - logits.max(0))
    result: Probabilities = values / values.sum(0)
    return result


def use_type(probabilities: Probabilities, car_type: str) -> Probabilities:
    """Move the probability of both lids to the lid that cars of the known type have."""
    out = probabilities.copy()
    right, wrong = (TRUNK, TAILGATE) if lid_of(car_type) == "trunk" else (TAILGATE, TRUNK)
    out[right] += out[wrong]
    out[wrong] = 0
    return out


def label(probabilities: Probabilities, height: int, width: int) -> tuple[NDArray[np.uint8], float]:
    """Return labels (height, width) with unsure pixels at 255, and the car's mean probability."""
    size = (width, height)
    full = cv2.resize(probabilities.transpose(1, 2, 0), size, interpolation=cv2.INTER_LINEAR)
    labels = full.argmax(2).astype(np.uint8)
    best = full.max(2)
    car = labels > 0
    confidence = float(best[car].mean()) if car.any() else 0.0
    labels[best < SURE_PIXEL] = IGNORE
    return labels, confidence


def photos(data: Path, limit: int | None) -> list[tuple[Path, str]]:
    """Return the photos to label and their car types, shuffled with a fixed seed."""
    roots = [data / name for name in ("car_types_in_context", "car_types")]
    folders = [folder for root in roots for folder in sorted(root.glob("*/*"))]
    found = [(path, folder.name) for folder in folders for path in photos_in(folder)]
    order = np.random.default_rng(0).permutation(len(found)).tolist()
    return [found[i] for i in order[:limit]]


@dataclass(frozen=True)
class LabelRun:
    """The options of one labelling run over the car type photos.

    Attributes:
        data: folder of the data sets.
        out: folder for label maps and `index.json`; an interrupted run resumes from there.
        teacher: models folders whose part networks are averaged.
        longest: longest sides of a 4:3 photo that each of them sees.
        limit: maximum number of photos to label; None for all.
        threads: cores to use.
    """

    data: Path
    out: Path = Path("runs/pseudo")
    teacher: Sequence[Path] = (MODELS,)
    longest: Sequence[int] = (384,)
    limit: int | None = None
    threads: int = 2


def label_photos(options: LabelRun) -> None:
    """Label all photos, resuming an interrupted run."""
    torch_ = RuntimeConfig("torch", options.threads)  # only torch computes in bfloat16
    teacher = flip_averaged(
        [
            PartSegmenter(_at_size(folder, longest), folder, torch_)
            for folder in options.teacher
            for longest in options.longest
        ]
    )
    (options.out / "labels").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (path, car_type) in enumerate(
        tqdm(photos(options.data, options.limit), mininterval=10)
    ):
        note = options.out / "labels" / f"{number:05d}.json"
        if not note.exists():
            with mixed_precision():
                probabilities = teacher(rgb := read_rgb(path))
            labels, sure = label(use_type(probabilities, car_type), rgb.shape[0], rgb.shape[1])
            cv2.imwrite(str(note.with_suffix(".png")), labels)
            _write(note, {"confidence": round(sure, 4)})
        sure = json.loads(note.read_text(encoding="utf-8"))["confidence"]
        if sure >= SURE_CAR:
            rows.append({"image": str(path), "labels": f"labels/{note.stem}.png", "sure": sure})
    _write(options.out / "index.json", rows)


def _write(path: Path, content: object) -> None:
    """Write JSON atomically: a kill leaves the whole file or none."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
    fresh.replace(path)


def _at_size(folder: Path, longest: int) -> ModelDescription:
    """Return the description of a teacher with another input size."""
    description = read_description("parts", folder)
    return replace(description, input=description.input | {"area": area_of(longest)})


def main() -> None:
    """Read the command line and label."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=LabelRun.out)
    parser.add_argument("--teacher", type=Path, nargs="*", default=LabelRun.teacher)
    parser.add_argument("--longest", type=int, nargs="*", default=LabelRun.longest)
    parser.add_argument("--limit", type=int, help="label only so many photos")
    parser.add_argument("--threads", type=int, default=LabelRun.threads)
    label_photos(LabelRun(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
