"""Draw the parts of a car and their names on its photo."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Literal

from PIL import Image

from exports.pictures import draw_names, draw_parts
from segment_interface import decode_image

# Colours at full resolution: thin outlines would be blurred.
_JPEG: dict[str, int] = {"quality": 90, "subsampling": 0}


def overlay(
    photo: bytes, document: bytes, max_pixels: int, *, kind: Literal["JPEG", "PNG"]
) -> bytes:
    """Return the upright photo with its parts and their names as a file.

    Args:
        photo: image file.
        document: its result in the format `json`, in pixels.
        max_pixels: most pixels that are decoded.
        kind: format of the file.

    Raises:
        ImageError: the photo can't be decoded.
    """
    rgb = decode_image(photo, max_pixels)
    parts = [
        (part["name"], [[polygon["exterior"], *polygon["holes"]] for polygon in part["polygons"]])
        for part in json.loads(document)["parts"]
    ]
    picture = Image.fromarray(draw_names(draw_parts(rgb, parts), parts))
    buffer = BytesIO()
    picture.save(buffer, kind, **(_JPEG if kind == "JPEG" else {}))
    return buffer.getvalue()
