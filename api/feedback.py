"""Routes for marks on results: what is wrong, what is missing, and the right type."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify, request

from api import catalog_schema, schema
from api.catalog_schema import LONGEST_COMMENT
from api.errors import ApiError, unknown_photo
from api.keys import current_owner
from api.listing import AskedPage, asked_page, entry_json, find_page, to_utc
from api.openapi import ApiBlueprint
from api.request_json import posted_object
from api.results import ended_result
from api.schema import ImagePath
from api.service import service
from jobs.catalog import Feedback
from vision.labels import PART_NAMES, TYPE_NAMES

blueprint = ApiBlueprint("feedback", __name__, "marks on results")

_LARGEST = 64 * 1024  # bytes of a request
_FIELDS = ("wrong", "missing", "type", "comment")
_EXAMPLE = '{"wrong": ["hood"], "missing": [], "type": null, "comment": ""}'


@blueprint.post(
    "/<image_hash>/feedback",
    summary="Mark what is wrong in a result",
    responses={200: catalog_schema.Marks, **schema.errors(400, 404, 413, 415, 500, 503, 507)},
    openapi_extensions={"requestBody": catalog_schema.FEEDBACK_BODY},
)
def post_feedback(path: ImagePath) -> Response:
    """Keep the marks with the photo until it is deleted, in place of earlier ones of this key.

    Empty marks delete the earlier ones.
    """
    request.max_content_length = _LARGEST
    document = posted_object()
    result = ended_result(service().engine.find(path.image_hash, current_owner()))
    feedback = _to_feedback(document, result.model_version)
    kept = None if feedback.is_empty else feedback
    if not service().engine.catalog.set_feedback(path.image_hash, kept, current_owner()):
        raise unknown_photo()
    return jsonify(_to_json(kept))


@blueprint.get(
    "/<image_hash>/feedback",
    summary="Get the marks on a result",
    responses={200: catalog_schema.Marks, **schema.errors(404)},
)
def get_feedback(path: ImagePath) -> Response:
    """Return the marks that this key posted; they are empty if there are none."""
    (status,) = service().engine.find_many([path.image_hash], current_owner())
    if status is None:
        raise unknown_photo()
    return jsonify(_to_json(service().engine.catalog.feedback(path.image_hash, current_owner())))


@blueprint.get(
    "/feedback",
    summary="List the photos with marks",
    responses={200: catalog_schema.MarkedList, **schema.errors(400, 404)},
    openapi_extensions=catalog_schema.MARKED_QUERY,
)
def list_feedback() -> Response:
    """Return a page of the photos whose results this key marked, as `GET /` with details."""
    page = find_page(asked_page() or AskedPage(), marked=True)
    photos = [entry_json(entry) | {"feedback": _to_json(entry.feedback)} for entry in page.entries]
    return jsonify(photos=photos, next=page.next)


def _to_feedback(document: dict[str, Any], model_version: str) -> Feedback:
    """Return the marks in a request. Raises ApiError."""
    if not document:
        raise ApiError(400, f"There is no feedback; send {_EXAMPLE}.")
    for name in document:
        if name not in _FIELDS:
            known = ", ".join(_FIELDS)
            raise ApiError(400, f"Feedback has no {name[:40]!r}; its fields are {known}.")
    comment = document.get("comment", "")
    if not isinstance(comment, str) or len(comment) > LONGEST_COMMENT:
        raise ApiError(400, f"comment must be text of at most {LONGEST_COMMENT} characters.")
    car_type = document.get("type")
    if car_type is not None:
        _check_name("type", car_type, TYPE_NAMES)
    wrong, missing = _parts(document, "wrong"), _parts(document, "missing")
    for part in wrong:
        if part in missing:
            raise ApiError(400, f"{part} is in wrong and in missing; a part is in one of them.")
    return Feedback(
        wrong=wrong,
        missing=missing,
        type=car_type,
        comment=comment,
        time=time.time(),
        model_version=model_version,
    )


def _parts(document: dict[str, Any], name: str) -> list[str]:
    """Return a list of parts in a request, each once in the order of PART_NAMES."""
    parts = document.get(name, [])
    if not isinstance(parts, list):
        raise ApiError(400, f"{name} must be a list of parts.")
    for part in parts:
        _check_name(name, part, PART_NAMES)
    return [part for part in PART_NAMES if part in parts]


def _check_name(field: str, value: object, names: Sequence[str]) -> None:
    """Raise ApiError if a value is none of the names."""
    if value not in names:
        raise ApiError(400, f"{field} has {str(value)[:40]!r}; the names are {', '.join(names)}.")


def _to_json(feedback: Feedback | None) -> dict[str, Any]:
    """Return marks as JSON, in the shape of `api.catalog_schema.Marks`."""
    if feedback is None:
        empty: dict[str, Any] = {"wrong": [], "missing": [], "type": None, "comment": ""}
        return empty | {"time": None, "model_version": None}
    return {
        "wrong": feedback.wrong,
        "missing": feedback.missing,
        "type": feedback.type,
        "comment": feedback.comment,
        "time": to_utc(feedback.time),
        "model_version": feedback.model_version,
    }
