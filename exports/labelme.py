"""`labelme`: the JSON that Labelme keeps beside a photo.

One polygon per visible piece; pieces of one part have the same `group_id`. Holes are tied in by a
bridge of no width. `imageData` is null, so that the photo is read from `imagePath`.
"""

from __future__ import annotations

from exports.answer import dumped
from exports.rings import keyhole
from exports.scene import Scene
from img_to_segments import PART_NAMES
from photo_result import rounded


def write(scene: Scene) -> bytes:
    """The label file."""
    return dumped(
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
