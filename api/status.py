"""Routes that return the status of photos: at once, after a wait, or as a stream of events."""

from __future__ import annotations

import json
import math
import re

from flask import Response, jsonify, request

from api import schema
from api.errors import ApiError, unknown_photo
from api.keys import current_owner
from api.listeners import LONGEST_WAIT, Listeners
from api.openapi import OpenApiApp
from api.request_json import posted_texts
from api.schema import ImagePath, WaitQuery
from jobs.engine import Engine, PhotoStatus

_MOST_ASKED = 1000  # photos in one request
_HASH = re.compile(r"[0-9a-f]{64}")


def add_live(app: OpenApiApp, jobs: Engine, seats: int) -> None:
    """Add the three routes.

    Args:
        app: the app.
        jobs: the job engine.
        seats: number of requests that may wait concurrently; see `Settings.waiting_slots`.
    """
    listeners = Listeners(jobs, seats)
    error = schema.ErrorAnswer

    @app.get(
        "/<image_hash>/status",
        summary="Where a photo stands",
        responses={200: schema.Status, 400: error, 404: error},
    )
    def get_status(path: ImagePath, query: WaitQuery) -> Response:
        """Return Uploaded, Processing, Ready, or Error with the reason.

        With `wait` the answer comes when the photo is Ready or Error, or after that many seconds.
        While many others wait, it comes at once.
        """
        seconds = _seconds(request.args.getlist("wait"))
        standing = listeners.wait(path.image_hash, seconds, current_owner())
        if standing is None:
            raise unknown_photo()
        return jsonify(_status(standing))

    @app.post(
        "/status",
        summary="Where many photos stand",
        responses={200: schema.StatusesAnswer, **dict.fromkeys((400, 413, 415), error)},
        openapi_extensions={"requestBody": schema.statuses_body(_MOST_ASKED)},
    )
    def post_status() -> Response:
        """Return one entry for each hash, in order, as `/<image_hash>/status` without `wait`."""
        owner = current_owner()
        hashes = posted_texts("image_hashes", _MOST_ASKED, "<hash>")
        asked = [name for name in hashes if _HASH.fullmatch(name)]
        standings = dict(zip(asked, jobs.find_many(asked, owner), strict=True))
        return jsonify(photos=[_entry(name, standings.get(name)) for name in hashes])

    @app.get(
        "/<image_hash>/events",
        summary="Where a photo stands, live",
        responses={200: schema.EVENTS, 404: error, 503: error},
    )
    def get_events(path: ImagePath) -> Response:
        """Send events named `status`, as /status answers: one at once, then one per change.

        They are server-sent events and end with Ready or Error. The answer is 503 while too many
        clients listen; then poll.
        """
        if jobs.find(path.image_hash, current_owner()) is None:
            raise unknown_photo()
        return _events(listeners, path.image_hash)


def _events(listeners: Listeners, image_hash: str) -> Response:
    """Return the stream of events of a known photo."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(mimetype="text/event-stream", headers=headers)
    lines, leave = listeners.stream(
        image_hash, lambda now: json.dumps(_status(now)), current_owner()
    )
    response = Response(lines, mimetype="text/event-stream", headers=headers)
    response.call_on_close(leave)
    return response


def _entry(image_hash: str, standing: PhotoStatus | None) -> dict[str, str | int]:
    """Return the status of one of several photos as JSON."""
    if standing is None:
        unknown = unknown_photo()
        return {"image_hash": image_hash, "error": unknown.message, "code": unknown.status}
    return {"image_hash": image_hash} | _status(standing)


def _status(standing: PhotoStatus) -> dict[str, str | int]:
    """Return a status as JSON, in the shape of `api.schema.Status`."""
    answer: dict[str, str | int] = {"status": standing.state, "message": standing.message}
    if standing.position is not None:
        answer["position"] = standing.position
    if standing.stage is not None:
        answer["stage"] = standing.stage
    return answer


def _seconds(given: list[str]) -> float:
    """Parse the option `wait`, in seconds. Raises ApiError."""
    try:
        seconds = float(given[0]) if len(given) == 1 else 0.0 if not given else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_WAIT:
        raise ApiError(400, f"wait must be seconds from 0 to {LONGEST_WAIT:g}.")
    return seconds
