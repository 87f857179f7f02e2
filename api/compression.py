"""Compress answers in JSON, and files of the page, for clients that accept gzip."""

from __future__ import annotations

import gzip
from functools import lru_cache
from http import HTTPStatus

from flask import Flask, Response, request

_LEAST = 1000  # bytes; a smaller answer fits into one packet anyway
_LEVEL = 1  # level 6 takes twice as long for 7 % less


def register_compression(app: Flask) -> None:
    """Compress each answer in JSON that is large enough, if the client accepts that.

    Call this before other functions that change answers are registered: they run first.
    """

    @app.after_request
    def compress(response: Response) -> Response:
        if not _may_be_compressed(response):
            return response
        response.vary.add("Accept-Encoding")
        if _accepts_gzip():
            response.set_data(gzip.compress(response.get_data(), _LEVEL, mtime=0))
            response.content_encoding = "gzip"
        return response


def compress_file(response: Response) -> Response:
    """Compress the answer with a small text file that does not change while the service runs.

    An answer without the whole file, such as 304, stays as it is.
    """
    response.vary.add("Accept-Encoding")
    if response.status_code == HTTPStatus.OK and _accepts_gzip():
        response.direct_passthrough = False
        response.set_data(_packed(response.get_data()))
        response.content_encoding = "gzip"
    return response


@lru_cache(maxsize=100)
def _packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _may_be_compressed(response: Response) -> bool:
    kind = response.mimetype or ""
    is_json = kind == "application/json" or kind.endswith("+json")
    is_whole = not (response.is_streamed or response.direct_passthrough)
    return is_json and is_whole and (response.content_length or 0) >= _LEAST


def _accepts_gzip() -> bool:
    """Return whether the client accepts gzip, and does not prefer answers as they are."""
    accepted = request.accept_encodings
    quality = accepted.quality("gzip")
    return quality > 0 and quality >= accepted.quality("identity")
