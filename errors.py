"""One shape for every error of every route: `{"error": "..."}` with the fitting status."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, NotFound

from job import ClosingError, QueueFullError
from segment_interface import ImageError
from store import StoreError

log = logging.getLogger(__name__)

UNEXPECTED = "The service failed on this request; its log says why."

AWAY_SECONDS = 5  # seconds until it is worth asking again

_MESSAGES = {
    400: "The request could not be understood.",
    404: "There is nothing at this address; /docs lists what there is.",
    413: "The request is too large.",
    415: "The content type is not supported.",
}


class ApiError(Exception):
    """A request that can't be answered as asked; the message is shown to the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def unknown_photo() -> ApiError:
    """The answer to a hash that nobody posted."""
    return ApiError(404, "No photo with this hash is known.")


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

    def from_ours(error: ApiError | ImageError) -> tuple[Response, int]:
        return jsonify(error=error.message), error.status

    def from_closing(error: ClosingError) -> Response:
        return busy("The service is stopping; try again in a moment.", 2)

    def from_queue(error: QueueFullError) -> Response:
        return busy(str(error), error.retry_after)

    def from_store(error: StoreError) -> Response | tuple[Response, int]:
        if error.away:
            log.warning("%s on %s %r", error, request.method, request.path)
            return busy(str(error), AWAY_SECONDS)
        log.error("The store failed on %s %r", request.method, request.path, exc_info=error)
        return jsonify(error=str(error)), 507 if error.full else 500

    def from_anything(error: Exception) -> tuple[Response, int]:
        log.error("Failed on %s %r", request.method, request.path, exc_info=error)
        return jsonify(error=UNEXPECTED), 500

    app.register_error_handler(HTTPException, from_http)
    app.register_error_handler(ApiError, from_ours)
    app.register_error_handler(ImageError, from_ours)
    app.register_error_handler(ClosingError, from_closing)
    app.register_error_handler(QueueFullError, from_queue)
    app.register_error_handler(StoreError, from_store)
    app.register_error_handler(Exception, from_anything)


def busy(message: str, retry_after: int) -> Response:
    """503, and when it is worth trying again."""
    response = jsonify(error=message)
    response.status_code = 503
    response.headers["Retry-After"] = str(retry_after)
    return response
