"""`coco` and `coco-rle`, read by pycocotools, the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coder
from pycocotools.coco import COCO

from exports.annotation import ImageAnnotation
from exports.coco import encode_mask, merge, write, write_rle
from img_to_segments import PART_NAMES
from vision.labels import label_of

pytest_plugins = ["tests.exports.scenes"]

# pycocotools 2.0.11 asks numpy for arrays in an older way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def read(document: bytes, folder: Path) -> Any:
    path = folder / "coco.json"
    path.write_bytes(document)
    return COCO(path)


def masks(dataset: Any, image_id: int = 1) -> dict[str, Any]:
    return {
        dataset.cats[annotation["category_id"]]["name"]: dataset.annToMask(annotation).astype(bool)
        for annotation in dataset.imgToAnns[image_id]
    }


def test_polygons_read_by_pycocotools(
    scene: ImageAnnotation, tmp_path: Path, check_masks: Any
) -> None:
    dataset = read(write(scene), tmp_path)
    check_masks(scene, masks(dataset), share=0.1)


def test_polygons_without_holes(scene: ImageAnnotation) -> None:
    annotations = json.loads(write(scene))["annotations"]
    for part, annotation in zip(scene.parts, annotations, strict=True):
        has_holes = any(polygon.holes for polygon in part.polygons)
        assert isinstance(annotation["segmentation"], dict if has_holes else list)


def test_run_lengths_of_exact_masks(scene: ImageAnnotation, tmp_path: Path) -> None:
    dataset = read(write_rle(scene), tmp_path)
    labels = scene.labels()
    for name, mask in masks(dataset).items():
        assert np.array_equal(mask, labels == label_of(name))


def test_description_of_photo_and_parts(scene: ImageAnnotation, tmp_path: Path) -> None:
    dataset = read(write(scene), tmp_path)
    image = dataset.imgs[1]
    assert (image["file_name"], image["width"], image["height"]) == (
        "car & co.png", scene.width, scene.height,
    )  # fmt: skip
    assert image["model_version"] == scene.model_version
    assert [category["name"] for category in dataset.loadCats(range(1, 26))] == list(PART_NAMES)
    for part, annotation in zip(scene.parts, dataset.anns.values(), strict=True):
        assert annotation["area"] == part.area
        assert annotation["bbox"] == list(part.bbox)
        assert annotation["score"] == part.confidence


def test_merged_datasets_keep_photos_apart(
    scene: ImageAnnotation, empty: ImageAnnotation, tmp_path: Path
) -> None:
    dataset = read(merge([write(scene), write(empty), write(scene)]), tmp_path)
    assert sorted(dataset.imgs) == [1, 2, 3]
    assert len(dataset.anns) == 2 * len(scene.parts)
    assert dataset.imgToAnns[2] == []
    first, third = masks(dataset, 1), masks(dataset, 3)
    assert all(np.array_equal(first[name], third[name]) for name in first)


@pytest.mark.parametrize("seed", range(5))
def test_encode_mask(seed: int) -> None:
    mask = np.random.default_rng(seed).random((7, 5)) < seed / 4
    packed = coder.frPyObjects(encode_mask(mask), *mask.shape)
    assert np.array_equal(coder.decode(packed).astype(bool), mask)
