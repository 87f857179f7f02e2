"""Place the map of a car's parts in the grid that the shape network takes as input."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Float = TypeVar("Float", np.float32, np.float64)


def softmax(logits: NDArray[Float]) -> NDArray[Float]:
    """Return the probabilities of logits, both (labels, ...)."""
    values: NDArray[Float] = logits - logits.max(0)
    np.exp(values, out=values)
    values /= values.sum(0)
    return values


def placement(box: Box, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the (2, 3) matrix that centres a box, undistorted, in a grid.

    It maps corners to corners: (0, 0) is the outer corner of the first cell on both sides.

    Args:
        box: x0, y0, x1, y1.
        size: (height, width) of the grid.

    Example:
        >>> placement((2.0, 2.0, 6.0, 4.0), (4, 4)).tolist()
        [[1.0, 0.0, -2.0], [0.0, 1.0, -1.0]]
    """
    x0, y0, x1, y1 = box
    height, width = size
    scale = min(height / (y1 - y0), width / (x1 - x0))
    across = width / 2 - scale * (x0 + x1) / 2
    down = height / 2 - scale * (y0 + y1) / 2
    return np.array([[scale, 0.0, across], [0.0, scale, down]])


def place_label_map(
    probabilities: NDArray[np.float32] | NDArray[np.uint8],
    matrix: NDArray[np.float64],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """Transform a map of labels into a grid. Cells outside the map are background.

    Args:
        probabilities: (labels, h, w), 0 to 1, or uint8 0 to 255; label 0 is the background.
        matrix: (2, 3), from corners of the map to corners of the grid; see `placement`.
        size: (height, width) of the grid.

    Returns:
        (labels, height, width) float32, 0 to 1.
    """
    whole = 255.0 if probabilities.dtype == np.uint8 else 1.0
    # If several cells fall on one cell of the grid, they are averaged, not skipped.
    step = max(1, int(1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))))
    count, height, width = probabilities.shape
    matrix = matrix.copy()
    if step > 1:
        small = max(1, width // step), max(1, height // step)
        matrix[:, 0] *= width / small[0]
        matrix[:, 1] *= height / small[1]
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from centres of cells
    grid = np.empty((count, *size), np.float32)
    for label, plane in enumerate(probabilities):
        if step > 1:
            plane = cv2.resize(plane, small, interpolation=cv2.INTER_AREA)
        border = whole if label == 0 else 0.0
        grid[label] = cv2.warpAffine(plane, matrix, size[::-1], borderValue=(border,))
    grid /= whole
    return grid
