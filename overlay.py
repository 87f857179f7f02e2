"""A photo with its parts drawn on it."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from palette import PART_COLOURS

Rings = list[list[tuple[float, float]]]

_SHIFT = 4  # OpenCV draws with coordinates of 1/16 pixel
_FILL = 0.5  # share of the part's colour in its area


def draw_parts(
    rgb: NDArray[np.uint8], parts: Iterable[tuple[str, Iterable[Rings]]]
) -> NDArray[np.uint8]:
    """Fill and outline parts in the colours of the palette.

    Args:
        rgb: (H, W, 3) uint8.
        parts: name of each part and its polygons, each a list of rings: the exterior, then holes,
            in pixel-corner coordinates.

    Returns:
        (H, W, 3) uint8, a new picture.
    """
    thickness = max(1, round(max(rgb.shape) / 600))
    outlines = [
        (PART_COLOURS[name], [_fixed_point(ring) for ring in rings])
        for name, polygons in parts
        for rings in polygons
    ]
    filled = rgb.copy()
    for colour, rings in outlines:
        cv2.fillPoly(filled, rings, colour, cv2.LINE_AA, _SHIFT)
    drawn = cv2.addWeighted(filled, _FILL, rgb, 1 - _FILL, 0).astype(np.uint8)
    for colour, rings in outlines:
        cv2.polylines(drawn, rings, True, colour, thickness, cv2.LINE_AA, _SHIFT)
    return drawn


def _fixed_point(ring: list[tuple[float, float]]) -> NDArray[np.int32]:
    """A ring as OpenCV draws it: its (0, 0) is the centre of the top left pixel."""
    return np.round((np.asarray(ring) - 0.5) * (1 << _SHIFT)).astype(np.int32)
