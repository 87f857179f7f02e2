"""Faults that users met, each on a picture of our own that shows the same fault."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from photo_result import NO_CAR, Analysis, Result
from pipeline import Pipeline
from poligons_from_seg import label_map_to_outlines
from segment_interface import decode_image, decode_photo
from vision.labels import BACK_DOORS, WHEEL, name_of

PICTURES = Path(__file__).with_name("pictures")
PIXELS = 50_000_000

Picture = NDArray[np.uint8]


@pytest.fixture
def rgb(sample: bytes) -> Picture:
    return decode_image(sample, PIXELS)


@pytest.fixture
def look(pipeline: Pipeline) -> Callable[[str], Result]:
    """Return the result of a picture in tests/pictures."""

    def of(name: str) -> Result:
        photo = decode_photo((PICTURES / name).read_bytes(), PIXELS)
        return result_of(pipeline.analyse(photo))

    return of


def result_of(analysis: Analysis) -> Result:
    return Result.of(analysis, "test")


def names(result: Result) -> set[str]:
    return {part.name for part in result.sure_parts()}


def resized(rgb: Picture, width: int, height: int) -> Picture:
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def jpeg(rgb: Picture) -> bytes:
    file = BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_photo_turned_without_exif(pipeline: Pipeline, rgb: Picture, quarters: int) -> None:
    """The parts are those of the upright photo, in the photo as it was posted."""
    upright = pipeline.analyse(rgb)
    turned = np.ascontiguousarray(np.rot90(rgb, quarters))  # counterclockwise
    analysis = pipeline.analyse(turned)
    assert analysis.rotation == 90 * quarters
    assert analysis.labels.shape == turned.shape[:2]
    assert names(result_of(analysis)) == names(result_of(upright))
    back = np.rot90(analysis.labels, -quarters)
    seen = (back > 0) | (upright.labels > 0)
    assert (back == upright.labels)[seen].mean() > 0.95
    assert analysis.type is not None
    assert upright.type is not None
    assert analysis.type.name == upright.type.name
    assert f"turn it {analysis.rotation} degrees clockwise" in result_of(analysis).message()


def test_upright_photo(pipeline: Pipeline, rgb: Picture) -> None:
    assert pipeline.analyse(rgb).rotation == 0


def test_coupe_has_no_back_door(look: Callable[[str], Result]) -> None:
    """Find none at any confidence."""
    result = look("coupe.jpg")
    assert "front_left_door" in names(result)
    given = {part.name for part in result.parts}
    assert not given & {name_of(label) for label in BACK_DOORS}


@pytest.mark.parametrize(
    ("picture", "lid"), [("sedan_rear.jpg", "trunk"), ("hatchback_rear.jpg", "tailgate")]
)
def test_lid_in_plain_english(look: Callable[[str], Result], picture: str, lid: str) -> None:
    result = look(picture)
    assert {"trunk", "tailgate"} & {part.name for part in result.parts} == {lid}
    (part,) = (part for part in result.parts if part.name == lid)
    assert part.confidence > 0.5


def test_bus_has_no_car_type(look: Callable[[str], Result]) -> None:
    """The bus has a bumper, a door and a fender, none of them sure."""
    result = look("bus.jpg")
    body = [part.confidence for part in result.parts if part.name != "wheel"]
    assert 0 < max(body) < 0.5
    assert result.type is None


def test_mirror_alone(pipeline: Pipeline, rgb: Picture) -> None:
    """The photo is 1.6 times as wide and high as the mirror."""
    (mirror,) = (
        part for part in result_of(pipeline.analyse(rgb)).parts if part.name == "left_mirror"
    )
    x, y, width, height = (int(value) for value in mirror.bbox)
    margin, above = int(0.3 * width), int(0.3 * height)
    alone = rgb[y - above : y + height + above, x - margin : x + width + margin]
    assert "left_mirror" in names(result_of(pipeline.analyse(np.ascontiguousarray(alone))))


def test_three_cars(look: Callable[[str], Result]) -> None:
    """The answer says that there are others, or is sure of no part."""
    result = look("three_cars.jpg")
    assert result.other_cars or not result.sure_parts()


def test_two_cars_side_by_side(pipeline: Pipeline, rgb: Picture) -> None:
    """The parts of one car are given."""
    half = rgb.shape[1]
    result = result_of(pipeline.analyse(np.hstack([rgb, rgb[:, ::-1]])))
    assert result.other_cars
    assert "There are other cars" in result.message()
    sides = {part.bbox[0] // half for part in result.sure_parts()}
    ends = {(part.bbox[0] + part.bbox[2] - 1) // half for part in result.sure_parts()}
    assert len(sides | ends) == 1
    assert len(names(result)) >= 6


def test_specks_of_large_photo(pipeline: Pipeline, rgb: Picture) -> None:
    """Give no piece that is smaller than what the part network can see."""
    large = cv2.resize(rgb, (4032, 2688), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    analysis = pipeline.analyse(large)
    result = result_of(analysis)
    assert analysis.outlines == label_map_to_outlines(analysis.labels, scale=analysis.scale)
    cell = 4032 * 2688 / (128 * 86)  # pixels of a cell of the network
    labels = result.labels()
    for label in np.unique(labels[labels > 0]):
        mask = (labels == label).view(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        assert stats[1:, cv2.CC_STAT_AREA].min() > 0.5 * cell


def test_wheel_close_up(pipeline: Pipeline, rgb: Picture) -> None:
    """The wheel is found, no type is made up, and the message does not deny the car."""
    analysis = pipeline.analyse(rgb)
    _, _, stats, _ = cv2.connectedComponentsWithStats((analysis.labels == WHEEL).view(np.uint8))
    x, y, width, height, _ = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()].tolist()
    crop = rgb[y - height // 8 : y + height + height // 8, x : x + width + width // 8]
    result = result_of(pipeline.analyse(np.ascontiguousarray(crop)))
    assert "wheel" in names(result)
    assert result.type is None
    assert result.rotation == 0
    assert result.message() != NO_CAR
    assert "type of the car cannot be told" in result.message()


def test_type_at_any_size(pipeline: Pipeline, rgb: Picture) -> None:
    """The answer does not flip with the size of the photo."""
    found = set()
    for width in (400, 480, 500, 640, 800, 1000, 1200, 1600, 2000):
        photo = decode_photo(jpeg(resized(rgb, width, round(width * 9 / 16))), PIXELS)
        result = result_of(pipeline.analyse(photo))
        assert result.type is not None
        found.add(result.type.name)
        assert {"front_bumper", "hood", "wheel", "front_left_door"} <= names(result)
    assert len(found) == 1


def test_no_part_below_default_confidence(look: Callable[[str], Result]) -> None:
    for picture in sorted(PICTURES.glob("*.jpg")):
        result = look(picture.name)
        assert all(part.confidence >= 0.05 for part in result.sure_parts())
        assert set(result.exteriors()) == names(result)
