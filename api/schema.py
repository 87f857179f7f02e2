"""Models of requests and answers, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, Field, RootModel, field_validator

from exports import FORMATS
from jobs.store import State
from options import OF_DAMAGE, OF_MASKS, OF_OVERLAYS, OPTION_SPECS
from photo_result import Stage
from vision.labels import DAMAGE_KINDS

Point = tuple[float, float]
Responses = dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None]

QUERY = "x-query"  # extension of an operation: its query parameters
LONGEST_WAIT = 30.0  # seconds that one status request may wait

_DAMAGE_IN_BODY = (
    "true examines the photos for damage; like the parameter damage, which it must not contradict"
)


class ImagePath(BaseModel):
    """The path parameter that names a photo."""

    image_hash: str = Field(description="SHA-256 of the photo in hex, as returned by POST /")

    @field_validator("image_hash")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()  # some programs write hex in capitals


class MaskPath(ImagePath):
    """The path parameters that name one part in a photo."""

    segment: str = Field(description="name of a part, such as hood")


class Upload(BaseModel):
    """A photo to process."""

    image: str = Field(
        description="PNG, JPEG, WebP, HEIC, AVIF, BMP or GIF in base64; a data: prefix, line "
        "breaks, the URL-safe alphabet and missing padding are fine"
    )
    file_name: str | None = Field(
        default=None,
        description="name of the file, which exports then have; folders in it are cut off",
    )
    damage: bool | None = Field(default=None, description=_DAMAGE_IN_BODY)


class Accepted(BaseModel):
    """A photo that was accepted or is already known."""

    message: str
    image_hash: str = Field(description="SHA-256 of the decoded bytes in hex")


class Refused(BaseModel):
    """A photo of a batch that was not accepted."""

    error: str
    code: int = Field(
        description="HTTP status that POST / would have; with 429 or 503, send the photo again"
    )
    retry_after: int | None = Field(
        default=None, description="seconds after which to send it again"
    )


class BatchAnswer(BaseModel):
    """One entry for each image of a batch, in the same order."""

    photos: list[Accepted | Refused]


class Status(BaseModel):
    """The status of a photo."""

    status: State
    message: str
    position: int | None = Field(
        default=None, ge=1, description="place in the queue, only while Uploaded; 1 is next"
    )
    stage: Stage | None = Field(default=None, description="current stage, only while Processing")
    damage: Literal["pending"] | None = Field(
        default=None,
        description="only while Ready: the photo is being examined for damage, and has its earlier "
        "result until then",
    )
    damage_error: str | None = Field(
        default=None,
        description="only while Ready: why the last examination for damage failed; the result is "
        "the earlier one",
    )


class StatusOf(Status):
    """The status of one of several photos."""

    image_hash: str


class PhotoAnswer(StatusOf):
    """The status of a photo, with its addresses."""

    links: dict[str, str] = Field(
        description="name -> address, relative to that of the service; with segments, mask and "
        "overlay once it is Ready, and with damage if it was examined for damage"
    )


class Unknown(BaseModel):
    """A photo that is unknown, or belongs to another key."""

    image_hash: str
    error: str
    code: Literal[404]


class StatusesAnswer(BaseModel):
    """One entry for each posted hash, in the same order."""

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
    damaged: list[str] | None = Field(
        default=None,
        description="kinds of damage on the part; only if the photo was examined for damage",
    )


class PartShareAnswer(BaseModel):
    """A part on which a damage lies."""

    name: str
    share: float = Field(ge=0, le=1, description="share of the part's area that the damage covers")


class DamageAnswer(BaseModel):
    """One connected damage."""

    kind: str = Field(json_schema_extra={"enum": list(DAMAGE_KINDS)})
    confidence: float = Field(ge=0, le=1)
    area: int = Field(description="pixels of its mask")
    bbox: tuple[float, float, float, float] = Field(description="x, y, width, height in pixels")
    polygons: list[PolygonAnswer]
    parts: list[PartShareAnswer] = Field(
        description="the parts on which it lies, the one with most of it first; empty for damage "
        "on no part of the answer"
    )


def _result_content(model: str) -> dict[str, Any]:
    """Return the description of a result for each media type; `model` is that of JSON."""
    content: dict[str, Any] = {
        entry.media_type: {"schema": {"type": "string", "description": entry.description}}
        for entry in FORMATS.values()
    }
    others = {"type": ["object", "array"], "description": "the other formats in JSON"}
    plain = {"$ref": f"#/components/schemas/{model}"}
    content["application/geo+json"] = {"schema": {"type": "object"}}
    content["application/json"] = {"schema": {"anyOf": [plain, others]}}
    return content


class ResultAnswer(BaseModel):
    """Type and parts of the car in a photo."""

    model_config = {"openapi_extra": {"content": _result_content("ResultAnswer")}}  # type: ignore[typeddict-unknown-key]

    image_hash: str
    width: int = Field(
        description="width in pixels of the posted photo, after its EXIF orientation is applied"
    )
    height: int
    message: str = Field(description="one or more sentences for people about this result")
    rotation: Literal[0, 90, 180, 270] = Field(
        description="degrees clockwise that turn the photo upright; width, height and all "
        "coordinates refer to the photo as posted"
    )
    other_cars: bool = Field(
        description="there are more cars of similar size; parts of cars that touch may be mixed"
    )
    model_version: str = Field(description="version of the models that made this result")
    service_version: str = Field(description="version of the service that wrote this answer")
    type: TypeAnswer | None = Field(
        description="null if no car was found, or if the type can't be seen, as in a photo of a "
        "single part"
    )
    segments: dict[str, list[list[Point]]] = Field(
        description="part -> one polygon per visible piece -> points [x, y] in pixels of the "
        "photo; (0, 0) is the outer corner of the top left pixel"
    )
    parts: list[PartAnswer]
    damages: list[DamageAnswer] | None = Field(
        default=None, description="only if the photo was examined for damage"
    )
    damage_version: str | None = Field(
        default=None,
        description="version of the network that found the damage; only with damages",
    )


class UploadAnswer(RootModel[Accepted | BatchAnswer | ResultAnswer]):
    """A photo that was accepted, several from a form, or with `wait` the result."""

    model_config = {"openapi_extra": {"content": _result_content("UploadAnswer")}}  # type: ignore[typeddict-unknown-key]


class Health(BaseModel):
    """The state of the service."""

    status: Literal["alive", "ready"]


class ErrorAnswer(BaseModel):
    """An error, with a message for people."""

    error: str


def errors(*statuses: int) -> Responses:
    """Describe the answers with these statuses as errors."""
    return dict.fromkeys(statuses, ErrorAnswer)


def query_parameter(name: str, description: str, definition: dict[str, Any]) -> dict[str, Any]:
    """Describe a query parameter whose values have the JSON schema `definition`."""
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": definition,
    }


def query(*parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI extension that `api.openapi.OpenApiApp` turns into query parameters."""
    return {QUERY: list(parameters)}


