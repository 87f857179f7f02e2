"""`yolo`, read by supervision's loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import supervision
from PIL import Image

from exports.annotation import ImageAnnotation
from exports.yolo import data_file, write
from img_to_segments import PART_NAMES

pytest_plugins = ["tests.exports.scenes"]


def load(document: bytes, folder: Path, scene: ImageAnnotation) -> Any:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    Image.new("RGB", (scene.width, scene.height)).save(folder / "images" / "car.png")
    (folder / "labels" / "car.txt").write_bytes(document)
    (folder / "data.yaml").write_bytes(data_file())
    dataset = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(folder / "images"),
        annotations_directory_path=str(folder / "labels"),
        data_yaml_path=str(folder / "data.yaml"),
        force_masks=True,
    )
    assert dataset.classes == list(PART_NAMES)
    return next(iter(dataset.annotations.values()))


def test_rows_match_masks(scene: ImageAnnotation, tmp_path: Path, check_masks: Any) -> None:
    detections = load(write(scene), tmp_path, scene)
    assert len(detections) == sum(len(part.polygons) for part in scene.parts)
    masks: dict[str, Any] = {}
    for number, mask in zip(detections.class_id, detections.mask, strict=True):
        name = PART_NAMES[number]
        masks[name] = masks.get(name, np.zeros_like(mask)) | mask
    check_masks(scene, masks, share=0.7)


def test_coordinates_are_within_photo(scene: ImageAnnotation) -> None:
    for row in write(scene).decode().splitlines():
        number, *values = row.split()
        assert 0 <= int(number) < len(PART_NAMES)
        assert len(values) >= 6
        assert len(values) % 2 == 0
        assert all(0 <= float(value) <= 1 for value in values)


def test_photo_without_car_has_no_rows(empty: ImageAnnotation, tmp_path: Path) -> None:
    assert write(empty) == b""
    assert len(load(write(empty), tmp_path, empty)) == 0
