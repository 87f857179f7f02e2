"""Scale photos and boxes in photos to a network's input size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

# A photo that shrinks by more than this factor is averaged. Below it, interpolation finds parts
# equally well (benchmarks/README.md) in a seventh of the time.
_AVERAGE_ABOVE = 1.6
# Up to this factor it is interpolated to twice the size first, and then averaged in squares of 2x2:
# averaging by another factor than 2 takes three times as long.
_AVERAGE_AT_ONCE_ABOVE = 2.5
# Prefer a smaller input while the photo keeps 98 % of its largest scale.
_SCALE_SLACK = 0.98
FILL = 127  # grey around the photo, as in training


@dataclass(frozen=True)
class Letterbox:
    """A photo scaled without distortion into the top left corner of a grey input.

    Attributes:
        pixels: (h, w, 3) uint8, the input.
        width, height: of the scaled photo in the input, in pixels.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int


def fit_area(rgb: NDArray[np.uint8], area: int, multiple: int) -> Letterbox:
    """Scale a photo to fill an input of at most `area` pixels, of any aspect ratio.

    The area bounds the arithmetic of the network. Among the inputs that hold the photo at 98 % or
    more of its largest scale, the smallest is taken: grey around the photo is wasted arithmetic.

    Args:
        rgb: (H, W, 3) uint8.
        area: most pixels (height x width) of the input, at least `multiple` squared.
        multiple: width and height of the input are multiples of this.

    Example:
        >>> box = fit_area(np.zeros((300, 400, 3), np.uint8), 512 * 384, 32)
        >>> box.pixels.shape, box.width, box.height
        ((384, 512, 3), 512, 384)
    """
    inner, size = _fitted(rgb.shape[0], rgb.shape[1], area, multiple)
    return _place(rgb, inner, size, (0, 0))


@lru_cache(maxsize=256)  # it takes as long as half of the scaling, and sizes of photos repeat
def _fitted(
    height: int, width: int, area: int, multiple: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the sizes (h, w) of the scaled photo and of the input, see `fit_area`."""
    cells = area // multiple**2
    sides = [(cells // across * multiple, across * multiple) for across in range(1, cells + 1)]
    largest = max(min(h / height, w / width) for h, w in sides)
    # One side of the photo fills the input, to minimise the grey area.
    ends = [n * multiple / side for n in range(1, cells + 1) for side in (height, width)]
    found = []
    for scale in ends:
        if _SCALE_SLACK * largest <= scale <= largest:
            inner = max(1, round(height * scale)), max(1, round(width * scale))
            size = _round_up(inner[0], multiple), _round_up(inner[1], multiple)
            found.append((size[0] * size[1], -scale, inner, size))
    *_, inner, size = min(found)
    return inner, size


def fit_box(
    rgb: NDArray[np.uint8], box: tuple[float, float, float, float], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Cut a box out of a photo and centre it, undistorted, on a grey input.

    Args:
        rgb: (H, W, 3) uint8.
        box: x0, y0, x1, y1 in pixels of the photo; clipped to it.
        size: (height, width) of the input.

    Returns:
        (height, width, 3) uint8.

    Example:
        >>> fit_box(np.zeros((300, 400, 3), np.uint8), (10, 10, 60, 40), (192, 288)).shape
        (192, 288, 3)
    """
    x0, x1 = _clip(box[0], box[2], rgb.shape[1])
    y0, y1 = _clip(box[1], box[3], rgb.shape[0])
    scale = min(size[0] / (y1 - y0), size[1] / (x1 - x0))
    inner = max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale))
    corner = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    return _place(rgb[y0:y1, x0:x1], inner, size, corner).pixels


def _clip(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the range of whole pixels within `size` that an interval touches, at least one."""
    first = min(max(0, math.floor(low)), size - 1)
    return first, max(first + 1, min(size, math.ceil(high)))


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _place(
    rgb: NDArray[np.uint8], inner: tuple[int, int], size: tuple[int, int], corner: tuple[int, int]
) -> Letterbox:
    """Scale `rgb` to `inner` (h, w) and paste it at `corner` (y, x) of a grey `size` (h, w)."""
    high, wide = inner
    shrinks = rgb.shape[0] > _AVERAGE_ABOVE * high
    if shrinks and rgb.shape[0] <= _AVERAGE_AT_ONCE_ABOVE * high:
        twice = cv2.resize(rgb, (2 * wide, 2 * high), interpolation=cv2.INTER_LINEAR)
        rgb = np.asarray(twice, np.uint8)
    averaging = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(rgb, (wide, high), interpolation=averaging)
    if inner == size:
        return Letterbox(np.asarray(scaled, np.uint8), width=wide, height=high)
    canvas = np.full((*size, 3), FILL, np.uint8)
    canvas[corner[0] : corner[0] + inner[0], corner[1] : corner[1] + inner[1]] = scaled
    return Letterbox(canvas, width=inner[1], height=inner[0])
