"""`geojson`: a FeatureCollection (RFC 7946), one MultiPolygon per part.

The coordinates are pixels of the photo, not longitude and latitude; y points down. Winding follows
the RFC: exteriors have a positive area in (x, y), holes a negative one.
"""

from __future__ import annotations

from typing import Any

from exports.annotation import ImageAnnotation
from exports.coordinates import box, points
from exports.json_answer import to_json_bytes
from exports.palette import PART_COLOURS, as_hex
from photo_result import Part
from poligons_from_seg import Ring


def write(annotation: ImageAnnotation) -> bytes:
    """Return the FeatureCollection, with the facts about the photo in a member `photo`."""
    photo = {
        "image_hash": annotation.image_hash,
        "file_name": annotation.file_name,
        "width": annotation.width,
        "height": annotation.height,
        "rotation": annotation.rotation,
        "model_version": annotation.model_version,
        "type": None if annotation.type is None else annotation.type.name,
    }
    features = [_feature(part, annotation) for part in annotation.parts]
    return to_json_bytes({"type": "FeatureCollection", "photo": photo, "features": features})


def _feature(part: Part, annotation: ImageAnnotation) -> dict[str, Any]:
    x, y, width, height = box(part, annotation)
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
                [_closed(ring, annotation) for ring in (polygon.exterior, *polygon.holes)]
                for polygon in part.polygons
            ],
        },
    }


def _closed(ring: Ring, annotation: ImageAnnotation) -> Ring | list[list[float]]:
    return points([*ring, ring[0]], annotation)
