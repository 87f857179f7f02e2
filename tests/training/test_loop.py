"""A run that was stopped goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from training.export import export_weights
from training.loop import Batch, LoopOptions, run
from vision.model_files import ModelDescription, ModelFileError
from vision.runtimes.torch_runtime import load_network


class StoppedError(Exception):
    pass


def batches(epoch: int) -> Iterable[Batch]:
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(3):
        x = torch.randn(4, 3, 8, 8, generator=generator)
        yield x, x.mean((1, 2, 3))


def loss(network: nn.Module, batch: Batch) -> Tensor:
    x, y = batch
    error: Tensor = ((network(x).squeeze(1) - y) ** 2).mean()
    return error


def new_network() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 1),
    )  # fmt: skip


def train(out: Path, stop_after: int | None = None) -> dict[str, Tensor]:
    def evaluate(network: nn.Module) -> dict[str, float]:
        return {"figure": 1.0}

    def feed(epoch: int) -> Iterable[Batch]:
        if epoch == stop_after:
            raise StoppedError
        return batches(epoch)

    options = LoopOptions(out, epochs=3, steps=3, warmup=0.3, threads=1)
    return run(new_network(), feed, loss, evaluate, options).state_dict()


def test_resuming_gives_same_weights(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(tmp_path / "parts", stop_after=2)
    with (tmp_path / "parts" / "log.csv").open("a", encoding="utf-8") as log:
        log.write("2,9,9,9\n")  # the third epoch was logged, but cut before it was saved
    resumed = train(tmp_path / "parts")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)
    lines = (tmp_path / "parts" / "log.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1", "2"]
    assert "9,9,9" not in lines[-1]


def description(**changes: object) -> ModelDescription:
    fields: dict[str, object] = {
        "name": "tiny", "architecture": "pyramid", "weights": "tiny.safetensors",
        "options": {"backbone": "tf_efficientnet_lite0", "classes": 3}, "labels": ("a", "b", "c"),
        "input": {}, "thresholds": {},
    }  # fmt: skip
    return ModelDescription(**(fields | changes))  # type: ignore[arg-type]


def test_exported_weights_give_same_output(tmp_path: Path) -> None:
    from vision.networks import build_network

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
    from vision.networks import build_network

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
    from vision.networks import build_network

    network = build_network("pyramid", {"backbone": "tf_efficientnet_lite0", "classes": 5})
    export_weights(network.state_dict(), "tiny.safetensors", tmp_path)
    with pytest.raises(ModelFileError, match="does not fit"):
        load_network(description(), tmp_path)
