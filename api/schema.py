"""The shapes of requests and answers, as the OpenAPI document shows them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from api.listeners import LONGEST_WAIT
from exports import FORMATS
from jobs.store import State
from options import OF_MASKS, OF_OVERLAYS, OPTION_SPECS
from photo_result import Stage

Point = tuple[float, float]


class ImagePath(BaseModel):
    """The part of an address that names a photo."""

    image_hash: str = Field(description="SHA-256 of the photo in hex, as POST / gave it")


class MaskPath(ImagePath):
    """The part of an address that names one part in a photo."""

    segment: str = Field(description="a part, such as hood")


def _query_field(description: str, definition: dict[str, Any]) -> Any:
    """A field of a query that `options.parse` checks, so that here it may be anything."""
    return (Any, Field(default=None, description=description, json_schema_extra=definition))


class _Query(BaseModel):
    """What an address can ask behind its `?`."""

    @classmethod
    @cache
    def model_json_schema(  # type: ignore[override]
        cls, *args: Any, **options: Any
    ) -> dict[str, Any]:
        """As pydantic makes it, but once: flask-openapi3 asks with each request; it takes 2 ms."""
        return super().model_json_schema(*args, **options)


def _options_query(name: str, options: Iterable[str], **more: Any) -> type[_Query]:
    """Describe a query that takes some of the options, for the OpenAPI document."""
    knobs = [OPTION_SPECS[option] for option in options]
    return create_model(
        name,
        __base__=_Query,
        **more,
        **{knob.name: _query_field(knob.description, knob.schema) for knob in knobs},
    )


_FORMAT = _query_field("the format of the answer", {"type": "string", "enum": list(FORMATS)})

SegmentsQuery: Any = _options_query("SegmentsQuery", OPTION_SPECS, format=_FORMAT)
MaskQuery: Any = _options_query("MaskQuery", OF_MASKS)
OverlayQuery: Any = _options_query("OverlayQuery", OF_OVERLAYS)


class WaitQuery(_Query):
    """What GET /<image_hash>/status can be asked; `live` checks it."""

    wait: Any = Field(
        default=None,
        description="seconds to wait at most until the photo is Ready or Error",
        json_schema_extra={"type": "number", "minimum": 0, "maximum": LONGEST_WAIT},
    )


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


class Refused(BaseModel):
    """A photo of a batch that was not taken."""

    error: str
    code: int = Field(description="the HTTP status that POST / would have; 429, 503: send it again")
    retry_after: int | None = Field(default=None, description="seconds until it is worth that")


class BatchAnswer(BaseModel):
    """One entry for each image of a batch, in the same order."""

    photos: list[Accepted | Refused]


class Status(BaseModel):
    """Where a photo stands."""

    status: State
    message: str
    position: int | None = Field(
        default=None, ge=1, description="place in the queue, only there while Uploaded; 1 is next"
    )
    stage: Stage | None = Field(
        default=None, description="what is being done, only there while Processing"
    )


class StatusOf(Status):
    """Where one of several photos stands."""

    image_hash: str


class Unknown(BaseModel):
    """A photo that is not known, or that of another key."""

    image_hash: str
    error: str
    code: Literal[404]


class StatusesAnswer(BaseModel):
    """One entry for each hash that was asked for, in the same order."""

    photos: list[StatusOf | Unknown]


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
    bbox: tuple[float, float, float, float] = Field(description="x, y, width, height in pixels")
    polygons: list[PolygonAnswer]


def _result_content() -> dict[str, Any]:
    """Media type -> what a result looks like in it."""
    content: dict[str, Any] = {
        entry.media_type: {"schema": {"type": "string", "description": entry.description}}
        for entry in FORMATS.values()
    }
    others = {"type": ["object", "array"], "description": "the other formats in JSON"}
    plain = {"$ref": "#/components/schemas/ResultAnswer"}
    content["application/geo+json"] = {"schema": {"type": "object"}}
    content["application/json"] = {"schema": {"anyOf": [plain, others]}}
    return content


class ResultAnswer(BaseModel):
    """Type and parts of the car in a photo."""

    model_config = {"openapi_extra": {"content": _result_content()}}  # type: ignore[typeddict-unknown-key]

    image_hash: str
    width: int = Field(description="of the photo as it was posted, after its EXIF turn, in pixels")
    height: int
    message: str = Field(description="one or more sentences for people, about what is given here")
    rotation: Literal[0, 90, 180, 270] = Field(
        description="degrees clockwise to turn the photo by until it is upright; width, height and "
        "all coordinates are those of the photo as it was posted"
    )
    other_cars: bool = Field(
        description="there are more cars of similar size, whose parts are not given"
    )
    model_version: str = Field(description="of the models that made this result")
    type: TypeAnswer | None = Field(
        description="null where no car was found, and where the type can't be told, as in photos "
        "of a single part"
    )
    segments: dict[str, list[list[Point]]] = Field(
        description="part -> one polygon per visible piece -> points [x, y] in pixels of the "
        "photo; (0, 0) is the outer corner of the top left pixel"
    )
    parts: list[PartAnswer]


class Health(BaseModel):
    """How the service is."""

    status: Literal["alive", "ready"]


class ErrorAnswer(BaseModel):
    """What went wrong, for people."""

    error: str


UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": Upload.model_json_schema()}},
}


def _texts_body(name: str, most: int, description: str) -> dict[str, Any]:
    """A request body: an object with a list of 1 to `most` texts."""
    texts = {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,  # more than `most` are answered with 413, not 400
        "description": f"{description}; at most {most}",
    }
    body = {"type": "object", "properties": {name: texts}, "required": [name]}
    return {"required": True, "content": {"application/json": {"schema": body}}}


def batch_body(most: int) -> dict[str, Any]:
    """The body of POST /batch."""
    return _texts_body("images", most, "photos, each as the image of POST /")


def statuses_body(most: int) -> dict[str, Any]:
    """The body of POST /status."""
    return _texts_body("image_hashes", most, "hashes, as POST / and POST /batch gave them")


# Answers that have no model of their own.
HASHES: dict[str, Any] = {
    "description": "OK",
    "content": {"application/json": {"schema": {"type": "array", "items": {"type": "string"}}}},
}
EVENTS: dict[str, Any] = {
    "description": "OK",
    # no type: some read the schema as that of the stream, some as that of each event
    "content": {"text/event-stream": {"schema": {"description": "events named status"}}},
}
PNG: dict[str, Any] = {
    "description": "OK",
    "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
}
TEXT: dict[str, Any] = {
    "description": "OK",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
ANY_OBJECT: dict[str, Any] = {
    "description": "OK",
    "content": {"application/json": {"schema": {"type": "object"}}},
}
