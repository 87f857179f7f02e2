"""JSON request bodies: read within limits, or refused with one sentence."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from flask import request

from api.errors import ApiError
from vision.image_file import read_file
from vision.image_parts import BrokenFileError, UnknownFormatError

# Requests need few values, and each takes 20 times the memory of its two bytes of JSON.
_MOST_VALUES = 10_000

# An object with a single string: the bytes before its content, and those after its end.
_BEFORE_TEXT = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(\w+)"[ \t\r\n]*:[ \t\r\n]*"')
_BEHIND_TEXT = re.compile(rb"[ \t\r\n]*\}[ \t\r\n]*")

_TEXT = frozenset(b"\t\n\r") | frozenset(range(32, 127))
_BLANKS = b" \t\r\n\xef\xbb\xbf"  # may be before JSON, with the byte order mark
_START = 256  # bytes; at least one of these is no text if the body is a photo
_HEAD = 4096  # bytes of a file that are enough to recognise its format
_SMALLEST_FILE = 100  # bytes; a photo has more


def posted_object() -> dict[str, Any]:
    """Return the posted JSON object, or {} for other JSON. Raises ApiError."""
    refuse_compressed()
    if not request.is_json:
        raise ApiError(415, "Send JSON with the header Content-Type: application/json.")
    data = request.get_data(cache=False)
    found = _only_text(data)
    return _parsed(data) if found is None else found


def refuse_compressed() -> None:
    """Refuse a compressed request body. Raises ApiError."""
    if request.content_encoding not in (None, "", "identity"):
        raise ApiError(415, "Compressed requests (Content-Encoding) are not supported.")


def is_text(data: bytes) -> bool:
    """Return whether data is ASCII text, at least at its start."""
    return _TEXT.issuperset(data[:_START])


def refuse_stripped(data: bytes) -> None:
    """Refuse a file from which `curl -d` removed all line ends and zero bytes.

    Every photo has some of them.

    Raises:
        ApiError: 400.
    """
    is_whole = any(byte in data for byte in (b"\0", b"\n", b"\r"))
    if len(data) >= _SMALLEST_FILE and not is_whole and not is_text(data):
        raise ApiError(
            400,
            "The file has lost its zero bytes and line ends, as by curl -d; send it with "
            "curl --data-binary @photo.jpg or -F file=@photo.jpg.",
        )


def _refuse_file(data: bytes) -> None:
    """Refuse an image file in place of JSON. Raises ApiError."""
    if data[:_START].lstrip(_BLANKS).startswith((b"{", b"[")):
        return
    refuse_stripped(data)
    try:
        read_file(data[:_HEAD])
    except UnknownFormatError as error:
        if error.name is None:
            return
    except BrokenFileError:
        pass  # only its start was read
    raise ApiError(
        400,
        "The body is a file, not JSON; send it with the Content-Type of an image, such as "
        "image/jpeg, or as curl -F file=@photo.jpg does.",
    )


def _only_text(data: bytes) -> dict[str, str] | None:
    """Return an object with a single string without escapes; None for other JSON.

    Most photos arrive in this form. A JSON parser examines each byte of the string. This function
    searches for two byte values, as fast as memory is read.
    """
    start = _BEFORE_TEXT.match(data)
    if start is None:
        return None
    end = data.find(b'"', start.end())
    if end < 0 or data.find(b"\\", start.end(), end) >= 0:
        return None
    if not _BEHIND_TEXT.fullmatch(data, end + 1):
        return None
    try:
        return {start[1].decode(): str(memoryview(data)[start.end() : end], "utf-8")}
    except UnicodeDecodeError:
        return None


def _parsed(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; return {} for other JSON. Raises ApiError."""
    letters = np.frombuffer(data, np.uint8)  # counts several times as fast as bytes.count
    if sum(np.count_nonzero(letters == mark) for mark in b",[{") > _MOST_VALUES:
        _refuse_file(data)
        raise ApiError(400, "The JSON has too many values.")
    try:
        document = json.loads(data, strict=False)
    except (ValueError, RecursionError):
        _refuse_file(data)
        raise ApiError(400, "The request is not valid JSON.") from None
    return document if isinstance(document, dict) else {}


def posted_texts(name: str, most: int, example: str) -> list[str]:
    """Return a list of 1 to `most` strings from the posted object.

    Args:
        name: name of the list in the object.
        most: most strings in the list.
        example: an example of one string, for the message.

    Raises:
        ApiError: 400 if there is no such list of strings, 413 if it is too long.
    """
    texts = check_list(posted_object(), name, most, example)
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise not_a_string(number, name)
    return texts


def check_list(document: dict[str, Any], name: str, most: int, example: str) -> list[Any]:
    """Return a list of 1 to `most` items from an object; for the arguments see `posted_texts`.

    Raises:
        ApiError: 400 if there is no such list, 413 if it is too long.
    """
    items = document.get(name)
    if not isinstance(items, list) or not items:
        raise ApiError(400, f'There are no {name}; send {{"{name}": ["{example}", ...]}}.')
    if len(items) > most:
        raise ApiError(413, f"There are {len(items)} {name}; the limit is {most}.")
    return items


def not_a_string(number: int, name: str) -> ApiError:
    """Return the error for an item of a list, counted from 1, that is not a string."""
    return ApiError(400, f"Item {number} of {name} is not a string.")
