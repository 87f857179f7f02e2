"""The stages on the sample picture, and how the models are shared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import pipeline as pipeline_module
from pipeline import ModelsError, Pipeline, outline
from runtimes import Choice
from segment_interface import decode_image, decode_photo
from settings import network_threads


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


def test_models_that_do_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, runtime: Choice) -> None:
        raise OSError("secret path")

    monkeypatch.setattr(pipeline_module, "PartSegmenter", fail)
    broken = Pipeline(threads=network_threads())
    with pytest.raises(ModelsError, match="could not load its models") as caught:
        broken.analyse(np.zeros((9, 9, 3), np.uint8))
    assert "secret" not in str(caught.value)
