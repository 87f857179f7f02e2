"""Models of lists of photos and of feedback, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, RootModel

from api.errors import HASH
from api.schema import query, query_parameter
from vision.labels import PART_NAMES, TYPE_NAMES

LONGEST_COMMENT = 2000  # characters of feedback
LISTED, MOST_LISTED = 100, 1000  # photos on a page: by default, and at most


class ListedType(BaseModel):
    """The body type of the car in a list."""

    name: str
    confidence: float = Field(ge=0, le=1)


class ListedPhoto(BaseModel):
    """A photo that is Ready, in a list."""

    image_hash: str
    time: str = Field(description="time at which it became Ready, ISO 8601 in UTC")
    type: ListedType | None = Field(description="as in the result")
    parts: int = Field(description="number of parts that the result has by default")
    damages: int | None = Field(
        description="number of damages that the result has by default; null if the photo was not "
        "examined for damage"
    )
    width: int = Field(description="as in the result")
    height: int
    file_names: list[str] = Field(
        description="names under which the photo was posted, newest first, at most 10"
    )


class PhotoList(BaseModel):
    """A page of the photos that are Ready."""

    photos: list[ListedPhoto]
    next: str | None = Field(description="send it as after to get the next page; null on the last")


class Marks(BaseModel):
    """The marks on a result; empty if there are none."""

    wrong: list[str] = Field(description="parts that are drawn wrongly")
    missing: list[str] = Field(description="parts in the photo that are not in the result")
    type: str | None = Field(description="right body type; null if none was named")
    comment: str
    time: str | None = Field(description="time of the marks, ISO 8601 in UTC; null without marks")
    model_version: str | None = Field(
        description="version of the models that made the marked result; null without marks"
    )


class MarkedPhoto(ListedPhoto):
    """A photo with marks on its result, in a list."""

    feedback: Marks


class MarkedList(BaseModel):
    """A page of the photos with marks on their results."""

    photos: list[MarkedPhoto]
    next: str | None = Field(description="send it as after to get the next page; null on the last")


class Listing(RootModel[list[str] | PhotoList]):
    """The hashes of photos that are Ready; with details a page of the photos."""


_LIMIT = query_parameter(
    "limit",
    "most photos on the page",
    {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": LISTED},
)
_AFTER = query_parameter(
    "after",
    "hash of the last photo of the page before",
    {"type": "string", "pattern": f"^{HASH.pattern}$"},
)
MARKED_QUERY = query(_LIMIT, _AFTER)
PAGE_QUERY = query(
    {**_LIMIT, "description": "most photos on the page; without any of these parameters, all"},
    _AFTER,
    query_parameter(
        "details",
        "true to get more of each photo than its hash",
        {"type": "boolean", "default": False},
    ),
)

_PARTS = {"type": "array", "items": {"type": "string", "enum": [*PART_NAMES]}}
FEEDBACK_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "description": "at least one of these; the others are empty",
                "properties": {
                    "wrong": {**_PARTS, "description": "parts that are drawn wrongly"},
                    "missing": {
                        **_PARTS,
                        "description": "parts that were not found; none of them is in wrong",
                    },
                    "type": {
                        "anyOf": [{"type": "string", "enum": [*TYPE_NAMES]}, {"type": "null"}],
                        "description": "the right body type; null to name none",
                    },
                    "comment": {"type": "string", "maxLength": LONGEST_COMMENT},
                },
                "minProperties": 1,
                "additionalProperties": False,
            }
        }
    },
}
