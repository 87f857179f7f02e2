"""Encode a result as PNG pictures: the label map, the mask of a part, the overlay of all parts."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exports.annotation import ImageAnnotation
from exports.overlay import draw_parts, draw_parts_alone
from exports.palette import BACKGROUND, PART_COLOURS


def label_map_png(labels: NDArray[np.uint8]) -> bytes:
    """Return a palette PNG: a pixel's value is its label, its colour that of the part."""
    picture = Image.fromarray(labels)
    colours = (BACKGROUND, *PART_COLOURS.values())
    picture.putpalette([channel for colour in colours for channel in colour])
    return _png(picture)


def mask_png(mask: NDArray[np.bool_]) -> bytes:
    """Return a grey PNG: 255 inside the part, 0 elsewhere."""
    return _png(Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))))


def overlay_png(scene: ImageAnnotation, photo: NDArray[np.uint8] | None = None) -> bytes:
    """Draw the parts on the photo, or on a transparent background if there is no photo.

    Args:
        scene: the parts.
        photo: (H, W, 3) uint8 RGB, of the scene's size, or None.

    Returns:
        The PNG file.
    """
    parts = [
        (part.name, [[polygon.exterior, *polygon.holes] for polygon in part.polygons])
        for part in scene.parts
    ]
    if photo is None:
        return _png(Image.fromarray(draw_parts_alone(scene.height, scene.width, parts)))
    return _png(Image.fromarray(draw_parts(photo, parts)))


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
