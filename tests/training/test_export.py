"""Test that exported weights load, and that changed or foreign ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.export import export_weights
from vision.model_files import ModelDescription, ModelFileError
from vision.networks import build_network
from vision.runtimes.torch_runtime import load_network


def description(**changes: object) -> ModelDescription:
    fields: dict[str, object] = {
        "name": "tiny", "architecture": "pyramid", "weights": "tiny.safetensors",
        "options": {"backbone": "tf_efficientnet_lite0", "classes": 3}, "labels": ("a", "b", "c"),
        "input": {}, "thresholds": {},
    }  # fmt: skip
    return ModelDescription(**(fields | changes))  # type: ignore[arg-type]


def test_exported_weights_return_same_output(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network("pyramid", description().options).eval()
    export_weights(network.state_dict(), "tiny.safetensors", tmp_path)
    loaded = load_network(description(), tmp_path)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), network(x), rtol=0.02, atol=0.02)
    assert all(
        tensor.dtype is torch.float16
        for tensor in load_file(tmp_path / "tiny.safetensors").values()
    )


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    network = build_network("pyramid", description().options)
    export_weights(network.state_dict(), "tiny.safetensors", tmp_path)
    path = tmp_path / "tiny.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"tiny\.safetensors is not the file"):
        load_network(description(), tmp_path)
    path.unlink()
    with pytest.raises(ModelFileError, match="can't be read"):
        load_network(description(), tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    network = build_network("pyramid", {"backbone": "tf_efficientnet_lite0", "classes": 5})
    export_weights(network.state_dict(), "tiny.safetensors", tmp_path)
    with pytest.raises(ModelFileError, match="does not fit"):
        load_network(description(), tmp_path)
