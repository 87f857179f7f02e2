"""The service is asked about photos as users send them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline import Pipeline
from tests.support.pictures import SAMPLE
from tests.training.tiny import BOXES, SIZE, write_data
from training.answers import (
    SIZES,
    TURNS,
    CloseUp,
    Service,
    close_up_box,
    list_close_ups,
    resized,
    turned,
    without_side,
)
from training.parts_data import Annotation
from training.validation import ValidationPhoto, list_annotated_photos
from vision.labels import label_of


@pytest.fixture(scope="module")
def service(pipeline: Pipeline) -> Service:
    return Service(pipeline)


def sample_photo(path: Path = SAMPLE) -> ValidationPhoto:
    return ValidationPhoto(path, "cars", path.stem, "sedan", 4)


def test_answer_for_sample(service: Service) -> None:
    (answer,) = service.answers([sample_photo()], "sample")
    assert answer.type == "sedan"
    assert {"hood", "front_bumper"} <= answer.delivered <= set(answer.confidences)
    assert not answer.is_empty


def test_masks_are_compared_in_size_of_photo(service: Service, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    photos = list_annotated_photos(data, tmp_path / "cache")
    for answer in service.parts_answers(photos):
        assert answer.truth.shape == answer.guess.shape == (SIZE, SIZE * 4 // 3)
        hood = np.argwhere(answer.truth == label_of("hood"))  # y, x
        x0, y0, x1, y1 = BOXES["hood"]
        assert hood.min(0) == pytest.approx((y0, x0 * 4 / 3), abs=2)
        assert hood.max(0) == pytest.approx((y1 - 1, x1 * 4 / 3 - 1), abs=2)


def test_turned_sample_is_same_car(service: Service) -> None:
    answers = service.turned_answers([sample_photo()])
    assert [answer.turn for answer in answers] == list(TURNS)
    for answer in answers:
        assert answer.found > 5
        assert answer.kept >= answer.found - 1
        assert answer.rotation == 360 - answer.turn


def test_turns_are_clockwise() -> None:
    picture = np.array([[1, 2], [3, 4]], np.uint8)
    assert turned(picture, 90).tolist() == [[3, 1], [4, 2]]
    assert turned(turned(picture, 270), -270).tolist() == picture.tolist()
    assert turned(picture, 180).tolist() == [[4, 3], [2, 1]]


def test_sample_in_all_sizes(service: Service) -> None:
    (answer,) = service.sizes_answers([sample_photo()])
    assert answer.types == ["sedan"] * len(SIZES)
    assert not any(answer.is_empty)


@pytest.mark.parametrize("longest", [50, 300])
def test_longest_side_gets_size(longest: int) -> None:
    rgb = np.full((80, 120, 3), 7, np.uint8)
    assert resized(rgb, longest).shape == (round(longest * 2 / 3), longest, 3)
    assert resized(rgb.transpose(1, 0, 2), longest).shape[0] == longest
    assert (resized(rgb, longest) == 7).all()


def test_close_ups_are_around_their_parts(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    photos = list_annotated_photos(data, tmp_path / "cache")
    close_ups = list_close_ups(data, photos, most=1)
    assert sorted(close_up.part for close_up in close_ups) == sorted(BOXES)
    (hood,) = [close_up for close_up in close_ups if close_up.part == "hood"]
    x0, y0, x1, y1 = BOXES["hood"]
    wide, high = (x1 - x0) * 4 / 3, y1 - y0
    assert hood.box == pytest.approx(
        (x0 * 4 / 3 - 0.3 * wide, y0 - 0.3 * high, x1 * 4 / 3 + 0.3 * wide, y1 + 0.3 * high), abs=1
    )
    assert len(list_close_ups(data, photos, most=9)) == 2 * len(BOXES)
    assert len(list_close_ups(data, photos[:1], most=9)) == len(BOXES)


def test_close_ups_end_at_photo_edge() -> None:
    part = Annotation("wheel", [[0.0, 40.0, 20.0, 40.0, 20.0, 60.0]])
    assert close_up_box(part, 64, 100, squashed=False) == (0, 34, 26, 64)


def test_close_up_of_hood(service: Service) -> None:
    rgb = cv2.imread(str(SAMPLE))
    assert rgb is not None
    height, width = rgb.shape[:2]
    whole = CloseUp(sample_photo(), "hood", (0, 0, width, height))
    corner = CloseUp(sample_photo(), "hood", (0, 0, width // 8, height // 8))
    found, missed = service.close_up_answers([whole, corner])
    assert (found.named, found.typed) == (True, True)
    assert (missed.named, missed.typed) == (False, False)


def test_names_without_sides() -> None:
    assert without_side("back_left_door") == without_side("back_right_door") == "back_door"
    assert without_side("left_mirror") == "mirror"
    assert without_side("tailgate") == "tailgate"
