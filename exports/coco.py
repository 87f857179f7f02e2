"""`coco` and `coco-rle`: a COCO dataset of object instances (https://cocodataset.org/#format-data).

Each part is one annotation. In `coco` its `segmentation` is a list of polygons. COCO polygons have
no holes, so a part with a hole is run-length encoded instead. In `coco-rle` all parts are
run-length encoded, from the exact masks. Both kinds have `iscrowd` 0, and pycocotools reads both.
`area` and `bbox` are those of the mask.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exports.annotation import ImageAnnotation
from exports.coordinates import rounded, run_lengths
from exports.json_answer import to_json_bytes
from img_to_segments import PART_NAMES
from photo_result import Part
from vision.labels import label_of


def write(annotation: ImageAnnotation) -> bytes:
    """Return the dataset with polygons, and with masks for parts that have holes."""
    return to_json_bytes(_dataset(annotation, polygons=True))


def write_rle(annotation: ImageAnnotation) -> bytes:
    """Return the dataset with exact masks."""
    return to_json_bytes(_dataset(annotation, polygons=False))


def merge(documents: Sequence[bytes]) -> bytes:
    """Merge datasets into one, with new numbers."""
    datasets = [json.loads(document) for document in documents]
    merged = _frame()
    for dataset in datasets:
        image_id = len(merged["images"]) + 1
        merged["images"] += [image | {"id": image_id} for image in dataset["images"]]
        for annotation in dataset["annotations"]:
            numbers = {"id": len(merged["annotations"]) + 1, "image_id": image_id}
            merged["annotations"].append(annotation | numbers)
    return to_json_bytes(merged)


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a mask in COCO's uncompressed run lengths, column by column."""
    return {"size": list(mask.shape), "counts": run_lengths(mask.ravel(order="F"))}


def _frame() -> dict[str, Any]:
    return {
        "info": {"description": "Parts of cars, found by car segmentation"},
        "licenses": [],
        "images": [],
        "annotations": [],
        "categories": [
            {"id": label, "name": name, "supercategory": "car"}
            for label, name in enumerate(PART_NAMES, start=1)
        ],
    }


def _dataset(annotation: ImageAnnotation, *, polygons: bool) -> dict[str, Any]:
    image: dict[str, Any] = {
        "id": 1,
        "file_name": annotation.file_name,
        "width": annotation.width,
        "height": annotation.height,
        "rotation": annotation.rotation,
        "model_version": annotation.model_version,
    }
    if annotation.type is not None:
        image["car_type"] = annotation.type.name
    annotations = [
        _annotation(number, part, annotation, polygons)
        for number, part in enumerate(annotation.parts, start=1)
    ]
    return _frame() | {"images": [image], "annotations": annotations}


def _annotation(
    number: int, part: Part, annotation: ImageAnnotation, polygons: bool
) -> dict[str, Any]:
    label = label_of(part.name)
    segmentation: Any
    if polygons and not any(polygon.holes for polygon in part.polygons):
        segmentation = [
            [value for point in rounded(polygon.exterior) for value in point]
            for polygon in part.polygons
        ]
    else:
        segmentation = encode_mask(annotation.labels() == label)
    return {
        "id": number,
        "image_id": 1,
        "category_id": label,
        "segmentation": segmentation,
        "area": part.area,
        "bbox": list(part.bbox),
        "iscrowd": 0,
        "score": part.confidence,
    }
