"""`csv`, read by the module of the standard library."""

from __future__ import annotations

import csv
from dataclasses import replace
from io import StringIO

import pytest

from exports.annotation import ImageAnnotation
from exports.csv_table import COLUMNS, merge, write

pytest_plugins = ["tests.exports.scenes"]


def rows(document: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(document.decode(), newline="")))


def test_row_per_part(scene: ImageAnnotation) -> None:
    named = replace(scene, file_name='a "car", é.png')
    read = rows(write(named))
    assert [row["part"] for row in read] == [part.name for part in scene.parts]
    for row, part in zip(read, scene.parts, strict=True):
        assert tuple(row) == COLUMNS
        assert row["file"] == named.file_name
        assert row["type"] == (scene.type.name if scene.type else "")
        assert float(row["confidence"]) == part.confidence
        assert int(row["area"]) == part.area
        assert float(row["share"]) == round(part.area / (scene.width * scene.height), 6)
        assert tuple(int(row[name]) for name in ("x", "y", "width", "height")) == part.bbox


def test_photo_without_type(scene: ImageAnnotation) -> None:
    assert {row["type"] for row in rows(write(replace(scene, type=None)))} == {""}


def test_photo_without_parts(empty: ImageAnnotation) -> None:
    (row,) = rows(write(empty))
    assert row == dict.fromkeys(COLUMNS, "") | {"file": empty.file_name}


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ('=HYPERLINK("http://example.org").png', '\'=HYPERLINK("http://example.org").png'),
        ("+1.png", "'+1.png"),
        ("-1.png", "'-1.png"),
        ("@SUM(A1).png", "'@SUM(A1).png"),
        ("\tcar.png", "'\tcar.png"),
        ("\rcar.png", "'\rcar.png"),
        ("a=1.png", "a=1.png"),
        ("'car.png", "'car.png"),
    ],
)
def test_name_like_formula(scene: ImageAnnotation, name: str, cell: str) -> None:
    read = rows(write(replace(scene, file_name=name)))
    assert {row["file"] for row in read} == {cell}


def test_merge(scene: ImageAnnotation, empty: ImageAnnotation) -> None:
    other = replace(scene, file_name="other.png")
    merged = merge([write(scene), write(empty), write(other)])
    assert rows(merged) == rows(write(scene)) + rows(write(empty)) + rows(write(other))
    assert rows(merge([])) == []
