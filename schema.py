"""The shapes of requests and answers, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

import jobs
from car_classification import CarType
from pipeline import Part

Point = tuple[float, float]


class ImagePath(BaseModel):
    """The part of an address that names a photo."""

    image_hash: str = Field(description="SHA-256 of the photo in hex, as POST / gave it")


class Upload(BaseModel):
    """A photo to work on."""

    image: str = Field(
        description="PNG, JPEG or WebP in base64; a data: prefix, line breaks, the URL-safe "
        "alphabet and missing padding are fine"
    )


class Accepted(BaseModel):
    """The photo is taken, or was known already."""

    message: str
    image_hash: str = Field(description="SHA-256 of the decoded bytes in hex")


class Status(BaseModel):
    """Where a photo stands."""

    status: jobs.State
    message: str


class TypeAnswer(BaseModel):
    """The body type of the car."""

    name: str
    confidence: float = Field(ge=0, le=1)
    scores: dict[str, float] = Field(description="confidence of each type")


class PolygonAnswer(BaseModel):
    """One visible piece of a part."""

    exterior: list[Point]
    holes: list[list[Point]]


class PartAnswer(BaseModel):
    """One part of the car."""

    name: str
    confidence: float = Field(ge=0, le=1)
    area: int = Field(description="pixels of its mask")
    bbox: tuple[int, int, int, int] = Field(description="x, y, width, height in pixels")
    polygons: list[PolygonAnswer]


class ResultAnswer(BaseModel):
    """Type and parts of the car in a photo."""

    image_hash: str
    width: int
    height: int
    message: str
    type: TypeAnswer | None
    segments: dict[str, list[list[Point]]] = Field(
        description="part -> one polygon per visible piece -> points [x, y] in pixels of the "
        "upright photo; (0, 0) is the outer corner of the top left pixel"
    )
    parts: list[PartAnswer]


class ErrorAnswer(BaseModel):
    """What went wrong, for people."""

    error: str


UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": Upload.model_json_schema()}},
}

# Answers that have no model of their own.
HASHES: dict[str, Any] = {
    "description": "OK",
    "content": {"application/json": {"schema": {"type": "array", "items": {"type": "string"}}}},
}
ANY_OBJECT: dict[str, Any] = {
    "description": "OK",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


def result_answer(image_hash: str, result: jobs.Result) -> dict[str, Any]:
    """A result as JSON, in the shape of ResultAnswer (not checked: it is our own)."""
    parts = [_part_answer(part) for part in result.parts]
    return {
        "image_hash": image_hash,
        "width": result.width,
        "height": result.height,
        "message": result.message,
        "type": None if result.type is None else _type_answer(result.type),
        "segments": {
            part["name"]: [polygon["exterior"] for polygon in part["polygons"]] for part in parts
        },
        "parts": parts,
    }


def _part_answer(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "confidence": part.confidence,
        "area": part.area,
        "bbox": part.bbox,
        "polygons": [
            {
                "exterior": jobs.rounded(polygon.exterior),
                "holes": [jobs.rounded(hole) for hole in polygon.holes],
            }
            for polygon in part.polygons
        ],
    }


def _type_answer(car_type: CarType) -> dict[str, Any]:
    return {
        "name": car_type.name,
        "confidence": round(car_type.confidence, 4),
        "scores": {name: round(score, 4) for name, score in car_type.scores.items()},
    }