def _options(names: Iterable[str]) -> list[dict[str, Any]]:
    """Describe options of a result as query parameters."""
    specs = [OPTION_SPECS[name] for name in names]
    return [query_parameter(spec.name, spec.description, spec.schema) for spec in specs]


_WAIT = query_parameter(
    "wait",
    "longest wait in seconds until the photo is Ready or Error",
    {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT},
)
_FORMAT = query_parameter("format", "format of the answer", {"type": "string", "enum": [*FORMATS]})
WAIT_QUERY = query(_WAIT)
SEGMENTS_QUERY = query(_FORMAT, *_options(OPTION_SPECS))
UPLOAD_QUERY = query(
    _WAIT,
    *(
        {**parameter, "description": f"{parameter['description']} (only with wait)"}
        for parameter in (_FORMAT, *_options(name for name in OPTION_SPECS if name != "damage"))
    ),
    *_options(["damage"]),
)
BATCH_QUERY = query(*_options(["damage"]))
MASK_QUERY = query(*_options(OF_MASKS))
DAMAGE_QUERY = query(*_options(OF_DAMAGE))
OVERLAY_QUERY = query(*_options(OF_OVERLAYS))

_FILE = {"type": "string", "format": "binary"}
_FILES = {
    "type": "object",
    "properties": {
        "file": {
            "type": "array",
            "items": _FILE,
            "minItems": 1,
            "description": "the photo; several are answered as by POST /batch",
        },
        # /docs sends the example unless another value is chosen.
        "damage": {"type": "boolean", "description": _DAMAGE_IN_BODY, "example": False},
    },
    "required": ["file"],
}
UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _FILES},  # first, so that /docs offers to choose a file
        "application/json": {"schema": Upload.model_json_schema()},
        "application/octet-stream": {"schema": _FILE},
    },
}


def _texts_body(
    name: str, most: int | str, description: str, **more: dict[str, Any]
) -> dict[str, Any]:
    """Describe a request body: an object with a list of 1 to `most` strings, and other values."""
    texts = {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,  # no maxItems: more than `most` are a 413, not a 400
        "description": f"{description}; at most {most}",
    }
    body = {"type": "object", "properties": {name: texts, **more}, "required": [name]}
    return {"required": True, "content": {"application/json": {"schema": body}}}


_FILE_NAMES = {
    "type": "array",
    "items": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "description": "one for each image, as the file_name of POST /; null for none",
}
BATCH_BODY = _texts_body(
    "images",
    "CARSEG_BATCH_PHOTOS",
    "photos, each as the image of POST /",
    file_names=_FILE_NAMES,
    damage={
        "anyOf": [{"type": "boolean"}, {"type": "null"}],
        "description": _DAMAGE_IN_BODY,
    },
)


def statuses_body(most: int) -> dict[str, Any]:
    """Describe the request body of POST /status."""
    return _texts_body("image_hashes", most, "hashes, as returned by POST / and POST /batch")


# Answers without a model.
EVENTS: dict[str, Any] = {
    "description": "OK",
    # no type: tools disagree whether the schema is of the stream or of each event
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
