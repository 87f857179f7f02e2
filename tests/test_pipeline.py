"""The stages on the sample picture, and how the models are shared."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import pipeline as pipeline_module
from car_classification import TYPE_NAMES, CarType
from exports import FORMATS, export
from img_to_segments import PART_NAMES, Cells, Segmentation
from options import PLAIN
from photo_result import Result
from pipeline import Analysis, ModelsError, Pipeline, outline
from runtimes import Choice
from segment_interface import Photo, decode_image, decode_photo
from settings import network_threads

TAILGATE, TRUNK = PART_NAMES.index("tailgate") + 1, PART_NAMES.index("trunk") + 1


def test_the_parts_of_the_sample(pipeline: Pipeline, sample: bytes) -> None:
    analysis = pipeline.analyse(decode_photo(sample, 50_000_000))
    assert {"front_glass", "hood", "front_bumper", "wheel"} <= set(analysis.confidences)
    assert sum(name.endswith("door") for name in analysis.confidences) >= 2
    assert analysis.type is not None
    parts = {part.name: part for part in outline(analysis.labels, analysis.confidences)}
    assert set(parts) == set(analysis.confidences)
    assert len(parts["wheel"].polygons) >= 2


def test_threads_share_the_models(pipeline: Pipeline, sample: bytes) -> None:
    rgb = decode_image(sample, 50_000_000)
    alone = pipeline.analyse(rgb)
    with ThreadPoolExecutor(4) as threads:
        for analysis in threads.map(pipeline.analyse, [rgb] * 8):
            assert np.array_equal(analysis.labels, alone.labels)
            assert analysis.confidences == alone.confidences
            assert analysis.type == alone.type


def answer(analysis: Analysis) -> bytes:
    return export("0" * 64, Result.of(analysis, "1"), FORMATS["json"], PLAIN)


def test_who_else_works_changes_no_byte(sample: bytes) -> None:
    """Alone a photo gets both cores and is outlined beside its type; in a crowd one thread."""
    pipeline = Pipeline(threads=2, runtime="onnx", calls=2)
    photo = decode_photo(sample, 50_000_000)
    alone = pipeline.analyse(photo)
    with pipeline.runtime.crowd, pipeline.runtime.crowd:
        crowded = pipeline.analyse(photo)
    assert pipeline.runtime.crowd.size == 0
    assert np.array_equal(alone.labels, crowded.labels)
    assert answer(alone) == answer(crowded)
    assert answer(alone) == answer(Pipeline(threads=1, runtime="onnx").analyse(photo))


def test_labels_are_as_large_as_the_photo(pipeline: Pipeline, sample: bytes) -> None:
    """Whatever copy of it there is, parts stand in its own pixels, at the same places."""
    rgb = decode_image(sample, 50_000_000)
    whole = pipeline.analyse(rgb)
    half = np.asarray(cv2.resize(rgb, None, fx=0.5, fy=0.5), np.uint8)
    part = pipeline.analyse(Photo(half, *rgb.shape[:2]))
    assert whole.labels.shape == part.labels.shape == rgb.shape[:2]
    assert (whole.labels == part.labels).mean() > 0.99
    assert part.type is not None
    assert whole.type is not None
    assert part.type.name == whole.type.name


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("rear", [(TRUNK,), (TAILGATE,), (TRUNK, TAILGATE), ()])
def test_outlines_are_those_of_the_names_that_are_given(
    monkeypatch: pytest.MonkeyPatch, rear: tuple[int, ...], alone: bool
) -> None:
    """The type renames the rear part, also where the outlines were begun before it was known."""
    pipeline = Pipeline(threads=2, runtime="onnx")
    pipeline._models.result()
    labels = np.zeros((60, 90), np.uint8)
    labels[20:50, 5:60] = 1 + PART_NAMES.index("hood")
    for place, label in enumerate(rear):
        labels[20 + 10 * place : 30 + 10 * place, 60:80] = label
    confidences = {PART_NAMES[label - 1]: 0.9 for label in np.unique(labels[labels > 0]).tolist()}
    sedan = CarType("sedan", 1.0, {name: float(name == "sedan") for name in TYPE_NAMES})
    models: Future[object] = Future()
    probabilities = np.zeros((1 + len(PART_NAMES), 60, 90), np.float32)
    cells = Cells(probabilities, labels, probabilities, dict.fromkeys(np.unique(labels), 0.9))
    segment = SimpleNamespace(
        cells=lambda *_: cells, enlarge=lambda *_: Segmentation(labels, confidences)
    )
    models.set_result((segment, lambda *_: sedan))
    monkeypatch.setattr(pipeline, "_models", models)
    photo = Photo(np.zeros((60, 90, 3), np.uint8), 60, 90)
    with ExitStack() as stack:
        for _ in range(0 if alone else 2):
            stack.enter_context(pipeline.runtime.crowd)
        analysis = pipeline.analyse(photo)
    assert analysis.parts() == outline(analysis.labels, analysis.confidences)
    assert {"hood", *(["tailgate"] if rear else [])} == {part.name for part in analysis.parts()}


def test_what_the_type_network_throws_is_not_lost(
    pipeline: Pipeline, sample: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, classify = pipeline._models.result()

    def fail(batch: object) -> None:
        raise SystemExit("broken")

    monkeypatch.setattr(classify, "_network", fail)
    with pytest.raises(SystemExit, match="broken"):
        pipeline.analyse(decode_photo(sample, 50_000_000))


def test_models_that_do_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, runtime: Choice) -> None:
        raise OSError("secret path")

    monkeypatch.setattr(pipeline_module, "PartSegmenter", fail)
    broken = Pipeline(threads=network_threads())
    with pytest.raises(ModelsError, match="could not load its models") as caught:
        broken.analyse(np.zeros((9, 9, 3), np.uint8))
    assert "secret" not in str(caught.value)
