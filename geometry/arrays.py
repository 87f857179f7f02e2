"""Define types of arrays, and functions for ranges in flat arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
LabelArray = NDArray[Any]
"""(H, W) bool or integer label map; 0 is background."""

Outlines = tuple[FloatArray, IntArray]
"""Points (P, 2) of rings, not closed, and offsets (R + 1,) of the rings in them."""


def ragged_ranges(starts: IntArray, lengths: IntArray) -> IntArray:
    """Concatenate the ranges ``starts[i] .. starts[i] + lengths[i] - 1``.

    >>> ragged_ranges(np.array([5, 0]), np.array([3, 2]))
    array([5, 6, 7, 0, 1])
    """
    shifts: IntArray = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    return shifts + np.arange(len(shifts))


def offsets_of(lengths: IntArray) -> IntArray:
    """Return the start in a flat array of each piece of these lengths, and the end of the last.

    >>> offsets_of(np.array([3, 2]))
    array([0, 3, 5])
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
