"""`labelme`: the JSON file that Labelme stores next to a photo.

Each visible piece is one polygon; pieces of one part have the same `group_id`. Holes are joined by
a bridge of zero width. `imageData` is null, so Labelme reads the photo from `imagePath`.
"""

from __future__ import annotations

from exports.annotation import ImageAnnotation
from exports.coordinates import keyhole, rounded
from exports.json_answer import to_json_bytes
from vision.labels import label_of


def write(annotation: ImageAnnotation) -> bytes:
    """Return the label file."""
    return to_json_bytes(
        {
            "version": "5.5.0",  # the major version defines the file format
            "flags": {},
            "shapes": [
                {
                    "label": part.name,
                    "points": rounded(keyhole(polygon)),
                    "group_id": label_of(part.name),
                    "description": f"confidence {part.confidence:.0%}",
                    "shape_type": "polygon",
                    "flags": {},
                    "mask": None,
                }
                for part in annotation.parts
                for polygon in part.polygons
            ],
            "imagePath": annotation.file_name,
            "imageData": None,
            "imageHeight": annotation.height,
            "imageWidth": annotation.width,
        }
    )
