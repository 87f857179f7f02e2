"""Measure COCO mask AP with pycocotools, overall and by part, and for bootstrap samples."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from img_to_segments import PART_NAMES
from photo_result import Part
from poligons_from_seg import rasterize
from training.parts_data import IGNORE
from vision.labels import label_of, name_of

Judged = tuple[list[Part], NDArray[np.uint8], tuple[str, ...]]


class MaskPrecision:
    """Average precision of answers: one instance per part and photo, scored by its confidence.

    Args:
        answers: for each photo, the parts that were found, its true label map (H, W) uint8 where
            255 is ignored, and the names of the visible parts that the truth lacks.
    """

    def __init__(self, answers: Sequence[Judged]) -> None:
        images, annotations, results = coco_documents(answers)
        truth = index_documents(images, annotations)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            found = truth.loadRes(results) if results else index_documents(images, [])
            self._evaluation = COCOeval(truth, found, "segm")
            self._evaluation.params.areaRng = [[0, 1e10]]
            self._evaluation.params.areaRngLbl = ["all"]
            self._evaluation.params.maxDets = [100]
            self._evaluation.evaluate()
        # pycocotools stores its matches by part, then by photo.
        matches = np.empty(len(PART_NAMES) * len(images), object)
        matches[:] = self._evaluation.evalImgs
        self._matches = matches.reshape(len(PART_NAMES), len(images))

    def by_part(self, chosen: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return AP 0.50:0.95 and AP50 of each part: (parts, 2), NaN if no photo shows the part.

        The mean over the parts is the AP that COCO reports.

        Args:
            chosen: indices of the photos that count, as many as there are photos, with repetitions;
                None for all photos.
        """
        matches = self._matches if chosen is None else self._matches[:, chosen]
        self._evaluation.evalImgs = matches.ravel().tolist()
        with contextlib.redirect_stdout(io.StringIO()):
            self._evaluation.accumulate()
        # (IoU thresholds, recalls, parts, areas, detection limits); -1 for a missing part
        precision = self._evaluation.eval["precision"][..., 0, 0]
        precision = np.where(precision < 0, np.nan, precision)
        return np.stack([precision.mean((0, 1)), precision[0].mean(0)], axis=1)


def judged(
    name: str, mask: NDArray[np.bool_], truth: NDArray[np.uint8], missing: Iterable[str]
) -> NDArray[np.bool_] | None:
    """Return the mask of the pixels of a found part that can be judged.

    Args:
        name: of the part.
        mask: of the part, (H, W).
        truth: label map (H, W) uint8, 255 is ignored.
        missing: visible parts that the truth lacks, wholly or in part.

    Returns:
        The mask without ignored pixels. None if the part is missing, or mostly on ignored pixels.
    """
    if name in missing:
        return None
    rest = mask & (truth != IGNORE)
    return rest if 2 * np.count_nonzero(rest) >= np.count_nonzero(mask) else None


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a mask (H, W) as COCO run lengths."""
    rle: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return rle


def coco_documents(
    answers: Sequence[Judged],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return images, annotations and results in COCO's form."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, (parts, truth, missing) in enumerate(answers, start=1):
        height, width = truth.shape
        images.append({"id": number, "height": height, "width": width})
        for label in np.unique(truth[(truth > 0) & (truth != IGNORE)]).tolist():
            if name_of(label) in missing:  # some of the wheels are annotated, not all
                continue
            rle = encode(truth == label)
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": label,
                    "segmentation": rle, "area": float(coco_mask.area(rle)),
                    "bbox": coco_mask.toBbox(rle).tolist(), "iscrowd": 0,
                }
            )  # fmt: skip
        for part in parts:
            mask = judged(part.name, rasterize(part.polygons, height, width), truth, missing)
            if mask is None:
                continue
            results.append(
                {
                    "image_id": number, "category_id": label_of(part.name),
                    "segmentation": encode(mask), "score": part.confidence,
                }
            )  # fmt: skip
    return images, annotations, results


def index_documents(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> COCO:
    """Return an index of images and annotations in COCO's form."""
    coco = COCO()
    coco.dataset = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(PART_NAMES, start=1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
