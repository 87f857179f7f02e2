"""Data, augmentation, loss and metrics of the part network."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training.parts_augment import Jitter, augment, random_transform
from training.parts_data import (
    FLIPPED,
    IGNORE,
    near_duplicate_groups,
    rasterise_coco,
    read_labels,
)
from training.parts_metrics import PartScores
from training.pseudo_labels import TAILGATE, TRUNK, label, use_type
from training.train_parts import OPTIONS, parts_loss
from vision.labels import label_of
from vision.networks import build_network

LEFT_DOOR = label_of("front_left_door")
RIGHT_DOOR = label_of("front_right_door")
HOOD = label_of("hood")
STILL = Jitter((1.0, 1.0), (1.0, 1.0), turn=0, shear=0, perspective=0, mirror=0.0)
MIRRORED = Jitter((1.0, 1.0), (1.0, 1.0), turn=0, shear=0, perspective=0, mirror=1.0)


def test_mirrored_label_is_other_side_and_back() -> None:
    assert FLIPPED[LEFT_DOOR] == RIGHT_DOOR
    assert FLIPPED[HOOD] == HOOD
    assert FLIPPED[0] == 0
    assert FLIPPED[IGNORE] == IGNORE
    np.testing.assert_array_equal(FLIPPED[FLIPPED], np.arange(256))


def test_flip_moves_pixels_and_swaps_sides() -> None:
    image = np.full((64, 64, 3), 100, np.uint8)
    image[:, :16] = 250
    labels = np.zeros((64, 64), np.uint8)
    labels[:, :16] = LEFT_DOOR
    rng = np.random.default_rng(0)
    _, still = augment(image, labels, None, (64, 64), STILL, rng)
    _, mirrored = augment(image, labels, None, (64, 64), MIRRORED, rng)
    assert set(np.unique(still)) == {0, LEFT_DOOR}
    np.testing.assert_array_equal(mirrored, FLIPPED[still][:, ::-1])


def test_labels_follow_pixels() -> None:
    """A mark in the photo stays where the label is, for any geometry."""
    jitter = Jitter((1.0, 1.8), (0.6, 1.4))
    labels = np.zeros((100, 100), np.uint8)
    labels[30:60, 20:70] = HOOD
    image = np.where(labels[..., None] > 0, np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    for seed in range(20):
        matrix, _ = random_transform((100, 100), (96, 128), jitter, np.random.default_rng(seed))
        moved = cv2.warpPerspective(image, matrix, (128, 96))[..., 0] > 127
        _, target = augment(image, labels, None, (96, 128), jitter, np.random.default_rng(seed))
        half = cv2.resize(moved.astype(np.uint8), (64, 48), interpolation=cv2.INTER_AREA) > 0
        inside = target == HOOD
        assert np.count_nonzero(inside & ~half) <= 0.02 * np.count_nonzero(inside)


def test_coco_polygons_become_label_maps(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 5, "file_name": "a.jpg", "width": 10, "height": 8}],
        "categories": [{"id": 3, "name": "hood"}, {"id": 4, "name": "roof"}],
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
    labels = read_labels(file, (8, 10))
    assert (labels[1:3, 2:6] == HOOD).all()
    assert labels[5:7, 7:9].max() == 0  # a part that we do not know


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


def test_training_steps_lower_loss() -> None:
    torch.manual_seed(0)
    network = build_network("pyramid", OPTIONS).train()
    x = torch.randn(2, 3, 64, 64)
    target = torch.zeros(2, 32, 32, dtype=torch.long)
    target[:, :, 16:] = HOOD
    target[:, 0] = IGNORE
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        loss = parts_loss(network, (x, target))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_known_type_decides_between_trunk_and_tailgate() -> None:
    chances = np.zeros((19, 1, 1), np.float32)
    chances[TAILGATE], chances[TRUNK] = 0.6, 0.3
    for car_type, right, wrong in (("sedan", TRUNK, TAILGATE), ("suv", TAILGATE, TRUNK)):
        known = use_type(chances, car_type)
        assert known[right, 0, 0] == pytest.approx(0.9)
        assert known[wrong, 0, 0] == 0


def test_unsure_pixels_are_ignored() -> None:
    chances = np.zeros((19, 4, 8), np.float32)
    chances[HOOD, :, :4], chances[0, :, :4] = 0.9, 0.1
    chances[HOOD, :, 4:], chances[0, :, 4:] = 0.45, 0.55
    labels, sure = label(chances, 4, 8)
    assert set(np.unique(labels)) == {HOOD, IGNORE}
    assert sure > 0.6
