"""`json`: the JSON response of the API."""

from __future__ import annotations

import json
from typing import Any

from analysis.photo_damage import Damage
from car_classification import CarType
from exports.annotation import ImageAnnotation
from exports.coordinates import box, points
from photo_result import Part
from settings import VERSION


def to_json_bytes(document: Any) -> bytes:
    """Serialise a document as compact JSON with a final line break."""
    return (json.dumps(document, separators=(",", ":")) + "\n").encode()


def write(annotation: ImageAnnotation) -> bytes:
    """Return the document that `schema.ResultAnswer` describes."""
    parts = [_part(part, annotation) for part in annotation.parts]
    damage: dict[str, Any] = {}
    if annotation.damages is not None:
        for part in parts:
            part["damaged"] = annotation.damage_on(part["name"])
        damages = [_damage(damage, annotation) for damage in annotation.damages]
        damage = {"damages": damages, "damage_version": annotation.damage_version}
    return to_json_bytes(
        {
            "image_hash": annotation.image_hash,
            "width": annotation.width,
            "height": annotation.height,
            "message": annotation.message,
            "rotation": annotation.rotation,
            "other_cars": annotation.other_cars,
            "model_version": annotation.model_version,
            "service_version": VERSION,
            "type": None if annotation.type is None else _type(annotation.type),
            "segments": {
                part["name"]: [polygon["exterior"] for polygon in part["polygons"]]
                for part in parts
            },
            "parts": parts,
            **damage,
        }
    )


def _part(part: Part, annotation: ImageAnnotation) -> dict[str, Any]:
    return {
        "name": part.name,
        "confidence": part.confidence,
        "area": part.area,
        "bbox": box(part, annotation),
        "polygons": _polygons(part, annotation),
    }


def _damage(damage: Damage, annotation: ImageAnnotation) -> dict[str, Any]:
    return {
        "kind": damage.kind,
        "confidence": damage.confidence,
        "area": damage.area,
        "bbox": box(damage, annotation),
        "polygons": _polygons(damage, annotation),
        "parts": [{"name": part.name, "share": part.share} for part in damage.parts],
    }


def _polygons(shown: Part | Damage, annotation: ImageAnnotation) -> list[dict[str, Any]]:
    return [
        {
            "exterior": points(polygon.exterior, annotation),
            "holes": [points(hole, annotation) for hole in polygon.holes],
        }
        for polygon in shown.polygons
    ]


def _type(car_type: CarType) -> dict[str, Any]:
    return {
        "name": car_type.name,
        "confidence": round(car_type.confidence, 4),
        "scores": {name: round(score, 4) for name, score in car_type.scores.items()},
    }
