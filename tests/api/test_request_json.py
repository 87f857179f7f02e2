"""The JSON of a request is read as the json module does, whichever way it takes."""

from __future__ import annotations

import json

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from api.errors import ApiError
from api.request_json import posted_object

app = Flask(__name__)

PIECES = st.sampled_from(
    [b'"', b"\\", b"\\n", b"\\u00e9", b"{", b"}", b"[", b"]", b":", b",", b" ", b"\n", b"\r", b"\t",
     b"\0", b"\f", b"\xa0", b'{"image":"', b'"}', b"image", b"AAAA", b"1", "é\u20ac".encode(),
     b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"]
)  # fmt: skip


def read(data: bytes) -> object:
    """Return the JSON of a request body, None if it is refused."""
    with app.test_request_context(method="POST", data=data, content_type="application/json"):
        try:
            return posted_object()
        except ApiError as refusal:
            return None if refusal.status == 400 else refusal


def expected(data: bytes) -> object:
    try:
        document = json.loads(data, strict=False)
    except ValueError:
        return None
    return document if isinstance(document, dict) else {}


@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_any_bytes(data: bytes) -> None:
    assert read(data) == expected(data)


@given(st.lists(PIECES, max_size=6).map(b"".join), st.lists(PIECES, max_size=4).map(b"".join))
def test_nearly_valid_photo(text: bytes, rest: bytes) -> None:
    for data in (b'{"image":"' + text + b'"}' + rest, rest + b'{"image":"' + text + b'"}'):
        assert read(data) == expected(data)


@given(st.dictionaries(st.text(), st.text(), max_size=2), st.booleans(), st.sampled_from([None, 2]))
def test_objects_of_texts(document: dict[str, str], ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert read(text.encode("utf-8", "surrogatepass")) == document


@pytest.mark.parametrize("form", ['{"image":"%s"}', ' {\n"image" :\t"%s"\r\n} \n'])
def test_photo_with_line_breaks(form: str) -> None:
    text = "data:image/png;base64,AAAA\r\nBBBB\n"
    assert read((form % text).encode()) == {"image": text}
