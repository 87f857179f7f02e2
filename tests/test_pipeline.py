"""The stages on the sample picture, and how the models are shared."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely

import pipeline as pipeline_module
from car_classification import TYPE_NAMES, CarType, CarView
from exports import FORMATS, export
from img_to_segments import PART_NAMES, CoarseSegmentation, Segmentation
from options import PLAIN
from photo_result import Analysis, Result, Stage, outline
from pipeline import ModelsNotLoadedError, Pipeline
from poligons_from_seg import rasterize
from segment_interface import Photo, decode_image, decode_photo
from settings import network_threads
from vision.labels import label_of, name_of
from vision.runtimes.choose import RuntimeConfig

REPOSITORY = Path(__file__).resolve().parents[1]


def test_parts_of_sample(pipeline: Pipeline, sample: bytes) -> None:
    analysis = pipeline.analyse(decode_photo(sample, 50_000_000))
    assert {"front_glass", "hood", "front_bumper", "wheel"} <= set(analysis.confidences)
    assert sum(name.endswith("door") for name in analysis.confidences) >= 2
    assert analysis.type is not None
    parts = {part.name: part for part in outline(analysis.labels, analysis.confidences)}
    assert set(parts) == set(analysis.confidences)
    assert len(parts["wheel"].polygons) >= 2


def test_threads_share_models(pipeline: Pipeline, sample: bytes) -> None:
    rgb = decode_image(sample, 50_000_000)
    alone = pipeline.analyse(rgb)
    with ThreadPoolExecutor(4) as threads:
        for analysis in threads.map(pipeline.analyse, [rgb] * 8):
            assert np.array_equal(analysis.labels, alone.labels)
            assert analysis.confidences == alone.confidences
            assert analysis.type == alone.type


def answer(analysis: Analysis) -> bytes:
    return export("0" * 64, Result.of(analysis, "1"), FORMATS["json"], PLAIN)


@contextmanager
def other_calls(pipeline: Pipeline, count: int) -> Iterator[None]:
    """Keep some other calls active while the block runs."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(pipeline.runtime.active_calls.track())
        yield


def test_other_calls_change_no_byte(sample: bytes) -> None:
    """Alone a photo is classified in a second thread; with other calls it has one thread."""
    pipeline = Pipeline(threads=2, runtime="onnx", calls=2)
    photo = decode_photo(sample, 50_000_000)
    alone = pipeline.analyse(photo)
    with other_calls(pipeline, 2):
        shared = pipeline.analyse(photo)
    assert pipeline.runtime.active_calls.count == 0
    assert np.array_equal(alone.labels, shared.labels)
    assert answer(alone) == answer(shared)
    assert answer(alone) == answer(Pipeline(threads=1, runtime="onnx").analyse(photo))


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize(
    ("picture", "margin", "quarters", "found"),
    [("sample/car.png", 0.5, 2, True), ("tests/pictures/coupe.jpg", 1.5, 3, False)],
)
def test_stages_of_turned_photo(
    picture: str, margin: float, quarters: int, found: bool, count: int
) -> None:
    """Report each stage once, even if the parts are found only in another turn."""
    pipeline = Pipeline(threads=2, runtime="onnx")
    rgb = decode_image((REPOSITORY / picture).read_bytes(), 50_000_000)
    down, across = (round(margin * side) for side in rgb.shape[:2])
    grey = np.pad(rgb, ((down, down), (across, across), (0, 0)), constant_values=127)
    turned = np.ascontiguousarray(np.rot90(grey, quarters))
    segmenter, _ = pipeline.wait()
    assert bool(segmenter.cells(turned).confidences) == found  # as posted
    stages: list[Stage] = []
    with other_calls(pipeline, count):
        assert pipeline.analyse(turned, stages.append).rotation == 90 * quarters
    assert stages == ["parts", "type", "polygons"]


def test_labels_are_as_large_as_photo(pipeline: Pipeline, sample: bytes) -> None:
    """For any smaller copy, parts are in the photo's own pixels, at the same places."""
    rgb = decode_image(sample, 50_000_000)
    whole = pipeline.analyse(rgb)
    half = np.asarray(cv2.resize(rgb, None, fx=0.5, fy=0.5), np.uint8)
    part = pipeline.analyse(Photo(half, *rgb.shape[:2]))
    assert whole.labels.shape == part.labels.shape == rgb.shape[:2]
    assert (whole.labels == part.labels).mean() > 0.99
    assert part.type is not None
    assert whole.type is not None
    assert part.type.name == whole.type.name


