"""Scenes to write: one drawn to be difficult, one that the networks found in the sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from car_classification import CarType
from exports.annotation import ImageAnnotation, annotate
from options import DEFAULT_CONFIDENCE, Options
from photo_result import Analysis, Result
from pipeline import Pipeline
from poligons_from_seg import label_map_to_outlines, rasterize
from segment_interface import decode_photo
from vision.labels import label_of, name_of

HASH = "ab" * 32
HEIGHT, WIDTH = 240, 330
DOUBTFUL = ("front_glass", "right_mirror")  # parts of `unsure` that are not sure enough

Mask = NDArray[np.bool_]


def label(name: str) -> int:
    return label_of(name)


def drawn_labels() -> NDArray[np.uint8]:
    """Return neighbours, a part in two pieces, holes, a part within a hole, a pixel, the border."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(labels, (90, 120), (80, 60), 10, 0, 360, label("hood"), -1)
    cv2.ellipse(labels, (60, 110), (18, 12), 0, 0, 360, 0, -1)  # a hole
    cv2.ellipse(labels, (110, 125), (25, 20), 30, 0, 360, label("front_glass"), -1)  # filled one
    corners = np.array([[100, 160], [170, 110], [250, 150], [230, 200], [120, 215]])
    cv2.fillPoly(labels, [corners], label("front_bumper"))
    cv2.circle(labels, (280, 60), 30, label("wheel"), -1)
    cv2.circle(labels, (280, 60), 12, 0, -1)
    cv2.circle(labels, (280, 60), 5, label("wheel"), -1)  # an island in the hole
    cv2.circle(labels, (300, 180), 45, label("wheel"), -1)  # cut off by the border
    labels[20, 40] = label("left_mirror")
    labels[200:206, 40:52] = label("right_mirror")
    return labels


def result_of(labels: NDArray[np.uint8]) -> Result:
    """Return a result as the jobs keep it: each part with another confidence, all sure enough."""
    names = [name_of(value) for value in np.unique(labels[labels > 0]).tolist()]
    confidences = {
        name: DEFAULT_CONFIDENCE + (1 - DEFAULT_CONFIDENCE) * index / len(names)
        for index, name in enumerate(names)
    }
    car_type = CarType("suv", 0.75, {"suv": 0.75, "sedan": 0.25})
    return Result.of(
        Analysis(car_type, labels, confidences, label_map_to_outlines(labels)), "drawn"
    )


@pytest.fixture(scope="session")
def drawn() -> Result:
    return result_of(drawn_labels())


@pytest.fixture(scope="session")
def found(pipeline: Pipeline, sample: bytes) -> Result:
    """Return the annotation of the sample by the real networks."""
    return Result.of(pipeline.analyse(decode_photo(sample, 10_000_000)), pipeline.version)


@pytest.fixture(scope="session")
def unsure(drawn: Result) -> Result:
    """Return the same parts, some with less confidence than the default."""
    parts = [
        replace(part, confidence=DEFAULT_CONFIDENCE / 2) if part.name in DOUBTFUL else part
        for part in drawn.parts
    ]
    return replace(drawn, parts=parts, rotation=90, other_cars=True)


@pytest.fixture(params=["drawn", "found"])
def result(request: pytest.FixtureRequest) -> Result:
    chosen: Result = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def scene(result: Result) -> ImageAnnotation:
    return annotate(HASH, result, Options(file_name="car & co.png"))


@pytest.fixture
def drawn_scene(drawn: Result) -> ImageAnnotation:
    return annotate(HASH, drawn, Options())


@pytest.fixture
def empty() -> ImageAnnotation:
    """Return a photo without a car."""
    result = Result.of(Analysis(None, np.zeros((HEIGHT, WIDTH), np.uint8), {}, {}), "drawn")
    return annotate(HASH, result, Options())


def iou(one: Mask, other: Mask) -> float:
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


CheckMasks = Callable[[ImageAnnotation, dict[str, Mask], float], None]


def border(mask: Mask) -> int:
    """Return the number of pixels along the outline of a mask, half of them inside."""
    pixels, square = mask.astype(np.uint8), np.ones((3, 3), np.uint8)
    ring = cv2.dilate(pixels, square) - cv2.erode(pixels, square, borderValue=1)
    return int(np.count_nonzero(ring)) // 2


@pytest.fixture
def check_masks() -> CheckMasks:
    """Check that a reader's masks fit ours as well as our polygons promise.

    Readers differ in the pixels that an outline runs through; `share` says which share of the
    pixels along the outline may be drawn otherwise.
    """

    def check(scene: ImageAnnotation, masks: dict[str, Mask], share: float) -> None:
        assert list(masks) == [part.name for part in scene.parts]
        labels = scene.labels()
        for part in scene.parts:
            exact = labels == label(part.name)
            promised = iou(rasterize(part.polygons, scene.height, scene.width), exact)
            slack = share * border(exact) / part.area
            assert iou(masks[part.name], exact) >= promised - slack, part.name

    return check
