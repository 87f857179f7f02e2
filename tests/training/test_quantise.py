"""Networks in 8 bits are made from those in float32, and answer nearly as they do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from tests.training.tiny import write_data
from training.float_graph import make_float_graph
from training.int8_graph import find_ranges, quantised
from training.quantise import RECIPES, quantise_all
from training.rounding import dense_layers, improve, round_weights, second_moments
from vision.model_files import MANIFEST, MODELS, models_version, read_description
from vision.runtimes.choose import RuntimeConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models folder whose networks in 8 bits were made from drawn cars."""
    root = tmp_path_factory.mktemp("quantise")
    models = root / "models"
    shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns("*.int8.onnx"))
    figures = quantise_all(write_data(root / "data"), models, root / "cache", photos=1, fitted=1)
    assert figures["same_cells"] > 0.9
    return models


@pytest.mark.parametrize("name", ["parts", "types"])
def test_network_in_8_bits_answers_nearly_the_same(folder: Path, name: str) -> None:
    batch = np.random.default_rng(0).normal(0, 0.3, (1, 3, 192, 288)).astype(np.float32)
    exact, rounded = (
        config.load(config.describe(name, folder), folder)(batch)
        for config in (RuntimeConfig("onnx"), RuntimeConfig("onnx", precision="int8"))
    )
    assert rounded.shape == exact.shape
    assert np.corrcoef(exact.ravel(), rounded.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", ["parts", "types"])
def test_files_of_networks_in_8_bits(folder: Path, name: str) -> None:
    description = read_description(name, folder).in_precision("int8")
    assert description.graph in json.loads((folder / MANIFEST).read_text())
    assert description.precision == "int8"
    assert description.int8 is not None
    assert description.int8.keys() <= description.thresholds.keys()
    model = onnx.load(folder / description.graph)
    onnx.checker.check_model(model)
    assert not any(tensor.external_data for tensor in model.graph.initializer)


@pytest.mark.parametrize("name", ["parts", "types"])
def test_shipped_network_in_8_bits_is_of_present_weights(name: str) -> None:
    assert read_description(name).in_precision("int8").precision == "int8", "run make int8"


def test_other_weights_have_no_network_in_8_bits(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "models")
    manifest = tmp_path / "models" / MANIFEST
    sums = json.loads(manifest.read_text())
    sums["parts.safetensors"] = sums["types.safetensors"]
    manifest.write_text(json.dumps(sums))
    precisions = [
        read_description(name, tmp_path / "models").in_precision("int8").precision
        for name in ("parts", "types")
    ]
    assert precisions == ["float32", "int8"]


def dense_weights(path: Path) -> list[NDArray[np.int8]]:
    """Return the 8-bit weights of the convolutions that are not depthwise, and of matrices."""
    graph = onnx.load(path).graph
    found = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    return [
        each
        for each in found
        if each.dtype == np.int8 and each.ndim in {2, 4} and each.shape[1] > 1
    ]


@pytest.mark.parametrize("name", ["parts", "types"])
def test_weights_do_not_overflow_16_bits(name: str) -> None:
    """AVX2 adds two products of a weight and a value of at most 255 in 16 bits."""
    weights = dense_weights(MODELS / read_description(name).in_precision("int8").graph)
    assert len(weights) > 20
    assert 2 * 255 * max(int(np.abs(each.astype(int)).max()) for each in weights) < 2**15


def test_graph_to_quantise_answers_as_the_network() -> None:
    batch = np.random.default_rng(1).normal(0, 0.3, (2, 3, 96, 160)).astype(np.float32)
    config = RuntimeConfig("onnx")
    description = config.describe("parts")
    graph = make_float_graph(description)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (answer,) = session.run(None, {"input": batch})
    expected = [config.load(description)(each[None])[0] for each in batch]
    np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-3)


