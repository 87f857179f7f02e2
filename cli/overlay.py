"""Draw the parts of a car and its damage on its photo, with their names."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Literal

from PIL import Image

from exports.pictures import draw_names, draw_parts, hatch_damage
from segment_interface import decode_image

# Colours at full resolution: thin outlines would be blurred.
_JPEG: dict[str, int] = {"quality": 90, "subsampling": 0}


def overlay(
    photo: bytes, document: bytes, max_pixels: int, *, kind: Literal["JPEG", "PNG"]
) -> bytes:
    """Return the upright photo with its parts, its damage and their names as a file.

    Args:
        photo: image file.
        document: its result in the format `json`, in pixels.
        max_pixels: most pixels that are decoded.
        kind: format of the file.

    Raises:
        ImageError: the photo can't be decoded.
    """
    rgb = decode_image(photo, max_pixels)
    found = json.loads(document)
    parts = [
        (part["name"], [[polygon["exterior"], *polygon["holes"]] for polygon in part["polygons"]])
        for part in found["parts"]
    ]
    damages = [
        (damage["kind"], [[piece["exterior"], *piece["holes"]] for piece in damage["polygons"]])
        for damage in found.get("damages", ())
    ]
    drawn = draw_parts(rgb, parts)
    hatch_damage(drawn, damages)
    picture = Image.fromarray(draw_names(drawn, [*parts, *damages]))
    buffer = BytesIO()
    picture.save(buffer, kind, **(_JPEG if kind == "JPEG" else {}))
    return buffer.getvalue()
