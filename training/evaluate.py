"""Figures of the models in `models/`: `python -m training.evaluate --data DATA`.

Everything goes through the service's own code: `Pipeline.analyse` and the polygons that a client
gets, drawn back into masks. The photos are the validation split, which no training has seen.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES
from pipeline import Part, Pipeline, outline
from poligons_from_seg import rasterize
from training.parts_data import annotated_samples, read_labels, read_rgb
from training.parts_metrics import PartScores
from training.type_data import NO_CAR, TypeSample, list_empty, list_samples

STRETCH = 4 / 3  # the annotated photos are squares; real ones are about this wide


@dataclass(frozen=True)
class Answer:
    """What a client gets for one photo, and the truth: label maps (H, W) uint8."""

    parts: list[Part]
    guess: NDArray[np.uint8]
    truth: NDArray[np.uint8]


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


def answers(pipeline: Pipeline, data: Path) -> Iterator[Answer]:
    """The service's answers on the annotated validation photos."""
    _, val = annotated_samples(data, Path("runs/cache"))
    for sample in tqdm(val, desc="parts"):
        rgb = widen(read_rgb(sample.image), cv2.INTER_LINEAR)
        truth = widen(read_labels(sample.labels, rgb.shape[:2]), cv2.INTER_NEAREST)
        analysis = pipeline.analyse(rgb)
        parts = outline(analysis.labels, analysis.confidences)
        yield Answer(parts, drawn(parts, *truth.shape), truth)


def mask_ap(found: list[Answer]) -> dict[str, float]:
    """COCO mask AP (pycocotools), one instance per part and photo, scored by its confidence."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, answer in enumerate(found, start=1):
        height, width = answer.truth.shape
        images.append({"id": number, "height": height, "width": width})
        for label in np.unique(answer.truth[answer.truth > 0]).tolist():
            rle = _rle(answer.truth == label)
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": label,
                    "segmentation": rle, "area": float(coco_mask.area(rle)),
                    "bbox": coco_mask.toBbox(rle).tolist(), "iscrowd": 0,
                }
            )  # fmt: skip
        for part in answer.parts:
            results.append(
                {
                    "image_id": number, "category_id": PART_NAMES.index(part.name) + 1,
                    "segmentation": _rle(rasterize(part.polygons, height, width)),
                    "score": part.confidence,
                }
            )  # fmt: skip
    return _coco_figures(images, annotations, results)


def _rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    rle: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return rle


def _coco_figures(
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    results: list[dict[str, Any]],
) -> dict[str, float]:
    """AP 0.50:0.95 and AP50 of COCO annotations and results."""
    truth = COCO()
    truth.dataset = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(PART_NAMES, start=1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"ap": float(evaluation.stats[0]), "ap50": float(evaluation.stats[1])}


def interval(found: list[Answer], rounds: int = 300) -> tuple[float, float]:
    """95 % interval of the mIoU, from photos drawn anew with replacement (bootstrap)."""
    confusions = []
    for answer in found:
        scores = PartScores()
        scores.add(answer.guess, answer.truth)
        confusions.append(scores.confusion)
    stacked, rng, values = np.stack(confusions), np.random.default_rng(0), []
    for _ in range(rounds):
        scores = PartScores()
        scores.confusion = stacked[rng.integers(0, len(found), len(found))].sum(0)
        values.append(scores.figures()["miou"])
    low, high = np.percentile(values, [2.5, 97.5]).tolist()
    return low, high


def part_figures(pipeline: Pipeline, data: Path) -> dict[str, float]:
    """All figures about parts on the validation split."""
    found = list(answers(pipeline, data))
    scores = PartScores()
    for answer in found:
        scores.add(answer.guess, answer.truth)
    low, high = interval(found)
    return {**scores.figures(), "miou_low": low, "miou_high": high, **mask_ap(found)}


def type_figures(pipeline: Pipeline, data: Path) -> dict[str, float]:
    """Type accuracy and macro F1, and photos with and without a car told apart."""
    samples = [s for s in list_samples(data, "val") if s.label != NO_CAR]
    confusion = np.zeros((NO_CAR, NO_CAR + 1), np.int64)
    for sample in tqdm(samples, desc="types"):
        confusion[sample.label, _guess(pipeline, sample)] += 1
    empty = list_empty(data, "val")
    told = [pipeline.analyse(read_rgb(path)).type is None for path in tqdm(empty, desc="no cars")]
    hits = np.diag(confusion[:, :NO_CAR]).astype(float)
    f1 = 2 * hits / np.maximum(confusion[:, :NO_CAR].sum(0) + confusion.sum(1), 1)
    return {
        "type_accuracy": float(hits.sum() / confusion.sum()),
        "type_macro_f1": float(f1.mean()),
        **{f"f1_{name}": float(value) for name, value in zip(TYPE_NAMES, f1, strict=True)},
        "cars_missed": float(confusion[:, NO_CAR].sum() / confusion.sum()),
        "empty_told": float(np.mean(told)),
    }


def _guess(pipeline: Pipeline, sample: TypeSample) -> int:
    car_type = pipeline.analyse(read_rgb(sample.path)).type
    return NO_CAR if car_type is None else TYPE_NAMES.index(car_type.name)


def main() -> None:
    """Print the figures, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=("parts", "types"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    pipeline = Pipeline(threads=arguments.threads)
    figures: dict[str, float] = {}
    if arguments.only != "types":
        figures |= part_figures(pipeline, arguments.data)
    if arguments.only != "parts":
        figures |= type_figures(pipeline, arguments.data)
    for name, value in figures.items():
        print(f"{name:24s} {value:.4f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
