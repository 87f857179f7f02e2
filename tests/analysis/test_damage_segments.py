"""Test the steps from the damage network to pieces of damage, and how the network is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.damage_segments import MOST_PIECES, DamageSegmenter, find_pieces
from img_to_segments import CoarseSegmentation
from photo_result import Result, Stage
from pipeline import ModelsNotLoadedError, Pipeline
from segment_interface import Photo, decode_image, decode_photo
from settings import REPOSITORY, Precision, network_threads
from tests.support.pictures import encoded, noise
from vision.labels import DAMAGE_KINDS
from vision.model_files import damage_version, models_version, read_description
from vision.runtimes.choose import choose

DAMAGED = REPOSITORY / "tests" / "pictures" / "damaged.jpg"
SHAPE = (96, 128)
LIMITS = {f"{kind}_cells": 10 for kind in DAMAGE_KINDS} | {
    f"{kind}_confidence": 0.5 for kind in DAMAGE_KINDS
}


def logits(*boxes: tuple[str, int, int, int, int, float]) -> NDArray[np.float32]:
    """Return a map of no damage with boxes of a kind: y0, x0, y1, x1 and the height of a logit."""
    found = np.zeros((1 + len(DAMAGE_KINDS), *SHAPE), np.float32)
    found[0] = 1
    for kind, y0, x0, y1, x1, height in boxes:
        found[1 + DAMAGE_KINDS.index(kind), y0:y1, x0:x1] = height
    return found


@pytest.fixture(scope="module")
def photo() -> Photo:
    return decode_photo(DAMAGED.read_bytes(), 50_000_000)


def test_pieces_are_in_order_of_kinds() -> None:
    found = find_pieces(
        logits(("dent", 0, 0, 5, 5, 9), ("scratch", 10, 0, 14, 5, 9), ("dent", 50, 0, 60, 10, 9)),
        LIMITS,
    )
    assert [(piece.kind, piece.cells) for piece in found.pieces] == [
        ("scratch", 20), ("dent", 100), ("dent", 25),
    ]  # fmt: skip
    assert [int(found.labels[y, 0]) for y in (12, 55, 0, 90)] == [1, 2, 3, 0]


def test_cells_that_touch_at_a_corner_are_one_piece() -> None:
    found = find_pieces(logits(("dent", 0, 0, 3, 3, 9), ("dent", 3, 3, 6, 6, 9)), LIMITS)
    assert [piece.cells for piece in found.pieces] == [18]


def test_small_pieces_are_dropped() -> None:
    small = logits(("dent", 0, 0, 3, 3, 9))
    assert find_pieces(small, LIMITS).pieces == []
    assert len(find_pieces(small[:, :48], LIMITS).pieces) == 1  # half of the map, half of the limit


def test_unsure_pieces_are_dropped() -> None:
    unsure = logits(("dent", 0, 0, 5, 5, 3.0))
    chance = float(np.exp(3) / (np.exp(3) + np.exp(1) + 7))
    assert 0.5 < chance < 0.7
    (piece,) = find_pieces(unsure, LIMITS).pieces
    assert piece.confidence == pytest.approx(chance, abs=1e-6)
    assert find_pieces(unsure, LIMITS | {"dent_confidence": 0.7}).pieces == []
    assert find_pieces(unsure, LIMITS).surer(0.7).pieces == []


def test_calibration_and_bias() -> None:
    found = logits(("dent", 0, 0, 5, 5, 3.0))
    surer = find_pieces(found, LIMITS | {"dent_offset": 1.0}).pieces[0].confidence
    assert surer > find_pieces(found, LIMITS).pieces[0].confidence
    assert find_pieces(found, LIMITS | {"dent_bias": -2.0}).pieces == []


def test_surest_pieces_are_kept() -> None:
    boxes = [
        ("dent", 4 * (number // 20), 6 * (number % 20), 4 * (number // 20) + 3,
         6 * (number % 20) + 5, 5 + number / 100)
        for number in range(MOST_PIECES + 20)
    ]  # fmt: skip
    found = find_pieces(logits(*boxes), LIMITS)
    assert len(found.pieces) == MOST_PIECES
    assert found.labels.max() == MOST_PIECES
    assert not found.labels[:3, :119].any()  # those of the first row are the least sure


def test_enlarged_pieces() -> None:
    cells = find_pieces(logits(("dent", 8, 16, 24, 48, 9), ("broken", 60, 60, 80, 90, 9)), LIMITS)
    found = cells.enlarge(960, 1280)
    assert found.pieces == cells.pieces
    for number in (1, 2):
        ys, xs = np.nonzero(found.labels == number)
        cell_ys, cell_xs = np.nonzero(cells.labels == number)
        assert abs(ys.mean() / 10 - 0.5 - cell_ys.mean()) < 1
        assert abs(xs.mean() / 10 - 0.5 - cell_xs.mean()) < 1
    tiny = cells.enlarge(3, 4)
    assert len(tiny.pieces) == len(np.unique(tiny.labels)) - 1


def car(size: tuple[int, int], *sure: float) -> CoarseSegmentation:
    """Return the parts of a car in the left half of a map: its corners, with some confidences."""
    labels = np.zeros(size, np.uint8)
    height, width = size[0], size[1] // 2
    corners = ((0, 0), (0, width), (height, 0), (height, width))
    for label, (y, x) in enumerate(corners, start=1):
        labels[max(y - 9, 0) : y + 9, max(x - 9, 0) : min(x + 9, width)] = label
    nothing = np.zeros((1, *size), np.float32)
    return CoarseSegmentation(nothing, labels, nothing, dict(enumerate(sure, start=1)))


def test_pieces_off_the_car_are_dropped() -> None:
    found = find_pieces(
        logits(
            ("airbag", 40, 70, 80, 100, 9),
            ("dent", 40, 20, 60, 40, 9),
            ("broken", 4, 60, 20, 90, 9),
        ),
        LIMITS,
    )
    assert [piece.kind for piece in found.pieces] == ["dent", "broken", "airbag"]
    kept = found.on_car(car(SHAPE, 0.9, 0.9, 0.9, 0.1))
    assert [piece.kind for piece in kept.pieces] == ["dent", "broken"]  # inside, and 13 % of one
    assert np.array_equal(kept.labels, np.where(found.labels == 3, 0, found.labels))
    small = found.on_car(car((48, 64), 0.9, 0.9, 0.9, 0.9))  # parts on another grid
    assert small.pieces == kept.pieces


def test_pieces_beside_few_parts_are_kept() -> None:
    found = find_pieces(logits(("airbag", 40, 70, 80, 100, 9)), LIMITS)
    assert found.on_car(car(SHAPE, 0.9, 0.9, 0.2, 0.1)).pieces == found.pieces
    assert found.on_car(car(SHAPE)).pieces == found.pieces
    assert found.on_car(car(SHAPE, 0.9, 0.9, 0.9)).pieces == []


def test_turned_pieces() -> None:
    cells = find_pieces(logits(("dent", 8, 16, 24, 48, 9)), LIMITS)
    turned = cells.turned(1)
    assert turned.labels.shape == SHAPE[::-1]
    assert np.array_equal(turned.enlarge(640, 480).labels, np.rot90(cells.enlarge(480, 640).labels))


def test_description_fits_kinds() -> None:
    description = read_description("damage")
    assert description.labels == ("background", *DAMAGE_KINDS)
    for kind in DAMAGE_KINDS:
        assert description.thresholds[f"{kind}_cells"] >= 1
        assert 0 <= description.thresholds[f"{kind}_confidence"] <= 1


def test_damage_of_rendered_car(pipeline: Pipeline, photo: Photo) -> None:
    stages: list[Stage] = []
    analysis = pipeline.analyse(photo, stages.append, damage=True)
    assert stages == ["parts", "type", "damage", "polygons"]
    result = Result.of(analysis, pipeline.version, pipeline.damage_version)
    assert result.damages
    on = {part.name for damage in result.damages for part in damage.parts}
    assert on & {"front_left_door", "back_left_door"}
    plain = pipeline.analyse(photo)
    assert plain.damage is None
    assert np.array_equal(plain.labels, analysis.labels)
    assert plain.confidences == analysis.confidences


def test_sample_has_no_damage(pipeline: Pipeline, sample: bytes) -> None:
    analysis = pipeline.analyse(decode_photo(sample, 50_000_000), damage=True)
    assert analysis.damage is not None
    assert analysis.damage.pieces == []


def test_damage_without_a_car_must_be_surer(pipeline: Pipeline) -> None:
    picture = Photo.of(decode_image(encoded(noise(90, 120)), 50_000_000))
    limits = read_description("damage").thresholds
    alone = DamageSegmenter().cells(picture.pixels)
    found = pipeline.analyse(picture, damage=True).damage
    assert found is not None
    assert len(found.pieces) == len(alone.surer(limits["no_car_confidence"]).pieces)


def test_damage_of_turned_photo(pipeline: Pipeline, photo: Photo) -> None:
    upright = pipeline.analyse(photo, damage=True)
    turned = pipeline.analyse(Photo.of(np.ascontiguousarray(np.rot90(photo.pixels))), damage=True)
    assert turned.rotation == 90
    assert upright.damage is not None
    assert turned.damage is not None
    assert [p.kind for p in turned.damage.pieces] == [p.kind for p in upright.damage.pieces]
    back = np.rot90(turned.damage.labels > 0, -1)
    both = np.count_nonzero(back & (upright.damage.labels > 0))
    assert both > 0.9 * np.count_nonzero(back | (upright.damage.labels > 0))


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_runtimes_agree(photo: Photo, runtime: str) -> None:
    cells = DamageSegmenter(runtime=choose(runtime)).cells(photo.pixels)  # type: ignore[arg-type]
    plain = DamageSegmenter(runtime=choose("onnx")).cells(photo.pixels)
    assert np.mean(cells.labels != plain.labels) < 0.002
    assert [piece.kind for piece in cells.pieces] == [piece.kind for piece in plain.pieces]


def test_network_is_loaded_when_needed(
    monkeypatch: pytest.MonkeyPatch, photo: Photo, sample: bytes
) -> None:
    loaded: list[Path] = []

    class Counted(DamageSegmenter):
        def __init__(self, **given: object) -> None:
            loaded.append(Path())
            super().__init__(**given)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.DamageSegmenter", Counted)
    pipeline = Pipeline(threads=network_threads())
    pipeline.analyse(photo)
    assert loaded == []
    pipeline.analyse(photo, damage=True)
    pipeline.analyse(photo, damage=True)
    assert len(loaded) == 1
    Pipeline(threads=network_threads(), damage=True).wait()
    assert len(loaded) == 2


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the models."""
    folder = tmp_path / "models"
    shutil.copytree(REPOSITORY / "models", folder)
    return folder


