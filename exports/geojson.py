"""`geojson`: a FeatureCollection (RFC 7946), one MultiPolygon per part.

The coordinates are pixels of the photo, not longitude and latitude; y points down. Winding follows
the RFC: exteriors have a positive area in (x, y), holes a negative one. If the photo was examined
for damage, one MultiPolygon per damage follows, with an id such as `damage-1`.
"""

from __future__ import annotations

from typing import Any

from analysis.photo_damage import Damage
from exports.annotation import ImageAnnotation
from exports.coordinates import box, points
from exports.json_answer import to_json_bytes
from exports.palette import DAMAGE_COLOURS, PART_COLOURS, as_hex
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
    features = [_part(part, annotation) for part in annotation.parts]
    if annotation.damages is not None:
        photo["damage_version"] = annotation.damage_version
        features += [_damage(damage, annotation) for damage in annotation.damages]
    return to_json_bytes({"type": "FeatureCollection", "photo": photo, "features": features})


def _part(part: Part, annotation: ImageAnnotation) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "name": part.name,
        "confidence": part.confidence,
        "area": part.area,
        "colour": as_hex(PART_COLOURS[part.name]),
    }
    if annotation.damages is not None:
        properties["damaged"] = annotation.damage_on(part.name)
    return _feature(part.name, part, properties, annotation)


def _damage(damage: Damage, annotation: ImageAnnotation) -> dict[str, Any]:
    properties = {
        "damage": damage.kind,
        "confidence": damage.confidence,
        "area": damage.area,
        "parts": [vars(part) for part in damage.parts],
        "colour": as_hex(DAMAGE_COLOURS[damage.kind]),
    }
    return _feature(f"damage-{damage.number}", damage, properties, annotation)


def _feature(
    name: str, part: Part | Damage, properties: dict[str, Any], annotation: ImageAnnotation
) -> dict[str, Any]:
    x, y, width, height = box(part, annotation)
    return {
        "type": "Feature",
        "id": name,
        "bbox": [x, y, round(x + width, 6), round(y + height, 6)],
        "properties": properties,
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
