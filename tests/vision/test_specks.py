"""Small pieces go to the label around them; the map is changed in place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geometry.rings import exteriors, trace
from vision.specks import remove_specks


def removed(labels: NDArray[np.uint8], limit: float, share: float = 0.0) -> bool:
    return bool(remove_specks(labels, exteriors(trace(labels)), limit, share))


def door() -> NDArray[np.uint8]:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:50, 10:40] = 9
    labels[10:50, 40:70] = 11
    return labels


def test_nothing_to_remove() -> None:
    labels = door()
    assert not removed(labels, 50)
    assert np.array_equal(labels, door())


def test_specks_in_part_and_in_background() -> None:
    labels = door()
    labels[20:22, 50:53] = 9  # in the other door
    labels[0, 0] = labels[59, 79] = labels[2, 77] = 9  # at the edges
    assert removed(labels, 50)
    assert np.array_equal(labels, door())


def test_labels_that_lost_or_gained_pixels() -> None:
    labels = door()
    labels[20:22, 50:53] = 9
    labels[55, 3] = 11
    pieces = exteriors(trace(labels))
    assert remove_specks(labels, pieces, 50, 0.0) == {0, 9, 11}
    assert remove_specks(labels, exteriors(trace(labels)), 50, 0.0) == set()
    labels[20:22, 50:53] = 9
    assert remove_specks(labels, exteriors(trace(labels)), 50, 0.0) == {9, 11}


def test_large_pieces_stay() -> None:
    labels = door()
    labels[20:30, 50:60] = 9
    expected = labels.copy()
    labels[55, 3:6] = 11
    assert removed(labels, 50)
    assert np.array_equal(labels, expected)


def test_largest_piece_stays() -> None:
    """A part may be small as a whole."""
    labels = np.zeros((20, 20), np.uint8)
    labels[3:5, 3:5] = 14
    labels[10, 10] = 14
    assert removed(labels, 50)
    assert np.count_nonzero(labels) == 4


def test_part_that_touches_box_of_speck() -> None:
    """A large piece keeps a corner that is near a speck."""
    labels = door()
    labels[51:53, 12] = 9
    labels[50, 12] = 0
    labels[52, 12] = 9
    expected = door()
    assert removed(labels, 50)
    assert np.array_equal(labels, expected) or np.array_equal(labels[:50], expected[:50])


def test_pieces_by_their_share() -> None:
    labels = door()
    labels[20:30, 50:60] = 9
    assert not removed(labels, 50, 0.05)
    assert removed(labels, 50, 0.1)
    assert np.array_equal(labels, door())
