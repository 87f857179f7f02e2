"""Map exceptions to error answers: `{"error": "..."}` with a fitting HTTP status.

Views, and all functions that they call, raise exceptions. `to_api_error` has the table of all
exceptions, and `error_response` builds every error answer of the app.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from flask import Flask, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from jobs.engine import ClosingError, QueueFullError
from jobs.messages import CLOSING
from jobs.store import StoreError
from options import OptionError
from segment_interface import ImageError

log = logging.getLogger("carseg.api")

UNEXPECTED = "The request failed because of an error in the service; its log has the details."

AWAY_SECONDS = 5  # Retry-After while the store is unreachable
_CLOSING_SECONDS = 2  # Retry-After while the service stops

_MESSAGES = {
    400: "The request could not be understood.",
    404: "There is nothing at this address; see /docs for all routes.",
    413: "The request is too large.",
    415: "The content type is not supported.",
}
HASH = re.compile(r"[0-9a-f]{64}")  # of a photo
_ONE_NAME = re.compile(r"/[^/]+")
_OWN_HEADERS = ("content-type", "content-length")  # of the JSON, not of werkzeug's HTML


class ApiError(Exception):
    """An error answer to a request; its message is shown to the client.

    Attributes:
        status: HTTP status of the answer.
        message: one sentence.
        retry_after: whole seconds after which to retry; None if unknown.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        retry_after: int | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.headers = tuple(headers)


def unknown_photo() -> ApiError:
    """Return the 404 error for an unknown hash."""
    return ApiError(404, "There is no photo with this hash.")


def error_response(
    status: int,
    message: str,
    *,
    retry_after: int | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> Response:
    """Build an error answer.

    Args:
        status: HTTP status.
        message: one sentence for people.
        retry_after: whole seconds for the header Retry-After; None to leave it out.
        headers: further headers; several may have the same name.
    """
    response = jsonify(error=message)
    response.status_code = status
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    for name, value in headers:
        response.headers.add(name, value)
    return response


def to_api_error(error: Exception) -> ApiError:
    """Return the error answer for an exception, and log errors of the service.

    | exception           | status          | message       | Retry-After        |
    |---------------------|-----------------|---------------|--------------------|
    | `ApiError`          | its own         | its own       | its own            |
    | `ImageError`        | its own         | its own       |                    |
    | `OptionError`       | 400             | its own       |                    |
    | `ClosingError`      | 503             | of this table | 2 s                |
    | `QueueFullError`    | 503             | its own       | its own, estimated |
    | `StoreError` (away) | 503             | its own       | 5 s                |
    | `StoreError` (full) | 507             | its own       |                    |
    | other `StoreError`  | 500             | its own       |                    |
    | `HTTPException`     | its own         | by its status | its own            |
    | any other           | 500             | `UNEXPECTED`  |                    |

    `QueueFullError.until_half` estimates the seconds until half of the queue is done.

    `api.rate_limits` adds the two exceptions of its library, which is loaded only if needed.
    `server.connection` answers 408 itself, without the app.
    """
    match error:
        case ApiError():
            return error
        case ImageError():
            return ApiError(error.status, error.message)
        case OptionError():
            return ApiError(400, str(error))
        case ClosingError():
            return ApiError(503, CLOSING, _CLOSING_SECONDS)
        case QueueFullError():
            return ApiError(503, str(error), error.retry_after)
        case StoreError(away=True):
            log.warning("%s on %s %r", error, request.method, request.path)
            return ApiError(503, str(error), AWAY_SECONDS)
        case StoreError():
            log.error("The store failed on %s %r", request.method, request.path, exc_info=error)
            return ApiError(507 if error.full else 500, str(error))
        case HTTPException():
            return _from_http(error)
    log.error("Failed on %s %r", request.method, request.path, exc_info=error)
    return ApiError(500, UNEXPECTED)


def _from_http(error: HTTPException) -> ApiError:
    """Return the error answer for an exception of werkzeug, such as an unknown address."""
    if isinstance(error, MethodNotAllowed):
        if request.method in ("GET", "HEAD") or _is_unknown_name():
            return _from_http(NotFound())  # the address is for other methods, or for no photo
        message = f"{request.method} is not allowed at this address."
    elif (error.code or 500) >= 500:
        message = UNEXPECTED
    else:
        message = _MESSAGES.get(error.code or 500, f"{error.name}.")
    headers = [(k, v) for k, v in error.get_headers() if k.lower() not in _OWN_HEADERS]
    return ApiError(error.code or 500, message, headers=headers)  # headers such as Allow


def _is_unknown_name() -> bool:
    """Return whether the address is a single name that is neither a route nor a photo's hash."""
    if not _ONE_NAME.fullmatch(request.path) or HASH.fullmatch(request.path[1:].lower()):
        return False
    return all(rule.rule != request.path for rule in current_app.url_map.iter_rules())


def register_errors(app: Flask) -> None:
    """Answer every exception in the app as `to_api_error` says."""

    def to_response(error: Exception) -> Response:
        failure = to_api_error(error)
        return error_response(
            failure.status,
            failure.message,
            retry_after=failure.retry_after,
            headers=failure.headers,
        )

    app.register_error_handler(Exception, to_response)
