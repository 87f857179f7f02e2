"""`labelme`: the fields Labelme's own loader checks, and the shapes as it draws them.

Labelme itself needs Qt; its loader reads the same file in `tests/exports/readers.py`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from exports.annotation import ImageAnnotation
from exports.labelme import write

pytest_plugins = ["tests.exports.scenes"]


def test_shapes_match_masks(scene: ImageAnnotation, check_masks: Any) -> None:
    masks: dict[str, Any] = {}
    for shape in json.loads(write(scene))["shapes"]:
        picture = Image.new("1", (scene.width, scene.height))
        ring = [tuple(point) for point in shape["points"]]
        ImageDraw.Draw(picture).polygon(ring, outline=1, fill=1)
        mask = np.array(picture)
        masks[shape["label"]] = masks.get(shape["label"], np.zeros_like(mask)) | mask
    check_masks(scene, masks, share=0.5)
