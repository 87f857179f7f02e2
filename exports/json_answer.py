"""`json`: the JSON response of the API."""

from __future__ import annotations

import json
from typing import Any

from car_classification import CarType
from exports.annotation import ImageAnnotation
from exports.coordinates import scaled
from photo_result import Part, rounded
from poligons_from_seg import Ring


def to_json_bytes(document: Any) -> bytes:
    """Serialise a document as compact JSON with a final line break."""
    return (json.dumps(document, separators=(",", ":")) + "\n").encode()


def write(scene: ImageAnnotation) -> bytes:
    """Return the document that `schema.ResultAnswer` describes."""
    parts = [_part(part, scene) for part in scene.parts]
    return to_json_bytes(
        {
            "image_hash": scene.image_hash,
            "width": scene.width,
            "height": scene.height,
            "message": scene.message,
            "rotation": scene.rotation,
            "other_cars": scene.other_cars,
            "model_version": scene.model_version,
            "type": None if scene.type is None else _type(scene.type),
            "segments": {
                part["name"]: [polygon["exterior"] for polygon in part["polygons"]]
                for part in parts
            },
            "parts": parts,
        }
    )


def points(ring: Ring, scene: ImageAnnotation) -> Ring | list[list[float]]:
    """Return a ring in pixels, or from 0 to 1 if the annotation is normalized."""
    if scene.normalized:
        return rounded(scaled(ring, 1 / scene.width, 1 / scene.height), 6)
    return ring  # has at most two decimals, see `poligons_from_seg`


def box(part: Part, scene: ImageAnnotation) -> list[float]:
    """Return a part's [x, y, width, height], in the unit of `points`."""
    x, y, width, height = part.bbox
    if scene.normalized:
        return [
            round(value, 6)
            for value in (
                x / scene.width,
                y / scene.height,
                width / scene.width,
                height / scene.height,
            )
        ]
    return [x, y, width, height]


def _part(part: Part, scene: ImageAnnotation) -> dict[str, Any]:
    return {
        "name": part.name,
        "confidence": part.confidence,
        "area": part.area,
        "bbox": box(part, scene),
        "polygons": [
            {
                "exterior": points(polygon.exterior, scene),
                "holes": [points(hole, scene) for hole in polygon.holes],
            }
            for polygon in part.polygons
        ],
    }


def _type(car_type: CarType) -> dict[str, Any]:
    return {
        "name": car_type.name,
        "confidence": round(car_type.confidence, 4),
        "scores": {name: round(score, 4) for name, score in car_type.scores.items()},
    }
