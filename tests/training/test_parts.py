"""Test label maps, near-duplicates and figures of parts."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.parts_data import (
    FLIPPED,
    IGNORE,
    add_panels,
    near_duplicate_groups,
    rasterise_coco,
    read_labels,
)
from training.parts_metrics import PartScores
from vision.labels import PANELS, PART_NAMES, label_of

LEFT_DOOR = label_of("front_left_door")
RIGHT_DOOR = label_of("front_right_door")
HOOD = label_of("hood")


def test_mirrored_label_is_other_side_and_back() -> None:
    assert FLIPPED[LEFT_DOOR] == RIGHT_DOOR
    assert FLIPPED[HOOD] == HOOD
    assert FLIPPED[0] == 0
    assert FLIPPED[IGNORE] == IGNORE
    np.testing.assert_array_equal(FLIPPED[FLIPPED], np.arange(256))


def test_coco_polygons_become_label_maps(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 5, "file_name": "a.jpg", "width": 10, "height": 8}],
        "categories": [{"id": 3, "name": "hood"}, {"id": 4, "name": "spoiler"}],
        "annotations": [
            {
                "image_id": 5,
                "category_id": 3,
                "area": 8,
                "segmentation": [[2, 1, 6, 1, 6, 3, 2, 3]],
            },
            {
                "image_id": 5,
                "category_id": 4,
                "area": 4,
                "segmentation": [[7, 5, 9, 5, 9, 7, 7, 7]],
            },
        ],
    }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    [file] = rasterise_coco(path, tmp_path / "labels")
    labels = read_labels(file)
    assert (labels[1:3, 2:6] == HOOD).all()
    assert labels[5:7, 7:9].max() == 0  # a part that we do not know


def test_panels_fill_free_pixels() -> None:
    """Panels that are no parts yet stay background."""
    labels = np.array([[0, HOOD, 0, 0, IGNORE, IGNORE]], np.uint8)
    mask = np.array([[1, 1, IGNORE, 0, 1, 0]], np.uint8)
    filled = add_panels(labels, mask)
    if PANELS[0] in PART_NAMES:
        roof = label_of(PANELS[0])
        assert filled.tolist() == [[roof, HOOD, IGNORE, 0, roof, IGNORE]]
    else:
        assert filled.tolist() == labels.tolist()


def test_near_duplicates_share_group_mirrored_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photos = [cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (64, 64)) for _ in range(3)]
    photos += [photos[0][:, ::-1], np.clip(photos[1].astype(int) + 3, 0, 255).astype(np.uint8)]
    paths = [tmp_path / f"{i}.png" for i in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        cv2.imwrite(str(path), photo)
    groups = near_duplicate_groups(paths)
    assert groups[3] == groups[0]
    assert groups[4] == groups[1]
    assert len(set(groups)) == 3


def test_scores_equal_those_by_hand() -> None:
    truth = np.array([[LEFT_DOOR, LEFT_DOOR, LEFT_DOOR, 0, HOOD, IGNORE]], np.uint8)
    guess = np.array([[LEFT_DOOR, LEFT_DOOR, RIGHT_DOOR, HOOD, HOOD, HOOD]], np.uint8)
    scores = PartScores()
    scores.add(guess, truth)
    figures = scores.figures()
    assert figures["iou_front_left_door"] == pytest.approx(2 / 3)
    assert figures["iou_hood"] == pytest.approx(1 / 2)
    assert figures["iou_front_right_door"] == 0
    assert figures["miou"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert figures["swapped"] == pytest.approx(1 / 3)


def test_unannotated_part_is_not_scored() -> None:
    truth = np.array([[LEFT_DOOR, LEFT_DOOR, 0, 0]], np.uint8)
    guess = np.array([[LEFT_DOOR, HOOD, HOOD, RIGHT_DOOR]], np.uint8)
    scores = PartScores()
    scores.add(guess, truth, missing=("hood",))
    figures = scores.figures()
    assert figures["iou_front_left_door"] == pytest.approx(1 / 2)  # hood on a door is wrong still
    assert scores.confusion[0].sum() == 1  # of the background only the right door counts
    assert truth.tolist() == [[LEFT_DOOR, LEFT_DOOR, 0, 0]]
