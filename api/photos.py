"""Routes that list, accept and delete photos.

Each photo of a batch is answered as if it were posted alone: a refused one does not affect the
others. While a batch is read, memory holds its text and one decoded photo. Few batches are read
concurrently.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from flask import Response, jsonify, redirect, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response as WerkzeugResponse

from api import catalog_schema, schema
from api.damage_option import json_damage, query_damage, resolved_damage, text_damage
from api.errors import ApiError, to_api_error, unknown_photo
from api.keys import current_owner
from api.listing import asked_page, listed
from api.openapi import ApiBlueprint
from api.rate_limits import count_photo
from api.request_files import Posted, is_form, posted_form, posted_photo
from api.request_json import check_list, not_a_string, posted_object
from api.results import (
    ResultForm,
    asked_form,
    ended_result,
    named_form,
    result_answer,
    segments_tag,
)
from api.schema import ImagePath
from api.service import service
from api.status import status_json, wait_seconds, waiters
from jobs.catalog import plain_file_name
from segment_interface import ImageError, decode_base64

blueprint = ApiBlueprint("photos", __name__, "post, list and delete photos")

_RETRY_AFTER = 1  # seconds; Retry-After of a batch while others are read
_POST_ERRORS = schema.errors(400, 413, 415, 500, 503, 507)
_UPLOAD_ERRORS = schema.errors(400, 403, 404, 413, 415, 500, 503, 507)


@blueprint.get(
    "/",
    summary="List the photos that are Ready",
    responses={200: catalog_schema.Listing, 302: None, **schema.errors(400, 404)},
    openapi_extensions=catalog_schema.PAGE_QUERY,
)
def list_ready() -> WerkzeugResponse:
    """Return the hashes of all photos whose results can be fetched, in the order of acceptance.

    With `limit` or `after` the answer is one page of them, with `details` also the time, type, size
    and file names of each. A browser, which prefers HTML to JSON, is redirected to the page `/ui`.
    """
    accept = request.accept_mimetypes
    answer: WerkzeugResponse
    if accept.quality("text/html") > accept.quality("application/json"):
        answer = redirect("ui")  # relative, so that a proxy may add a path prefix
    else:
        asked = asked_page()
        ready = service().engine.ready
        answer = jsonify(ready(current_owner()) if asked is None else listed(asked))
    answer.vary.add("Accept")
    return answer


@blueprint.post(
    "/",
    summary="Post a photo",
    responses={200: schema.UploadAnswer, 202: schema.StatusOf, **_UPLOAD_ERRORS},
    openapi_extensions={"requestBody": schema.UPLOAD_BODY, **schema.UPLOAD_QUERY},
)
def post_photo() -> Response:
    """Queue a photo, and return its hash at once. Poll the status with the hash.

    The photo comes in JSON, as a file in a form, or alone. Several files in a form are answered as
    by `POST /batch`. A known photo is processed again if it ended in Error, or if other models
    made its result.

    With `wait`, the answer comes when the photo is Ready or Error, and is that of
    `/<image_hash>/segments` with its options. It is 202 with the status if the photo has not ended
    after that many seconds, and at once while too many other requests wait.

    With `damage=true` the photo is also examined for damage. A photo that is Ready without damage
    stays Ready with its result until the new one is there. `damage` may also be a field of the JSON
    or of the form.
    """
    asked, in_query = _asked_wait(), query_damage()
    if is_form():
        answer, damage = _post_form(is_single=asked is not None, in_query=in_query)
    else:
        posted, in_body = _posted_image()
        damage = resolved_damage(in_query, in_body)
        answer = _accept_photo(posted, damage=damage)
    if asked is not None:  # by now the photo is no longer in memory
        return _wait_for_result(answer["image_hash"], asked, damage=damage)
    return _to_response(answer)


class _Wait(NamedTuple):
    """The seconds that a client waits for a result, and the form of the result."""

    seconds: float
    form: ResultForm


def _asked_wait() -> _Wait | None:
    """Return the wait in the query; None if there is none. Raises ApiError, OptionError."""
    if "wait" not in request.args:
        return None
    return _Wait(wait_seconds(request.args.getlist("wait")), asked_form(others=["wait"]))


def _wait_for_result(image_hash: str, asked: _Wait, *, damage: bool) -> Response:
    """Wait for a photo, and return its result, or its status if it has not ended.

    Args:
        image_hash: hash of the photo.
        asked: the wait.
        damage: wait for its damage, too.

    Raises:
        ApiError: the photo ended in Error, or was deleted meanwhile, or its damage is missing.
    """
    status = waiters().wait(image_hash, asked.seconds, current_owner(), damage=damage)
    # Addresses are relative, so that a proxy may add a path prefix.
    if status is not None and not (status.is_final if damage else status.has_ended):
        answer = jsonify({"image_hash": image_hash} | status_json(status))
        answer.status_code = 202
        answer.headers["Location"] = f"{image_hash}/status"
        return answer
    form = named_form(image_hash, asked.form)
    result = ended_result(status, form.options)
    answer = result_answer(image_hash, result, form)
    answer.set_etag(segments_tag(image_hash, result, form), weak=True)
    answer.headers["Content-Location"] = f"{image_hash}/segments"
    return answer


def _posted_image() -> tuple[Posted, bool | None]:
    """Return the photo in the request body, and its field `damage`. Raises ApiError."""
    try:
        photo = posted_photo()
        document = {"image": photo} if photo is not None else posted_object()
    except RequestEntityTooLarge:
        raise _too_large() from None
    image = document.get("image")
    if not isinstance(image, str | bytes) or not image:
        if "images" in document:
            raise ApiError(400, "POST / takes one image; send several images to POST /batch.")
        raise ApiError(400, 'There is no image; send {"image": "<base64>"}.')
    posted = Posted(image, _file_name(document.get("file_name"), "file_name"))
    return posted, json_damage(document)


@blueprint.post(
    "/batch",
    summary="Post many photos",
    responses={200: schema.BatchAnswer, **_POST_ERRORS},
    openapi_extensions={"requestBody": schema.BATCH_BODY, **schema.BATCH_QUERY},
)
def post_batch() -> Response:
    """Queue photos, and return one entry for each, in order, as from `POST /`.

    A photo that is refused has an `error`, and in `code` the status that `POST /` would have. Send
    photos with the code 429 or 503 again after the seconds in Retry-After. If all photos have the
    code 503, so does the answer. `damage` is as for `POST /`.
    """
    in_query = query_damage()
    with _batch_slot():
        photos, in_body = _posted_batch()
        return _to_response(_accept_batch(photos, damage=resolved_damage(in_query, in_body)))


def _post_form(*, is_single: bool, in_query: bool | None) -> tuple[dict[str, Any], bool]:
    """Accept the files of the posted form.

    Args:
        is_single: only one file is allowed.
        in_query: the option `damage` of the query; None if it is not given.

    Returns:
        The answer, and True if the photos are examined for damage.

    Raises:
        ApiError: the form was refused, or its only file.
        OptionError: its field `damage` can't be used.
    """
    settings = service().settings
    request.max_content_length = max(settings.max_body_bytes, settings.batch_body_bytes)
    with ExitStack() as held:
        # As for JSON, each thread may hold the body of one photo, but only few those of a batch.
        is_large = (request.content_length or 0) > settings.max_body_bytes
        if is_large:
            held.enter_context(_batch_slot())
        try:
            files, fields = posted_form(settings.batch_photos)
        except RequestEntityTooLarge:
            limits = f"{settings.max_upload_mb:g} MB for a photo, {settings.batch_mb:g} MB for all"
            raise ApiError(413, f"The form is too large; the limits are {limits}.") from None
        damage = resolved_damage(in_query, text_damage(fields))
        if len(files) == 1:
            return _accept_photo(files.pop(), damage=damage), damage
        if is_single:
            raise ApiError(400, "wait is for one photo; post several without it.")
        if not is_large:
            held.enter_context(_batch_slot())
        if sum(len(file.image) for file in files) > settings.batch_bytes:
            raise _batch_too_large()
        return _accept_batch(files, damage=damage), damage


@contextmanager
def _batch_slot() -> Iterator[None]:
    """Hold one of the slots for batches. Raises ApiError if all are taken."""
    slots = service().batch_slots
    if not slots.acquire(blocking=False):
        raise ApiError(
            503, "The service is reading other batches; try again in a moment.", _RETRY_AFTER
        )
    try:
        yield
    finally:
        slots.release()


def _accept_batch(
    photos: list[Posted] | list[Posted | ApiError], *, damage: bool
) -> dict[str, Any]:
    """Accept photos, and return the answer for all. Empties the list. Raises ApiError.

    Args:
        photos: the photos; the error of each one that can't be read.
        damage: examine them for damage.
    """
    entries: list[dict[str, Any]] = []
    photos.reverse()
    while photos:  # frees each photo once it is accepted
        entries.append(_batch_entry(photos.pop(), is_first=not entries, damage=damage))
    if all(entry.get("code") == 503 for entry in entries):
        waits = [entry["retry_after"] for entry in entries if "retry_after" in entry]
        raise ApiError(503, entries[0]["error"], max(waits, default=_RETRY_AFTER))
    return {"photos": entries}


def _to_response(accepted: dict[str, Any]) -> Response:
    """Return the response with the answer for one photo or for a batch."""
    answer = jsonify(accepted)
    waits = [e["retry_after"] for e in accepted.get("photos", ()) if "retry_after" in e]
    if waits:
        answer.headers["Retry-After"] = str(max(waits))
    return answer


@blueprint.delete(
    "/<image_hash>",
    summary="Delete a photo",
    responses={204: None, **schema.errors(404, 500, 507)},
)
def forget_photo(path: ImagePath) -> Response:
    """Cancel the job of a photo if it has not ended, and delete its result, if any."""
    if not service().engine.forget(path.image_hash, current_owner()):
        raise unknown_photo()
    return Response(status=204)


def _too_large() -> ApiError:
    """Return the error for a photo with too many bytes."""
    limit = service().settings.max_upload_mb
    return ApiError(413, f"The image is too large; the limit is {limit:g} MB.")


def _batch_too_large() -> ApiError:
    """Return the error for photos with too many bytes in total."""
    limit = service().settings.batch_mb
    return ApiError(413, f"The batch is too large; the limit is {limit:g} MB.")


def _file_name(value: object, where: str) -> str | None:
    """Return the plain form of a name in JSON; None if there is none. Raises ApiError."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ApiError(400, f"{where} is not a string.")
    return plain_file_name(value)


