"""The damage network in 8 bits is made from that in float32, and answers nearly as it does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from analysis.damage_segments import DamageSegmenter
from settings import REPOSITORY
from tests.training.tiny import write_data
from training.parts_data import read_rgb
from training.quantise_damage import fit_confidences, quantise_damage, some_photos
from vision.labels import DAMAGE_KINDS
from vision.model_files import DAMAGE, MANIFEST, MODELS, damage_version, read_description
from vision.runtimes.choose import RuntimeConfig

DAMAGED = REPOSITORY / "tests" / "pictures" / "damaged.jpg"
FLOAT, INT8 = RuntimeConfig("onnx"), RuntimeConfig("onnx", precision="int8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """Return a models folder whose damage network in 8 bits was made from drawn cars."""
    models = tmp_path_factory.mktemp("quantise") / "models"
    shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns("damage.int8.onnx"))
    figures = quantise_damage(data, models, ranges=(2, 1), fitted=(2, 1))
    assert figures["same_cells"] > 0.9
    return models


def test_photos_are_for_training(data: Path) -> None:
    assert {path.name for path in some_photos(data, (9, 9), seed=1)} == {
        "0.webp", "1.webp", "street_0.webp"
    }  # fmt: skip
    assert [path.parent.parent.name for path in some_photos(data, (1, 1), seed=1)] == [
        "damage", "street"
    ]  # fmt: skip


def test_network_in_8_bits_answers_nearly_the_same(folder: Path, data: Path) -> None:
    rgb = read_rgb(data / "damage" / "images" / "2.webp")  # neither ranges nor fits have seen it
    exact, rounded = (
        DamageSegmenter(folder=folder, runtime=runtime).cells(rgb).logits
        for runtime in (FLOAT, INT8)
    )
    assert rounded.shape == exact.shape
    assert np.abs(rounded - exact).max() > 0
    assert np.corrcoef(exact.ravel(), rounded.ravel())[0, 1] > 0.9


def test_files_of_network_in_8_bits(folder: Path) -> None:
    description = read_description(DAMAGE, folder).in_precision("int8")
    assert description.precision == "int8"
    assert description.graph in json.loads((folder / MANIFEST).read_text())
    assert description.int8 is not None
    fitted = {f"{kind}_{end}" for kind in DAMAGE_KINDS for end in ("slope", "offset")}
    assert description.int8.keys() in (fitted, set())
    assert all(0 < v < 10 for name, v in description.int8.items() if name.endswith("_slope"))
    model = onnx.load(folder / description.graph)
    onnx.checker.check_model(model)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert damage_version(folder, "int8") not in (
        damage_version(),
        damage_version(folder, "float32"),
    )


def test_confidences_are_fitted_to_common_pieces() -> None:
    thresholds, same = fit_confidences(MODELS, [DAMAGED])
    assert same > 0.97
    assert thresholds.keys() == {f"{k}_{e}" for k in DAMAGE_KINDS for e in ("slope", "offset")}
    assert thresholds["dent_slope"] > 0


def test_shipped_networks_agree() -> None:
    exact, rounded = (
        DamageSegmenter(runtime=runtime).cells(read_rgb(DAMAGED)).pieces
        for runtime in (FLOAT, INT8)
    )
    assert [piece.kind for piece in rounded] == [piece.kind for piece in exact]
    assert exact
    for one, other in zip(exact, rounded, strict=True):
        assert other.confidence == pytest.approx(one.confidence, abs=0.1)


def test_shipped_network_in_8_bits_is_of_present_weights() -> None:
    assert read_description(DAMAGE).in_precision("int8").precision == "int8", "run make int8"


def test_other_weights_have_no_network_in_8_bits(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "models")
    manifest = tmp_path / "models" / MANIFEST
    sums = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(sums | {"damage.safetensors": sums["parts.safetensors"]}))
    description = read_description(DAMAGE, tmp_path / "models").in_precision("int8")
    assert description.precision == "float32"
