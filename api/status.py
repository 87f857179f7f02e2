"""Routes that return the status of photos: at once, after a wait, or as a stream of events.

A request that waits holds a thread of the server. So it needs a slot, and slots are few: other
requests always find a thread. Without a free slot, a status request is answered at once, and a
stream is refused with a retry time.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator

from flask import Response, jsonify, request
from werkzeug.exceptions import NotFound

from api import schema
from api.errors import HASH, ApiError, unknown_photo
from api.keys import current_owner
from api.openapi import ApiBlueprint
from api.request_json import posted_texts
from api.schema import LONGEST_WAIT, ImagePath
from api.service import service
from jobs.engine import Engine, PhotoStatus
from jobs.store import StoreError

blueprint = ApiBlueprint("status", __name__, "how far photos are")

LONGEST_STREAM = 60.0  # seconds; a browser reconnects automatically
HEARTBEAT = 5.0  # seconds between keep-alive lines, which detect closed connections

_RETRY_AFTER = 2  # seconds; Retry-After of a refused stream
_LINKS = ("status", "events")
_RESULT_LINKS = ("segments", "mask.png", "overlay.png")
_MOST_ASKED = 1000  # photos in one request


class TooManyWaitingError(ApiError):
    """The error that all slots for waiting requests are taken."""

    def __init__(self) -> None:
        message = "Too many clients are listening; poll the status instead."
        super().__init__(503, message, _RETRY_AFTER)


class StatusWaiters:
    """The requests that wait for a change of status, each in a slot.

    Args:
        engine: the job engine.
        slots: one slot for each request that may wait.
        heartbeat: seconds between keep-alive lines of a stream.
        longest_stream: seconds after which a stream ends.
    """

    def __init__(
        self,
        engine: Engine,
        slots: threading.Semaphore,
        *,
        heartbeat: float = HEARTBEAT,
        longest_stream: float = LONGEST_STREAM,
    ) -> None:
        self._engine = engine
        self._slots = slots
        self._heartbeat = heartbeat
        self._longest_stream = longest_stream

    def wait(
        self, digest: str, seconds: float, owner: str = "", *, damage: bool = True
    ) -> PhotoStatus | None:
        """Return the status of a photo once it is final, or after a timeout.

        Returns at once if no slot is free.

        Args:
            digest: the photo's hash.
            seconds: longest wait.
            owner: owner that asks, as in `jobs.engine.Engine.find`.
            damage: False if it is enough that the photo is Ready, with or without its damage.

        Returns:
            The status, or None if the photo is unknown to this owner.
        """
        status = self._engine.find(digest, owner)
        if status is None or seconds <= 0:
            return status
        if status.is_final if damage else status.has_ended:
            return status
        if not self._slots.acquire(blocking=False):
            return status
        try:
            return self._engine.wait_for_end(digest, min(seconds, LONGEST_WAIT), owner)
        finally:
            self._slots.release()

    def stream(
        self, digest: str, encode: Callable[[PhotoStatus], str], owner: str = ""
    ) -> tuple[Iterator[str], Callable[[], None]]:
        """Open a stream of server-sent events: one for the current status, one for each change.

        It ends when the status is final, or after `longest_stream` seconds.

        Args:
            digest: hash of a known photo.
            encode: returns the data of one event, in one line.
            owner: owner that listens, as in `jobs.engine.Engine.find`.

        Returns:
            The text of the answer in pieces, and a function that frees the slot. Call it when the
            answer is sent or aborted.

        Raises:
            TooManyWaitingError: no slot is free.
        """
        if not self._slots.acquire(blocking=False):
            raise TooManyWaitingError
        once = threading.Lock()

        def leave() -> None:
            if once.acquire(blocking=False):  # further calls do nothing
                self._slots.release()

        return self._events(digest, encode, owner), leave

    def _events(
        self, digest: str, encode: Callable[[PhotoStatus], str], owner: str
    ) -> Iterator[str]:
        deadline = time.monotonic() + self._longest_stream
        seen: PhotoStatus | None = None
        while True:
            try:
                now = self._engine.wait(digest, seen, self._heartbeat, owner)
            except StoreError:  # headers are sent; a browser reconnects and gets the error
                return
            if now is None:
                return
            if now != seen:
                yield f"event: status\ndata: {encode(now)}\n\n"
            else:
                yield ": still there\n\n"
            if now.is_final or self._engine.is_closing or time.monotonic() > deadline:
                return
            seen = now


@blueprint.get(
    "/<image_hash>",
    summary="Get a photo",
    responses={200: schema.PhotoAnswer, **schema.errors(404)},
)
def get_photo(path: ImagePath) -> Response:
    """Return the status of a photo, and the addresses of its status and of its result if Ready."""
    if not HASH.fullmatch(path.image_hash):
        raise NotFound  # any unknown address comes here
    status = service().engine.find(path.image_hash, current_owner())
    if status is None:
        raise unknown_photo()
    names = [*_LINKS, *_RESULT_LINKS] if status.state == "Ready" else [*_LINKS]
    if status.result is not None and status.result.damages is not None:
        names.append("damage.png")
    # Relative, so that a proxy may add a path prefix.
    links = {name.partition(".")[0]: f"{path.image_hash}/{name}" for name in names}
    return jsonify({"image_hash": path.image_hash} | status_json(status) | {"links": links})


@blueprint.get(
    "/<image_hash>/status",
    summary="Get the status of a photo",
    responses={200: schema.Status, **schema.errors(400, 404)},
    openapi_extensions=schema.WAIT_QUERY,
)
def get_status(path: ImagePath) -> Response:
    """Return Uploaded, Processing, Ready, or Error with the reason.

    With `wait`, the answer comes when the photo is Ready or Error and no examination for damage is
    pending, or after that many seconds. It comes at once while too many other requests wait.
    """
    seconds = wait_seconds(request.args.getlist("wait"))
    status = waiters().wait(path.image_hash, seconds, current_owner())
    if status is None:
        raise unknown_photo()
    return jsonify(status_json(status))


@blueprint.post(
    "/status",
    summary="Get the statuses of many photos",
    responses={200: schema.StatusesAnswer, **schema.errors(400, 413, 415)},
    openapi_extensions={"requestBody": schema.statuses_body(_MOST_ASKED)},
)
def post_status() -> Response:
    """Return one entry for each hash, in order, as from `/<image_hash>/status` without `wait`."""
    hashes = posted_texts("image_hashes", _MOST_ASKED, "<hash>")
    asked = [name.lower() for name in hashes if HASH.fullmatch(name.lower())]
    statuses = service().engine.find_many(asked, current_owner())
    found = dict(zip(asked, statuses, strict=True))
    return jsonify(photos=[_entry(name, found.get(name.lower())) for name in hashes])


@blueprint.get(
    "/<image_hash>/events",
    summary="Stream the status of a photo",
    responses={200: schema.EVENTS, **schema.errors(404, 503)},
)
def get_events(path: ImagePath) -> Response:
    """Send server-sent events named `status`: one at once, then one for each change.

    Their data is the JSON of `/<image_hash>/status`. The stream ends with Ready or Error, but not
    while an examination for damage is pending. The answer is 503 while too many clients listen;
    then poll the status.
    """
    owner = current_owner()
    if service().engine.find(path.image_hash, owner) is None:
        raise unknown_photo()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(mimetype="text/event-stream", headers=headers)
    lines, leave = waiters().stream(
        path.image_hash, lambda now: json.dumps(status_json(now)), owner
    )
    response = Response(lines, mimetype="text/event-stream", headers=headers)
    response.call_on_close(leave)
    return response


def waiters() -> StatusWaiters:
    """Return the waiters of the app that answers the current request."""
    return StatusWaiters(service().engine, service().waiting_slots)


def _entry(image_hash: str, status: PhotoStatus | None) -> dict[str, str | int]:
    """Return the status of one of several photos as JSON."""
    if status is None:
        unknown = unknown_photo()
        return {"image_hash": image_hash, "error": unknown.message, "code": unknown.status}
    return {"image_hash": image_hash} | status_json(status)


def status_json(status: PhotoStatus) -> dict[str, str | int]:
    """Return a status as JSON, in the shape of `api.schema.Status`."""
    answer: dict[str, str | int] = {"status": status.state, "message": status.message}
    if status.position is not None:
        answer["position"] = status.position
    if status.stage is not None:
        answer["stage"] = status.stage
    if status.state == "Ready" and status.damage_pending:
        answer["damage"] = "pending"
    elif status.state == "Ready" and status.damage_error is not None:
        answer["damage_error"] = status.damage_error
    return answer


def wait_seconds(given: list[str]) -> float:
    """Parse the option `wait`, in seconds. Raises ApiError."""
    try:
        seconds = float(given[0]) if len(given) == 1 else 0.0 if not given else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_WAIT:
        raise ApiError(400, f"wait must be a number of seconds from 0 to {LONGEST_WAIT:g}.")
    return seconds
