"""`geojson`: a FeatureCollection (RFC 7946), one MultiPolygon per part.

The coordinates are pixels of the photo, not longitude and latitude; y points down. Winding follows
the RFC: exteriors have a positive area in (x, y), holes a negative one.
"""

from __future__ import annotations

from typing import Any

from exports.annotation import ImageAnnotation
from exports.json_answer import box, points, to_json_bytes
from exports.palette import PART_COLOURS, as_hex
from photo_result import Part
from poligons_from_seg import Ring


def write(scene: ImageAnnotation) -> bytes:
    """Return the FeatureCollection, with the facts about the photo in a member `photo`."""
    photo = {
        "image_hash": scene.image_hash,
        "file_name": scene.file_name,
        "width": scene.width,
        "height": scene.height,
        "rotation": scene.rotation,
        "model_version": scene.model_version,
        "type": None if scene.type is None else scene.type.name,
    }
    features = [_feature(part, scene) for part in scene.parts]
    return to_json_bytes({"type": "FeatureCollection", "photo": photo, "features": features})


def _feature(part: Part, scene: ImageAnnotation) -> dict[str, Any]:
    x, y, width, height = box(part, scene)
    return {
        "type": "Feature",
        "id": part.name,
        "bbox": [x, y, round(x + width, 6), round(y + height, 6)],
        "properties": {
            "name": part.name,
            "confidence": part.confidence,
            "area": part.area,
            "colour": as_hex(PART_COLOURS[part.name]),
        },
        "geometry": {
            "type": "MultiPolygon",
            "coordinates": [
                [_closed(ring, scene) for ring in (polygon.exterior, *polygon.holes)]
                for polygon in part.polygons
            ],
        },
    }


def _closed(ring: Ring, scene: ImageAnnotation) -> Ring | list[list[float]]:
    return points([*ring, ring[0]], scene)
