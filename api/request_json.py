"""JSON request bodies: read within limits, or refused with one sentence."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from flask import request

from api.errors import ApiError

# Requests need few values, and each takes 20 times the memory of its two bytes of JSON.
_MOST_VALUES = 10_000

# An object with a single string: the bytes before its content, and those after its end.
_BEFORE_TEXT = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(\w+)"[ \t\r\n]*:[ \t\r\n]*"')
_BEHIND_TEXT = re.compile(rb"[ \t\r\n]*\}[ \t\r\n]*")


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
        raise ApiError(400, "The JSON has too many values.")
    try:
        document = json.loads(data, strict=False)
    except (ValueError, RecursionError):
        raise ApiError(400, "The request is not valid JSON.") from None
    return document if isinstance(document, dict) else {}


def posted_texts(name: str, most: int, example: str) -> list[str]:
    """Return a list from the posted object as `check_texts` does. Raises ApiError."""
    return check_texts(posted_object(), name, most, example)


def check_texts(document: dict[str, Any], name: str, most: int, example: str) -> list[str]:
    """Return a list of 1 to `most` strings from an object.

    Args:
        document: the object.
        name: name of the list in the object.
        most: most strings in the list.
        example: an example of one string, for the message.

    Raises:
        ApiError: 400 if there is no such list of strings, 413 if it is too long.
    """
    texts = document.get(name)
    if not isinstance(texts, list) or not texts:
        raise ApiError(400, f'There are no {name}; send {{"{name}": ["{example}", ...]}}.')
    if len(texts) > most:
        raise ApiError(413, f"There are {len(texts)} {name}; the limit is {most}.")
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise ApiError(400, f"Item {number} of {name} is not a string.")
    return texts
