"""The parts of the largest car are kept, those of other cars are left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision.car_groups import largest_car
from vision.labels import label_of


def car(width: int = 40) -> NDArray[np.uint8]:
    """Return the front of a car: glass above the hood above the bumper, a light, two wheels."""
    labels = np.zeros((34, 44), np.uint8)
    labels[2:10, 2:width] = label_of("front_glass")
    labels[10:18, 2:width] = label_of("hood")
    labels[18:24, 2:width] = label_of("front_bumper")
    labels[18:21, 2:6] = label_of("front_right_light")
    labels[24:32, 3:9] = label_of("wheel")
    labels[24:32, width - 8 : width - 2] = label_of("wheel")
    return labels


def test_one_car() -> None:
    labels = car()
    found = largest_car(labels)
    assert np.array_equal(found.labels, labels)
    assert not found.has_rivals
    assert not found.elsewhere.any()


def test_no_car() -> None:
    found = largest_car(np.zeros((5, 7), np.uint8))
    assert not found.labels.any()
    assert not found.has_rivals


def test_two_cars() -> None:
    both = np.hstack([car(), np.zeros((34, 12), np.uint8), car(30)])
    found = largest_car(both)
    assert np.array_equal(found.labels[:, :44], car())
    assert not found.labels[:, 44:].any()
    assert found.elsewhere[10, 60]
    assert not found.elsewhere[10, 20]
    assert found.has_rivals


def test_small_car_behind() -> None:
    """It is left out, and not worth a message."""
    both = np.pad(car(), ((0, 0), (0, 30)))
    small = car()[::4, ::4]
    both[2 : 2 + small.shape[0], 60 : 60 + small.shape[1]] = small
    found = largest_car(both)
    assert not found.labels[:, 44:].any()
    assert not found.has_rivals


def test_pieces_of_one_car() -> None:
    """A wheel far from the rest, as behind the bare side of a van, stays."""
    van = np.hstack([car(), np.zeros((34, 60), np.uint8)])
    van[24:32, -9:-3] = label_of("wheel")
    van[4:10, -4:-1] = label_of("back_right_light")
    found = largest_car(van)
    assert np.array_equal(found.labels, van)
    assert not found.has_rivals


def test_part_behind_pole() -> None:
    """A hood in two pieces with a narrow gap belongs to one car."""
    labels = car()
    labels[:, 20] = 0
    found = largest_car(labels)
    assert np.array_equal(found.labels, labels)
    assert not found.has_rivals
    assert not found.elsewhere.any()


def test_cars_that_touch() -> None:
    """They can't be separated, but the answer says that there are others."""
    both = np.hstack([car(42), car()])
    both[24:32, 38:50] = label_of("wheel")  # no gap
    found = largest_car(both)
    assert np.array_equal(found.labels, both)
    assert found.has_rivals


def test_stray_light_without_wheel() -> None:
    """A second small light far from the first is dropped alone, not with the wheel near it."""
    labels = np.pad(car(), ((0, 0), (0, 30)))
    labels[24:32, 60:66] = label_of("wheel")
    expected = labels.copy()
    labels[18:21, 68:71] = label_of("front_right_light")
    found = largest_car(labels)
    assert np.array_equal(found.labels, expected)
    assert not found.has_rivals
