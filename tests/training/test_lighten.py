"""The light part network learns to answer as the full one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.tiny import write_data
from training.lighten import LightRun, light_loss, lighten, lightened
from training.train_parts import LIGHT, OPTIONS, start_from
from vision.model_files import MODELS
from vision.networks import PartNetwork

X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def full() -> PartNetwork:
    torch.manual_seed(0)
    network = PartNetwork(**OPTIONS).eval()
    for module in network.modules():  # as if trained: no batch norm is left as it began
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return network


def test_separable_kernels_are_split_exactly(full: PartNetwork) -> None:
    with torch.no_grad():
        weight = full.mixers[-1].state_dict()["0.weight"]
        count = len(weight)
        kernel, amounts = torch.randn(count, 3, 3), torch.randn(count, count, 1, 1)
        weight.copy_(0.02 * amounts * kernel)
        light = lightened(full).eval()
        torch.testing.assert_close(light(X), full(X), rtol=1e-3, atol=1e-3)
        assert light_loss(light, full, X).item() == pytest.approx(0, abs=1e-4)


def test_steps_reduce_error_and_keep_coarser_layers(full: PartNetwork) -> None:
    light = lightened(full).train()
    before = {name: value.clone() for name, value in light.state_dict().items()}
    learning = [parameter for parameter in light.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, 2e-3, weight_decay=0.0)
    losses = []
    for _ in range(8):
        loss = light_loss(light, full, X)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    changed = {
        ".".join(name.split(".")[:2])
        for name, value in light.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"laterals.3", "downs.2", "mixers.2", "head.weight", "head.bias"}


def test_weights_of_the_light_network(tmp_path: Path, full: PartNetwork) -> None:
    torch.save(full.state_dict(), tmp_path / "full.pt")
    options = LightRun(
        write_data(tmp_path / "data"), tmp_path / "full.pt", tmp_path / "light",
        epochs=2, photos=4, batch=2, cache=tmp_path / "cache", threads=1,
    )  # fmt: skip
    lighten(options)
    log = (options.out / "log.csv").read_text(encoding="utf-8")
    assert len(log.splitlines()) == 3
    lighten(options)  # goes on where it stopped, which is the end
    assert (options.out / "log.csv").read_text(encoding="utf-8") == log
    start_from(PartNetwork(**LIGHT), options.out / "ema.pt")
    with pytest.raises(ValueError, match=r"another network: mixers.2"):
        start_from(PartNetwork(**OPTIONS), options.out / "ema.pt")


def test_weights_in_use_are_of_light_network() -> None:
    weights = MODELS / "parts.safetensors"
    start_from(PartNetwork(**LIGHT), weights)
    with pytest.raises(ValueError, match=r"another network: mixers.2"):
        start_from(PartNetwork(**OPTIONS), weights)