def check_operators(path: Path) -> None:
    """The last layer multiplies the 8-bit map, its outputs are not rounded; attention is a node."""
    graph = onnx.load(path).graph
    makers = {output: node for node in graph.node for output in node.output}
    assert [node.op_type for node in graph.node].count("Attention") == 2
    kinds = []
    node = makers["logits"]
    while node.op_type != "Conv":
        kinds.append(node.op_type)
        if node.op_type == "MatMul":
            assert makers[node.input[1]].op_type == "DequantizeLinear"
        node = next(makers[name] for name in node.input if name in makers)
    assert kinds == [
        "Transpose", "Add", "MatMul", "DequantizeLinear", "QuantizeLinear", "Transpose",
        "DequantizeLinear", "QuantizeLinear",
    ]  # fmt: skip


def test_operators_of_part_network(folder: Path) -> None:
    check_operators(folder / read_description("parts", folder).in_precision("int8").graph)


@pytest.mark.parametrize("name", ["parts", "damage"])
def test_operators_of_shipped_network(name: str) -> None:
    check_operators(MODELS / read_description(name).in_precision("int8").graph)


def test_last_layer_is_rounded_by_its_inputs() -> None:
    batch = np.random.default_rng(2).normal(0, 0.3, (1, 3, 96, 160)).astype(np.float32)
    recipe = RECIPES["parts"]
    exact = make_float_graph(RuntimeConfig("onnx").describe("parts"))
    (last,) = (layer for layer in dense_layers(exact, recipe.floats) if "/head/" in layer.node.name)
    made = quantised(exact, find_ranges(exact, [batch]), recipe)

    def error() -> float:
        tensors = {tensor.name: tensor for tensor in made.graph.initializer}
        steps, scales = (
            onnx.numpy_helper.to_array(tensors[f"{last.node.input[1]}_{kind}"]).astype(np.float64)
            for kind in ("quantized", "scale")
        )
        return float(((cells @ (steps * scales - last.weight)) ** 2).mean())

    seen = onnx.ModelProto()
    seen.CopyFrom(exact)
    seen.graph.output.append(onnx.ValueInfoProto(name=last.node.input[0]))
    session = onnxruntime.InferenceSession(
        seen.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (maps,) = session.run([last.node.input[0]], {"input": batch})
    cells = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
    nearest = error()
    moments = second_moments(exact, [last], [batch])
    of_all_cells = cells.T @ cells / len(cells)
    off = np.linalg.norm(moments[last.node.input[1]] - of_all_cells)
    assert off < 0.1 * np.linalg.norm(of_all_cells)
    improve(made, [last], moments)
    assert 0 < error() < 0.7 * nearest


def test_networks_in_8_bits_do_not_change_the_version_in_float32(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS, models)
    sums = json.loads((models / MANIFEST).read_text())
    sums["parts.int8.onnx"] = sums["types.int8.onnx"]
    (models / MANIFEST).write_text(json.dumps(sums))
    fields = json.loads((models / "types.json").read_text())
    fields["int8"]["thresholds"]["picture_weight"] += 0.1
    (models / "types.json").write_text(json.dumps(fields))
    assert models_version(models, "float32") == models_version(MODELS, "float32")
    assert models_version(models, "int8") != models_version(MODELS, "int8")


def test_rounding_keeps_outputs_of_correlated_inputs() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(12, 2000)) + rng.normal(size=2000)
    weight = rng.normal(size=(5, 12))
    scales = np.abs(weight).max(1) / 7
    moments = inputs @ inputs.T / inputs.shape[1]
    steps = round_weights(weight, scales, moments, 7)
    assert np.abs(steps).max() <= 7
    nearest = np.clip(np.round(weight / scales[:, None]), -7, 7)
    lost, lost_by_nearest = (
        float((((weight - found * scales[:, None]) @ inputs) ** 2).mean())
        for found in (steps, nearest)
    )
    assert lost < 0.6 * lost_by_nearest
