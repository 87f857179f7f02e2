"""The JSON of a request: read within limits, and refused with a sentence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from flask import request

from errors import ApiError

# Where few are needed: each takes 20 times the memory of its two letters.
_MOST_VALUES = 10_000


def posted_object() -> dict[str, Any]:
    """The JSON object that was posted, {} where it is JSON but no object. Raises ApiError."""
    if request.content_encoding not in (None, "", "identity"):
        raise ApiError(415, "A compressed request (Content-Encoding) is not supported.")
    if not request.is_json:
        raise ApiError(415, "Send JSON, with the header Content-Type: application/json.")
    data = request.get_data(cache=False)
    letters = np.frombuffer(data, np.uint8)  # counts several times as fast as bytes do
    if sum(np.count_nonzero(letters == mark) for mark in b",[{") > _MOST_VALUES:
        raise ApiError(400, "The JSON has too many values.")
    try:
        document = json.loads(data, strict=False)
    except (ValueError, RecursionError):
        raise ApiError(400, "The request is not valid JSON.") from None
    return document if isinstance(document, dict) else {}


def posted_texts(name: str, most: int, example: str) -> list[str]:
    """The list of texts that was posted under a name; 1 to `most`.

    Args:
        name: of the member.
        most: of them.
        example: of one of them, for the message.

    Raises:
        ApiError: 400 where there is no such list, 413 where it is too long.
    """
    texts = posted_object().get(name)
    if not isinstance(texts, list) or not texts:
        raise ApiError(400, f'There are no {name}; send {{"{name}": ["{example}", ...]}}.')
    if len(texts) > most:
        raise ApiError(413, f"There are {len(texts)} {name}; the limit is {most}.")
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise ApiError(400, f"Number {number} of the {name} is no text.")
    return texts
