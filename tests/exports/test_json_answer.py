"""`json`: the same bytes as the API always answers, and normalised ones."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from api.schema import ResultAnswer
from exports import FORMATS, export
from exports.annotation import ImageAnnotation, annotate
from exports.json_answer import write
from options import Options
from photo_result import NO_CAR, Result

pytest_plugins = ["tests.exports.scenes"]

HASH = "ab" * 32


def test_documented_schema(scene: ImageAnnotation) -> None:
    document = ResultAnswer.model_validate_json(write(scene), strict=False)
    assert [part.name for part in document.parts] == [part.name for part in scene.parts]
    assert list(document.segments) == [part.name for part in scene.parts]
    for part in document.parts:
        exteriors = [polygon.exterior for polygon in part.polygons]
        assert document.segments[part.name] == exteriors


def test_normalised_coordinates(drawn: Result) -> None:
    plain = json.loads(write(annotate(HASH, drawn, Options())))
    normalised = json.loads(write(annotate(HASH, drawn, Options(normalized=True))))
    size = np.array([drawn.width, drawn.height])
    for one, other in zip(plain["parts"], normalised["parts"], strict=True):
        assert np.allclose(np.array(other["bbox"]).reshape(2, 2) * size,
                           np.array(one["bbox"]).reshape(2, 2), atol=0.001)  # fmt: skip
        for a, b in zip(one["polygons"], other["polygons"], strict=True):
            for ring, scaled in zip([a["exterior"], *a["holes"]], [b["exterior"], *b["holes"]],
                                    strict=True):  # fmt: skip
                assert np.allclose(np.array(scaled) * size, ring, atol=0.001)
                assert np.max(scaled) <= 1


def test_photo_without_car(empty: ImageAnnotation) -> None:
    document = json.loads(write(empty))
    assert document["type"] is None
    assert document["segments"] == {}
    assert document["parts"] == []
    assert document["message"] == NO_CAR
    assert (document["rotation"], document["other_cars"]) == (0, False)


def test_details_of_the_photo(unsure: Result) -> None:
    document = json.loads(write(annotate(HASH, unsure, Options())))
    assert (document["rotation"], document["other_cars"]) == (90, True)
    assert (document["width"], document["height"]) == (unsure.width, unsure.height)
    assert document["model_version"] == unsure.model_version != ""
    assert "90 degrees clockwise" in document["message"]
    assert "other cars" in document["message"]


def test_parts_without_type(unsure: Result) -> None:
    close_up = replace(unsure, type=None)
    document = json.loads(write(annotate(HASH, close_up, Options())))
    assert document["type"] is None
    assert len(document["parts"]) > 1
    assert "type of the car cannot be told" in document["message"]
    nothing_sure = json.loads(write(annotate(HASH, close_up, Options(min_confidence=1))))
    assert nothing_sure["parts"] == []
    assert nothing_sure["message"] != NO_CAR


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_writes_same_bytes_each_time(name: str, drawn: Result) -> None:
    options = Options(tolerance=1, topology="shared")
    first, second = (export(HASH, drawn, FORMATS[name], options) for _ in range(2))
    assert first == second != b""


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_without_a_car(name: str, empty: ImageAnnotation) -> None:
    chosen = FORMATS[name]
    document = chosen.write(empty)
    assert b"hood" not in document or chosen.name in ("coco", "coco-rle", "cvat")  # their labels
    if chosen.merge:
        assert chosen.merge([document, document])
