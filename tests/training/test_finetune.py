"""Users go on with their own photos, and the service loads what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from img_to_segments import PartSegmenter
from training.finetune import finetune, own_photos
from training.own_photos import OwnDataError, OwnRun
from training.parts_data import read_rgb


def write_coco(folder: Path) -> Path:
    """Return one photo of a "hood" on a plain ground."""
    photo = np.full((96, 128, 3), 90, np.uint8)
    photo[30:60, 20:90] = (20, 30, 200)
    cv2.imwrite(str(folder / "a.png"), photo)
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 128, "height": 96}],
        "categories": [{"id": 1, "name": "hood"}],
        "annotations": [
            {
                "image_id": 1, "category_id": 1, "area": 2100,
                "segmentation": [[20, 30, 90, 30, 90, 60, 20, 60]],
            }
        ],
    }  # fmt: skip
    path = folder / "my.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_own_photos_result_in_loadable_models(tmp_path: Path) -> None:
    coco = write_coco(tmp_path)
    photos = [
        photo
        for part in ("train", "val")
        for photo in own_photos(coco, tmp_path, tmp_path / "labels", part)
    ]
    out, runs = tmp_path / "my_models", tmp_path / "run"
    figures = finetune(photos, out, OwnRun(runs, samples=12, batch=4))
    before, after = PartSegmenter(), PartSegmenter(folder=out)
    rgb = read_rgb(tmp_path / "a.png")
    change = np.abs(after.logits(rgb) - before.logits(rgb)).max()
    assert 0.01 < change < 50
    assert json.loads((out / "parts.json").read_text(encoding="utf-8"))["metrics"] == {}
    assert 0 <= figures["iou_hood"] <= 1
    assert "iou_hood" in json.loads((runs / "figures.json").read_text(encoding="utf-8"))


def test_missing_photo_is_named(tmp_path: Path) -> None:
    coco = write_coco(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(OwnDataError, match=r"a\.png"):
        own_photos(coco, tmp_path, tmp_path / "labels", "train")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"hood"', '"bonnet"', "no category .* is a part; theirs are .'bonnet'"),
        ('"annotations"', '"labels"', "no COCO file .* KeyError"),
        ('"segmentation": [', '"segmentation": {"counts": [', "JSONDecodeError"),
        ("[[20, 30, 90, 30, 90, 60, 20, 60]]", '{"counts": "x"}', "run lengths"),
        ('"file_name": "a.png"', '"file_name": "b.png"', r"b\.png"),
    ],
)
def test_unusable_data(tmp_path: Path, old: str, new: str, told: str) -> None:
    coco = write_coco(tmp_path)
    text = coco.read_text(encoding="utf-8")
    assert old in text
    coco.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(OwnDataError, match=told):
        own_photos(coco, tmp_path, tmp_path / "labels", "train")