def _accept_photo(posted: Posted, *, damage: bool) -> dict[str, Any]:
    """Accept one photo and return its answer.

    All its exceptions are in the table of `api.errors.to_api_error`.
    """
    image = posted.image
    data = decode_base64(image) if isinstance(image, str) else image
    if not data:
        raise ImageError(400, "The image is empty.")
    if len(data) > service().settings.max_upload_bytes:
        raise _too_large()
    owner = current_owner()
    image_hash, is_new = service().engine.accept(data, owner, posted.file_name, damage=damage)
    message = "The photo was accepted." if is_new else "The photo is already known."
    return {"message": message, "image_hash": image_hash}


def _posted_batch() -> tuple[list[Posted | ApiError], bool | None]:
    """Return the images of the posted batch with their names or errors, and its field `damage`.

    Raises:
        ApiError: the batch was refused.
        OptionError: its field `damage` can't be used.
    """
    settings = service().settings
    request.max_content_length = settings.batch_body_bytes
    if not request.is_json:
        raise ApiError(
            415,
            "Send JSON with the header Content-Type: application/json; files, several as well, "
            "go to POST /.",
        )
    try:
        document = posted_object()
    except RequestEntityTooLarge:
        raise _batch_too_large() from None
    images = check_list(document, "images", settings.batch_photos, "<base64>")
    size = sum(len(image) for image in images if isinstance(image, str))
    if size * 3 // 4 > settings.batch_bytes + 3 * len(images):
        raise _batch_too_large()
    names = document.get("file_names")
    if names is None:
        names = [None] * len(images)
    if not isinstance(names, list) or len(names) != len(images):
        raise ApiError(400, "file_names must be a list with one name or null for each image.")
    items = enumerate(zip(images, names, strict=True), start=1)
    damage = json_damage(document)
    return [_item(number, image, name) for number, (image, name) in items], damage


def _item(number: int, image: object, name: object) -> Posted | ApiError:
    """Return one image of a posted batch with its name, or the error if one is not a string."""
    if not isinstance(image, str):
        return not_a_string(number, "images")
    try:
        return Posted(image, _file_name(name, f"Item {number} of file_names"))
    except ApiError as error:
        return error


def _batch_entry(posted: Posted | ApiError, *, is_first: bool, damage: bool) -> dict[str, Any]:
    """Return the answer for one photo of a batch."""
    try:
        if not is_first:  # the request itself is counted as the first
            count_photo()
        if isinstance(posted, ApiError):
            raise posted
        return _accept_photo(posted, damage=damage)
    except Exception as error:
        failure = to_api_error(error)
    entry: dict[str, Any] = {"error": failure.message, "code": failure.status}
    if failure.retry_after is not None:
        entry["retry_after"] = failure.retry_after
    return entry
