"""Error answers of all routes: `{"error": "..."}` with a fitting HTTP status."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, NotFound

from jobs.job import ClosingError, QueueFullError
from jobs.store import StoreError
from segment_interface import ImageError

log = logging.getLogger("carseg.api")

UNEXPECTED = "The service failed on this request; its log says why."

AWAY_SECONDS = 5  # seconds; Retry-After while the store is unreachable

_MESSAGES = {
    400: "The request could not be understood.",
    404: "There is nothing at this address; /docs lists what there is.",
    413: "The request is too large.",
    415: "The content type is not supported.",
}


class ApiError(Exception):
    """An error answer to a request; its message is shown to the client.

    Attributes:
        status: HTTP status of the answer.
        message: one sentence.
        retry_after: whole seconds after which to retry; None if unknown.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


def unknown_photo() -> ApiError:
    """Return the 404 error for an unknown hash."""
    return ApiError(404, "No photo with this hash is known.")


def explain(error: Exception) -> ApiError:
    """Return the error answer for an exception; log it if the service is at fault."""
    match error:
        case ApiError():
            return error
        case ImageError():
            return ApiError(error.status, error.message)
        case ClosingError():
            return ApiError(503, "The service is stopping; try again in a moment.", 2)
        case QueueFullError():
            return ApiError(503, str(error), error.retry_after)
        case StoreError(away=True):
            log.warning("%s on %s %r", error, request.method, request.path)
            return ApiError(503, str(error), AWAY_SECONDS)
        case StoreError():
            log.error("The store failed on %s %r", request.method, request.path, exc_info=error)
            return ApiError(507 if error.full else 500, str(error))
    log.error("Failed on %s %r", request.method, request.path, exc_info=error)
    return ApiError(500, UNEXPECTED)


def answer(failure: ApiError) -> Response:
    """Return the response for an error."""
    response = jsonify(error=failure.message)
    response.status_code = failure.status
    if failure.retry_after is not None:
        response.headers["Retry-After"] = str(failure.retry_after)
    return response


def register_errors(app: Flask, *, too_large: str) -> None:
    """Register the handlers that answer every exception with a JSON error.

    Args:
        app: the app.
        too_large: message for a request body over the limit.
    """
    messages = _MESSAGES | {413: too_large}

    def from_http(error: HTTPException) -> Response:
        status = error.code or 500
        if status == 405 and request.method in ("GET", "HEAD"):
            return from_http(NotFound())  # GET on an address for POST or DELETE only is a 404
        if status == 405:
            message = f"{request.method} is not possible here."
        elif status >= 500:
            message = UNEXPECTED
        else:
            message = messages.get(status, error.name + ".")
        response = jsonify(error=message)
        response.status_code = status
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                response.headers[name] = value  # such as Allow and Retry-After
        return response

    def from_anything(error: Exception) -> Response:
        return answer(explain(error))

    app.register_error_handler(HTTPException, from_http)
    app.register_error_handler(Exception, from_anything)