def test_large_photo(pipeline: Pipeline, sample: bytes) -> None:
    """Its label map consists of squares, and shows what that of a photo with an odd side shows."""
    photo = decode_photo(sample, 50_000_000)
    large = pipeline.analyse(replace(photo, height=2250, width=3000))
    odd = pipeline.analyse(replace(photo, height=2251, width=3000))
    assert (large.scale, odd.scale) == (2, 1)
    result, other = Result.of(large, "1"), Result.of(odd, "1")
    assert (result.height, result.width) == (2250, 3000)
    labels = result.labels()
    assert labels.shape == (2250, 3000)
    assert (labels == other.labels()[:2250]).mean() > 0.997
    assert [part.name for part in result.parts] == [part.name for part in other.parts]
    for part, whole in zip(result.parts, other.parts, strict=True):
        mask = labels == label_of(part.name)
        assert part.area == np.count_nonzero(mask)
        assert part.bbox == cv2.boundingRect(mask.view(np.uint8))
        drawn, expected = (rasterize(each.polygons, 2251, 3000) for each in (part, whole))
        around = sum(shapely.LinearRing(polygon.exterior).length for polygon in whole.polygons)
        assert np.count_nonzero(drawn ^ expected) < around  # on average less than a pixel


class FakeClassifier:
    """Type networks that give the view that they were made with."""

    def __init__(self, view: CarView) -> None:
        self.view = view

    def __call__(self, *_: object) -> CarView:
        return self.view

    def type_of(self, view: CarView, cells: CoarseSegmentation) -> CarType | None:
        return view.best if view.best.confidence > 0.3 else None

    def has_two_doors(self, view: CarView) -> bool:
        return view.two_doors > 0.5

    def sees_car(self, *_: object) -> bool:
        return True


def view_of(two_doors: float = 0.0, **scores: float) -> CarView:
    named = dict.fromkeys(TYPE_NAMES, 0.0) | scores
    return CarView(named, max(scores.values()), 0.0, two_doors, (1.0, 0.0, 0.0, 0.0))


@pytest.mark.parametrize("panel", [True, False])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    ("view", "lid", "doors"),
    [
        (view_of(sedan=1.0), "trunk", True),
        (view_of(suv=1.0), "tailgate", True),
        (view_of(two_doors=1.0, coupe=1.0), "trunk", False),
        (view_of(two_doors=1.0, hatchback=1.0), "tailgate", False),
        (view_of(two_doors=1.0, sedan=0.2, suv=0.2), "tailgate", True),  # no type, no rule
    ],
)
def test_parts_follow_type(
    monkeypatch: pytest.MonkeyPatch,
    view: CarView,
    lid: str,
    doors: bool,
    alone: bool,
    panel: bool,
) -> None:
    """Labels, confidences and outlines change alike, in both orders of the work."""
    pipeline = Pipeline(threads=2, runtime="onnx")
    segment, _ = pipeline.wait()
    labels = np.zeros((60, 90), np.uint8)
    places = {"hood": (5, 60), "tailgate": (60, 80), "back_left_door": (80, 90)}
    places |= {"left_quarter_panel": (0, 5)} if panel else {}
    for name, (left, right) in places.items():
        labels[20:50, left:right] = label_of(name)
    probabilities = np.zeros((1 + len(PART_NAMES), 60, 90), np.float32)
    cells = CoarseSegmentation(
        probabilities, labels, probabilities, {label_of(n): 0.9 for n in places}
    )
    monkeypatch.setattr(segment, "cells", lambda *_: cells)
    found = {name_of(label): value for label, value in cells.confidences.items()}
    monkeypatch.setattr(segment, "enlarge", lambda *_: Segmentation(labels.copy(), found))
    monkeypatch.setattr(pipeline, "wait", lambda: (segment, FakeClassifier(view)))
    with other_calls(pipeline, 0 if alone else 2):
        analysis = pipeline.analyse(Photo(np.zeros((60, 90, 3), np.uint8), 60, 90))
    names = {"hood", lid, "back_left_door" if doors else "left_quarter_panel"}
    names |= {"left_quarter_panel"} if panel else set()
    assert set(analysis.confidences) == {part.name for part in analysis.parts()} == names
    assert set(np.unique(analysis.labels)) == {0} | {label_of(name) for name in names}
    assert analysis.parts() == outline(analysis.labels, analysis.confidences)


def test_error_of_type_network_is_raised(
    pipeline: Pipeline, sample: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, classify = pipeline.wait()

    def fail(*_: object) -> None:
        raise SystemExit("broken")

    monkeypatch.setattr(classify, "logits", fail)
    with pytest.raises(SystemExit, match="broken"):
        pipeline.analyse(decode_photo(sample, 50_000_000))


def test_models_fail_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, runtime: RuntimeConfig) -> None:
        raise OSError("secret path")

    monkeypatch.setattr(pipeline_module, "PartSegmenter", fail)
    broken = Pipeline(threads=network_threads())
    with pytest.raises(ModelsNotLoadedError, match="could not load its models") as caught:
        broken.analyse(np.zeros((9, 9, 3), np.uint8))
    assert "secret" not in str(caught.value)
