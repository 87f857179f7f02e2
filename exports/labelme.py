"""`labelme`: the JSON that Labelme keeps beside a photo.

One polygon per visible piece; pieces of one part have the same `group_id`. Holes are tied in by a
bridge of no width. `imageData` is null, so that the photo is read from `imagePath`.
"""

from __future__ import annotations

from exports.annotation import ImageAnnotation
from exports.coordinates import keyhole
from exports.json_answer import to_json_bytes
from img_to_segments import PART_NAMES
from photo_result import rounded


def write(scene: ImageAnnotation) -> bytes:
    """The label file."""
    return to_json_bytes(
        {
            "version": "5.5.0",  # the first number says how the file is to be read
            "flags": {},
            "shapes": [
                {
                    "label": part.name,
                    "points": rounded(keyhole(polygon)),
                    "group_id": PART_NAMES.index(part.name) + 1,
                    "description": f"confidence {part.confidence:.0%}",
                    "shape_type": "polygon",
                    "flags": {},
                    "mask": None,
                }
                for part in scene.parts
                for polygon in part.polygons
            ],
            "imagePath": scene.file_name,
            "imageData": None,
            "imageHeight": scene.height,
            "imageWidth": scene.width,
        }
    )