@pytest.mark.parametrize(
    ("file", "precision"),
    [
        ("damage.json", "int8"),
        ("damage.int8.onnx", "int8"),
        ("damage.onnx", "float32"),
        ("damage.safetensors", "float32"),
    ],
)
def test_missing_network(copy: Path, photo: Photo, file: str, precision: Precision) -> None:
    (copy / file).unlink(missing_ok=True)  # without a network in 8 bits the others are missing
    if precision == "int8":
        (copy / "damage.onnx").unlink()
    open_pipeline = partial(Pipeline, network_threads(), copy, "onnx", precision=precision)
    pipeline = open_pipeline()
    assert pipeline.analyse(photo).confidences  # not needed here
    assert pipeline.problem is None
    with pytest.raises(ModelsNotLoadedError, match="damage network") as caught:
        pipeline.analyse(photo, damage=True)
    assert str(copy) not in str(caught.value)
    always = open_pipeline(damage=True)
    with pytest.raises(ModelsNotLoadedError):
        always.wait()
    assert always.problem


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"dent_cells": ', '"dent_cells": 1'),
        lambda text: text.replace('"mean": 127.0', '"mean": 126.0'),
    ],
    ids=["threshold", "input"],
)
def test_versions_follow_their_networks(copy: Path, change: Callable[[str], str]) -> None:
    before = models_version(copy), damage_version(copy)
    assert before == (models_version(), damage_version())
    text = (copy / "damage.json").read_text()
    assert change(text) != text
    (copy / "damage.json").write_text(change(text))
    assert models_version(copy) == before[0]
    assert damage_version(copy) != before[1]
    manifest = copy / "manifest.json"
    parts = (copy / "parts.json").read_text()
    (copy / "parts.json").write_text(parts.replace('"piece": ', '"piece": 1'))
    assert models_version(copy) != before[0]
    changed = damage_version(copy)
    manifest.write_text(manifest.read_text().replace('"parts.onnx": "', '"parts.onnx": "0'))
    assert damage_version(copy) == changed
