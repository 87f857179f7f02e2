"""Draw a result as pictures: the label map, the mask of a part, the overlay of all parts."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exports.annotation import ImageAnnotation
from exports.palette import BACKGROUND, PART_COLOURS, Colour

Rings = list[list[tuple[float, float]]]

_SHIFT = 4  # OpenCV draws with coordinates in 1/16 pixel
_FILL = 0.5  # opacity of a part's colour inside its outline


def label_map_png(labels: NDArray[np.uint8]) -> bytes:
    """Return a palette PNG: a pixel's value is its label, its colour that of the part."""
    picture = Image.fromarray(labels)
    colours = (BACKGROUND, *PART_COLOURS.values())
    picture.putpalette([channel for colour in colours for channel in colour])
    return _png(picture)


def mask_png(mask: NDArray[np.bool_]) -> bytes:
    """Return a grey PNG: 255 inside the part, 0 elsewhere."""
    return _png(Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))))


def overlay_png(annotation: ImageAnnotation) -> bytes:
    """Return an RGBA PNG of the parts on a transparent background."""
    parts = [
        (part.name, [[polygon.exterior, *polygon.holes] for polygon in part.polygons])
        for part in annotation.parts
    ]
    return _png(Image.fromarray(draw_parts_alone(annotation.height, annotation.width, parts)))


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def draw_parts(
    rgb: NDArray[np.uint8], parts: Iterable[tuple[str, Iterable[Rings]]]
) -> NDArray[np.uint8]:
    """Fill and outline parts on a photo, in the colours of the palette.

    Args:
        rgb: (H, W, 3) uint8.
        parts: name of each part and its polygons, each a list of rings: the exterior, then holes,
            in pixel-corner coordinates.

    Returns:
        (H, W, 3) uint8, a new picture.
    """
    shapes = _shapes(parts)
    filled = rgb.copy()
    for colour, rings in shapes:
        cv2.fillPoly(filled, rings, colour, cv2.LINE_AA, _SHIFT)
    drawn = cv2.addWeighted(filled, _FILL, rgb, 1 - _FILL, 0).astype(np.uint8)
    for colour, rings in shapes:
        cv2.polylines(drawn, rings, True, colour, _thickness(rgb), cv2.LINE_AA, _SHIFT)
    return drawn


def draw_parts_alone(
    height: int, width: int, parts: Iterable[tuple[str, Iterable[Rings]]]
) -> NDArray[np.uint8]:
    """Draw parts on a transparent background: half transparent areas, opaque outlines.

    Edges are not antialiased, because antialiasing would mix in a background colour.

    Returns:
        (height, width, 4) uint8 RGBA, transparent outside the parts.
    """
    shapes = _shapes(parts)
    drawn = np.zeros((height, width, 4), np.uint8)
    for colour, rings in shapes:
        cv2.fillPoly(drawn, rings, (*colour, round(_FILL * 255)), cv2.LINE_8, _SHIFT)
    for colour, rings in shapes:
        cv2.polylines(drawn, rings, True, (*colour, 255), _thickness(drawn), cv2.LINE_8, _SHIFT)
    return drawn


def _shapes(
    parts: Iterable[tuple[str, Iterable[Rings]]],
) -> list[tuple[Colour, list[NDArray[np.int32]]]]:
    """Return colour and rings of each polygon, in OpenCV's coordinates."""
    return [
        (PART_COLOURS[name], [_fixed_point(ring) for ring in rings])
        for name, polygons in parts
        for rings in polygons
    ]


def _thickness(picture: NDArray[np.uint8]) -> int:
    """Return the width of outlines in pixels: 1/600 of the longest side, at least 1."""
    side: int = max(picture.shape[:2])
    return max(1, round(side / 600))


def _fixed_point(ring: list[tuple[float, float]]) -> NDArray[np.int32]:
    """Convert a ring to OpenCV's coordinates, whose (0, 0) is the centre of the top left pixel."""
    return np.round((np.asarray(ring) - 0.5) * (1 << _SHIFT)).astype(np.int32)
