"""Conditional requests for results: a client that has the answer already gets 304 (RFC 9110).

An answer depends on the photo, its result, the code that writes answers, and the options. Its ETag
is a hash of these, so none of the answer needs to be computed for it. The result counts with its
content, because runtimes compute slightly different results with the same models. The ETag is weak,
because the same answer may be sent compressed or not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from flask import Response, request

from photo_result import Result
from settings import REPOSITORY, VERSION

# Kept by the client alone, and used again only after the service said that it still holds.
_CACHING = "private, no-cache"
_WRITERS = (
    *("options.py", "photo_result.py", "analysis", "poligons_from_seg.py"),
    *("exports", "geometry"),
)


def conditional_answer(tag: str, write: Callable[[], Response]) -> Response:
    """Return the answer with a result, or 304 if the client has it already.

    Args:
        tag: ETag of the answer.
        write: returns the answer; is not called for 304.
    """
    # A star would also be true of an answer that turns out to be an error.
    is_known = tag in request.if_none_match.as_set(include_weak=True)
    answer = Response(status=304) if is_known else write()
    answer.set_etag(tag, weak=True)
    answer.headers["Cache-Control"] = _CACHING
    answer.vary.update(("Accept", "Accept-Encoding"))
    return answer


def result_tag(image_hash: str, name: str, result: Result, choice: object) -> str:
    """Return the ETag of an answer with a result.

    Args:
        image_hash: hash of the photo.
        name: last part of the answer's address, such as `mask.png`.
        result: result of the photo.
        choice: all that the request asks for, with a `repr` of its value.
    """
    seen = (image_hash, name, result.digest(), code_version(), choice)
    return hashlib.blake2b(repr(seen).encode(), digest_size=12).hexdigest()


@cache
def code_version() -> str:
    """Return a hash of the version of the service, and of the code that writes answers."""
    digest = hashlib.blake2b(VERSION.encode(), digest_size=12)
    for name in _WRITERS:
        for file in _sources(REPOSITORY / name):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _sources(path: Path) -> list[Path]:
    """Return a file, or the sources in a folder, in a fixed order."""
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]
