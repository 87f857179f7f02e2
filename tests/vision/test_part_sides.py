"""Test that parts of an unsure side are found, and that sure sides stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from img_to_segments import PartSegmenter
from vision.labels import PART_NAMES, label_of

LEFT, RIGHT = label_of("left_mirror"), label_of("right_mirror")
ANY = np.zeros((96, 128, 3), np.uint8)


class Seer(PartSegmenter):
    """The part network with other answers than its own: mirrors in places of a photo."""

    def __init__(self, places: dict[tuple[int, int], tuple[float, float]]) -> None:
        super().__init__()
        self._places = places

    def logits(self, _rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        chances = np.full((len(PART_NAMES) + 1, 24, 32), 1e-5, np.float32)
        chances[0] = 1
        for (row, column), (left, right) in self._places.items():
            window = slice(row, row + 8), slice(column, column + 8)
            chances[0][window] = 1 - left - right
            chances[LEFT][window], chances[RIGHT][window] = left, right
        return np.log(chances)


def test_mirror_of_unsure_side_is_found() -> None:
    """Neither side is as likely as the background."""
    cells = Seer({(8, 8): (0.36, 0.26)}).cells(ANY)
    assert set(np.unique(cells.labels)) == {0, LEFT}
    assert np.count_nonzero(cells.labels) == 64
    assert cells.confidences[LEFT] > 0.25


def test_network_itself_stays_unsure() -> None:
    cells = Seer({(8, 8): (0.36, 0.26)}).cells(ANY)
    assert cells.probabilities[LEFT][10, 10] == pytest.approx(0.36, abs=0.01)


def test_mirrors_of_sure_sides_stay() -> None:
    cells = Seer({(8, 2): (0.9, 1e-4), (8, 20): (1e-4, 0.9)}).cells(ANY)
    assert (cells.labels[8:16, 2:10] == LEFT).all()
    assert (cells.labels[8:16, 20:28] == RIGHT).all()
    assert cells.confidences[LEFT] == pytest.approx(cells.confidences[RIGHT], abs=1e-4)
    assert cells.confidences[LEFT] > 0.5
