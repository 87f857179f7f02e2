"""Names of files as they are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog import LONGEST_NAME, plain_file_name
from options import Options


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("holiday/day 1/photo.jpg", "photo.jpg"),
        ("C:\\fakepath\\photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("รถ 車 é.jpg", "รถ 車 é.jpg"),
        ("a\x00b\r\nc\u202ed.jpg", "abcd.jpg"),
        ("at 3.04\u202fPM.png", "at 3.04 PM.png"),
        ("  photo.jpg ", "photo.jpg"),
        ("\ud800.jpg", ".jpg"),
        ("", None),
        ("/", None),
        ("folder/", None),
        ("..", None),
        (".", None),
        (" \x00 ", None),
        ("a" * 300 + ".jpeg", "a" * 250 + ".jpeg"),
        ("a" * 255 + "." + "b" * 300, "a" * 255),
        ("x/" * 100_000 + "a.jpg", "a.jpg"),
    ],
)
def test_plain_file_name(path: str, name: str | None) -> None:
    assert plain_file_name(path) == name


@given(st.text() | st.text("a/\\. \x00\u2028", min_size=250, max_size=300))
def test_any_plain_name_can_be_exported(path: str) -> None:
    name = plain_file_name(path)
    if name is not None:
        assert 0 < len(name) <= LONGEST_NAME
        assert not {"/", "\\"} & set(name)
        assert plain_file_name(name) == name
        assert Options(file_name=name).file_name == name
