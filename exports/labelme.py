"""`labelme`: the JSON file that Labelme stores next to a photo.

Each visible piece is one polygon; pieces of one part have the same `group_id`. Damage follows the
parts, with group numbers from 101. Holes are joined by a bridge of zero width. `imageData` is null,
so Labelme reads the photo from `imagePath`.
"""

from __future__ import annotations

from analysis.photo_damage import Damage
from exports.annotation import ImageAnnotation
from exports.coordinates import keyhole, rounded
from exports.json_answer import to_json_bytes
from photo_result import Part
from vision.labels import label_of

_BEFORE_DAMAGE = 100  # group numbers of damage follow it


def write(annotation: ImageAnnotation) -> bytes:
    """Return the label file."""
    shown: list[tuple[str, int, Part | Damage]] = [
        (part.name, label_of(part.name), part) for part in annotation.parts
    ]
    shown += [
        (damage.kind, _BEFORE_DAMAGE + damage.number, damage) for damage in annotation.damages or ()
    ]
    return to_json_bytes(
        {
            "version": "5.5.0",  # the major version defines the file format
            "flags": {},
            "shapes": [
                {
                    "label": label,
                    "points": rounded(keyhole(polygon)),
                    "group_id": group,
                    "description": f"confidence {entry.confidence:.0%}",
                    "shape_type": "polygon",
                    "flags": {},
                    "mask": None,
                }
                for label, group, entry in shown
                for polygon in entry.polygons
            ],
            "imagePath": annotation.file_name,
            "imageData": None,
            "imageHeight": annotation.height,
            "imageWidth": annotation.width,
        }
    )
