"""`coco` and `coco-rle`: a COCO dataset of object instances (https://cocodataset.org/#format-data).

Each part is one annotation. In `coco` its `segmentation` is a list of polygons. COCO polygons have
no holes, so a part with a hole is run-length encoded instead. In `coco-rle` all parts are
run-length encoded, from the exact masks. Both kinds have `iscrowd` 0, and pycocotools reads both.
`area` and `bbox` are those of the mask.

If the photo was examined for damage, the kinds of damage are categories after the parts, and each
damage is one annotation, with the parts on which it lies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.photo_damage import Damage
from exports.annotation import ImageAnnotation
from exports.coordinates import rounded, run_lengths
from exports.json_answer import to_json_bytes
from img_to_segments import PART_NAMES
from photo_result import Part
from vision.labels import DAMAGE_KINDS, label_of

_FIRST_KIND = len(PART_NAMES) + 1  # category of the first kind of damage


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
    categories = [dataset["categories"] for dataset in datasets]
    merged["categories"] = max([merged["categories"], *categories], key=len)  # the longest has all
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


def _frame(*, damage: bool = False) -> dict[str, Any]:
    categories = [
        {"id": label, "name": name, "supercategory": "car"}
        for label, name in enumerate(PART_NAMES, start=1)
    ]
    if damage:
        categories += [
            {"id": category, "name": kind, "supercategory": "damage"}
            for category, kind in enumerate(DAMAGE_KINDS, start=_FIRST_KIND)
        ]
    return {
        "info": {"description": "Parts of cars, found by car segmentation"},
        "licenses": [],
        "images": [],
        "annotations": [],
        "categories": categories,
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
        _annotation(number, label_of(part.name), part, _mask(annotation, part), polygons)
        for number, part in enumerate(annotation.parts, start=1)
    ]
    for damage in annotation.damages or ():
        category = _FIRST_KIND + DAMAGE_KINDS.index(damage.kind)
        mask = _damage_mask(annotation, damage)
        fields = _annotation(len(annotations) + 1, category, damage, mask, polygons)
        annotations.append(fields | {"parts": [vars(part) for part in damage.parts]})
    frame = _frame(damage=annotation.damages is not None)
    return frame | {"images": [image], "annotations": annotations}


def _mask(annotation: ImageAnnotation, part: Part) -> Callable[[], NDArray[np.bool_]]:
    return lambda: annotation.labels() == label_of(part.name)


def _damage_mask(annotation: ImageAnnotation, damage: Damage) -> Callable[[], NDArray[np.bool_]]:
    return lambda: annotation.damage_labels() == damage.number


def _annotation(
    number: int,
    category: int,
    shown: Part | Damage,
    mask: Callable[[], NDArray[np.bool_]],
    polygons: bool,
) -> dict[str, Any]:
    segmentation: Any
    if polygons and not any(polygon.holes for polygon in shown.polygons):
        segmentation = [
            [value for point in rounded(polygon.exterior) for value in point]
            for polygon in shown.polygons
        ]
    else:
        segmentation = encode_mask(mask())
    return {
        "id": number,
        "image_id": 1,
        "category_id": category,
        "segmentation": segmentation,
        "area": shown.area,
        "bbox": list(shown.bbox),
        "iscrowd": 0,
        "score": shown.confidence,
    }
