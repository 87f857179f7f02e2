"""One shape for every error of every route: `{"error": "..."}` with the fitting status."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, NotFound

from jobs.job import ClosingError, QueueFullError
from jobs.store import StoreError
from segment_interface import ImageError

log = logging.getLogger("carseg.api")

UNEXPECTED = "The service failed on this request; its log says why."

AWAY_SECONDS = 5  # seconds until it is worth asking again

_MESSAGES = {
    400: "The request could not be understood.",
    404: "There is nothing at this address; /docs lists what there is.",
    413: "The request is too large.",
    415: "The content type is not supported.",
}


class ApiError(Exception):
    """A request that can't be answered as asked; the message is shown to the client.

    Attributes:
        status: the HTTP status that says so.
        message: one sentence.
        retry_after: whole seconds after which it is worth trying again, None where unknown.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


def unknown_photo() -> ApiError:
    """The answer to a hash that nobody posted."""
    return ApiError(404, "No photo with this hash is known.")


def explain(error: Exception) -> ApiError:
    """What a client is told of anything that was raised; what it can't help is logged."""
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
    """The response that tells of an error."""
    response = jsonify(error=failure.message)
    response.status_code = failure.status
    if failure.retry_after is not None:
        response.headers["Retry-After"] = str(failure.retry_after)
    return response


def register_errors(app: Flask, *, too_large: str) -> None:
    """Turn everything that can be raised while a request is answered into our shape.

    Args:
        app: the app.
        too_large: the message where the body of a request is over the limit.
    """
    messages = _MESSAGES | {413: too_large}

    def from_http(error: HTTPException) -> Response:
        status = error.code or 500
        if status == 405 and request.method in ("GET", "HEAD"):
            return from_http(NotFound())  # what can only be deleted is nothing to look at
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
