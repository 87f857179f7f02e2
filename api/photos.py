"""Routes that accept photos: one, or a batch in one request.

Each photo of a batch is answered as if it were posted alone: a refused one does not affect the
others. While a batch is read, memory holds its text and one decoded photo. Few batches are read
concurrently.
"""

from __future__ import annotations

import threading
from typing import Any

from flask import Response, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from api import schema
from api.errors import ApiError, to_api_error
from api.keys import current_owner
from api.openapi import OpenApiApp
from api.rate_limits import count_photo
from api.request_json import posted_object, posted_texts
from jobs.engine import Engine
from segment_interface import decode_base64
from settings import Settings

_RETRY_AFTER = 1  # seconds; Retry-After of a batch while others are read


def add_posting(app: OpenApiApp, jobs: Engine, settings: Settings) -> None:
    """Add the two routes."""
    error = schema.ErrorAnswer
    statuses = (400, 413, 415, 500, 503, 507)
    slots = threading.BoundedSemaphore(settings.batch_slots)

    @app.post(
        "/",
        summary="Post a photo",
        responses={200: schema.Accepted, **dict.fromkeys(statuses, error)},
        openapi_extensions={"requestBody": schema.UPLOAD_BODY},
    )
    def post_photo() -> Response:
        """Answer at once; poll the status with the hash.

        A known photo is processed again if it ended in Error, or if other models made its result.
        """
        try:
            image = posted_object().get("image")
        except RequestEntityTooLarge:
            raise ApiError(413, _too_large(settings)) from None
        if not isinstance(image, str) or not image:
            raise ApiError(400, 'There is no image; send {"image": "<base64>"}.')
        return jsonify(_take(jobs, settings, image))

    @app.post(
        "/batch",
        summary="Post many photos",
        responses={200: schema.BatchAnswer, **dict.fromkeys(statuses, error)},
        openapi_extensions={"requestBody": schema.batch_body(settings.batch_photos)},
    )
    def post_batch() -> Response:
        """Answer photo by photo, in order, as `POST /` does; `code` is the status it would have.

        Send photos with the code 429 or 503 again, after the seconds in Retry-After. If all of
        them have the code 503, the answer has that status, too.
        """
        if not slots.acquire(blocking=False):
            raise ApiError(503, "Other batches are being taken in; try again.", _RETRY_AFTER)
        try:
            images = _batch(settings)
            entries: list[dict[str, Any]] = []
            images.reverse()
            while images:  # frees each text once its photo is accepted
                entries.append(_entry(jobs, settings, images.pop(), is_first=not entries))
        finally:
            slots.release()
        waits = [entry["retry_after"] for entry in entries if "retry_after" in entry]
        if all(entry.get("code") == 503 for entry in entries):
            raise ApiError(503, entries[0]["error"], max(waits, default=_RETRY_AFTER))
        answer = jsonify(photos=entries)
        if waits:
            answer.headers["Retry-After"] = str(max(waits))
        return answer


def _too_large(settings: Settings) -> str:
    """Return the message for a photo with too many bytes."""
    return f"The image is too large; the limit is {settings.max_upload_mb:g} MB."


def _take(jobs: Engine, settings: Settings, image: str) -> dict[str, Any]:
    """Accept one photo and return its answer. `api.errors.to_api_error` maps what this raises."""
    data = decode_base64(image)
    if len(data) > settings.max_upload_bytes:
        raise ApiError(413, _too_large(settings))
    image_hash, is_new = jobs.accept(data, current_owner())
    message = "The photo was taken." if is_new else "The photo is known already."
    return {"message": message, "image_hash": image_hash}


def _batch(settings: Settings) -> list[str]:
    """Return the images of the posted batch. Raises ApiError."""
    limit = f"The batch is too large; the limit is {settings.batch_mb:g} MB."
    request.max_content_length = settings.batch_body_bytes
    try:
        images = posted_texts("images", settings.batch_photos, "<base64>")
    except RequestEntityTooLarge:
        raise ApiError(413, limit) from None
    if sum(map(len, images)) * 3 // 4 > settings.batch_bytes + 3 * len(images):
        raise ApiError(413, limit)
    return images


def _entry(jobs: Engine, settings: Settings, image: str, *, is_first: bool) -> dict[str, Any]:
    """Return the answer for one photo of a batch."""
    try:
        if not is_first:  # the request itself is counted as the first
            count_photo()
        return _take(jobs, settings, image)
    except Exception as error:
        failure = to_api_error(error)
    entry: dict[str, Any] = {"error": failure.message, "code": failure.status}
    if failure.retry_after is not None:
        entry["retry_after"] = failure.retry_after
    return entry
