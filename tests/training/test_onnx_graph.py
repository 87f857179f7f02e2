"""The graphs follow from the networks, not from their weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from training.export import export_graph, export_network, export_weights, read_fields
from training.weights import save_weights
from vision.model_files import MODELS, read_description
from vision.networks import build_network
from vision.runtimes.choose import RuntimeConfig

NAMES = ("parts", "types", "shapes")


def folder_with_new_weights(folder: Path, name: str, seed: int) -> Path:
    """Return a models folder as a training leaves it."""
    folder.mkdir()
    fields = read_fields(name)
    (folder / f"{name}.json").write_text(json.dumps(fields))
    torch.manual_seed(seed)
    network = build_network(fields["architecture"], fields["options"])
    save_weights(network, folder / "stage.safetensors")
    export_network(folder / "stage.safetensors", fields["weights"], folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_other_weights_have_same_graph(tmp_path: Path, name: str) -> None:
    folders = [folder_with_new_weights(tmp_path / str(seed), name, seed) for seed in (1, 2)]
    graph = read_description(name).graph
    one, other = ((folder / graph).read_bytes() for folder in folders)
    assert one == other == (MODELS / graph).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_exported_network_returns_same_output(tmp_path: Path, name: str) -> None:
    folder = folder_with_new_weights(tmp_path / "models", name, 3)
    description = read_description(name, folder)
    fields = description.input
    shape = (
        1, description.options.get("labels", 3), fields.get("height", 192), fields.get("width", 288)
    )  # fmt: skip
    batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    one, other = (
        RuntimeConfig(runtime).load(description, folder)(batch) for runtime in ("onnx", "torch")
    )
    scale = np.abs(other).max()
    assert np.abs(one - other).max() < 1e-4 * max(1.0, scale)


@pytest.mark.parametrize("name", NAMES)
def test_graph_holds_no_weights(name: str) -> None:
    description = read_description(name)
    model = onnx.load(MODELS / description.graph, load_external_data=False)
    assert model.graph.initializer
    for tensor in model.graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        assert place["location"] == description.weights
    # Other programs can read graph and weights together.
    whole = onnx.load(MODELS / description.graph)
    onnx.checker.check_model(whole)


def test_mismatched_weights_are_named(tmp_path: Path) -> None:
    fields = read_fields("types")
    (tmp_path / "types.json").write_text(json.dumps(fields))
    network = build_network("classifier", fields["options"] | {"num_classes": 4})
    export_weights(network.state_dict(), fields["weights"], tmp_path)
    with pytest.raises(ValueError, match=r"classifier\.\w+ of types\.safetensors"):
        export_graph(fields["weights"], tmp_path)
