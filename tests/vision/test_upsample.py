"""Labels at the photo's size are those of whole planes that are enlarged and compared."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vision.upsample import upsample_labels

SIZES = [(960, 1280), (131, 97), (300, 1), (1, 50), (33, 40), (20, 24), (7, 500), (1100, 24)]


def four_cells(coarse: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return (4, height, width) labels of the cells around the centre of each pixel."""
    sides = []
    for pixels, cells in ((height, coarse.shape[0]), (width, coarse.shape[1])):
        before = np.floor((np.arange(pixels) + 0.5) * cells / pixels - 0.5).astype(int)
        sides.append([np.clip(before + step, 0, cells - 1) for step in (0, 1)])
    return np.stack([coarse[np.ix_(rows, columns)] for rows in sides[0] for columns in sides[1]])


def by_planes(
    logits: NDArray[np.float32], coarse: NDArray[np.uint8], height: int, width: int
) -> NDArray[np.uint8]:
    """Return labels from logits enlarged by OpenCV, confined as in `upsample_labels`."""
    size = (width, height)
    scores = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in logits])
    around = four_cells(coarse, height, width)
    for label in range(1, len(logits)):
        scores[label][(around != label).all(axis=0)] = -np.inf
    same = (around == around[0]).all(axis=0)
    return np.asarray(np.where(same, around[0], scores.argmax(0)), np.uint8)


def smooth(rng: np.random.Generator, labels: int, height: int, width: int) -> NDArray[np.float32]:
    """Return logits like a network's: regions, not noise."""
    noise = rng.normal(size=(labels, height, width)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 2.5) for plane in noise]).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_same_labels_as_whole_planes(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = smooth(rng, 7, 33, 40)
    coarse = logits.argmax(0).astype(np.uint8)
    coarse[(coarse == 3) & (rng.random(coarse.shape) < 0.5)] = 0  # as if islands were removed
    coarse[coarse == 5] = 0
    found = upsample_labels(logits, coarse, height, width)
    assert found.shape == (height, width)
    assert found.dtype == np.uint8
    assert 5 not in found
    assert np.count_nonzero(found != by_planes(logits, coarse, height, width)) <= found.size * 1e-4


def test_no_part_gives_background() -> None:
    logits = np.zeros((3, 8, 8), np.float32)
    assert not upsample_labels(logits, np.zeros((8, 8), np.uint8), 50, 60).any()
