"""The fast depthwise convolution has torch's gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from training.fast_depthwise import use_fast_depthwise


def gradients(layer: nn.Module, x: Tensor, target: Tensor) -> list[Tensor]:
    """Return output, input gradient and weight gradient under bf16, as float32."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    (output.float() * target).sum().backward()
    assert x.grad is not None
    [weight] = layer.parameters()
    assert weight.grad is not None
    return [output.float(), x.grad, weight.grad]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("size", [(12, 16), (13, 9)])
def test_equals_torch(kernel: int, stride: int, same: bool, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    kind, padding = (Conv2dSame, 0) if same else (nn.Conv2d, kernel // 2)
    plain = kind(8, 8, kernel, stride, padding, groups=8, bias=False)
    fast = nn.Sequential(copy.deepcopy(plain))
    assert use_fast_depthwise(fast) == 1
    x = torch.randn(2, 8, *size)
    target = torch.randn_like(plain(x))
    for ours, theirs in zip(
        gradients(fast[0], x, target), gradients(plain, x, target), strict=True
    ):
        error = (ours - theirs).norm() / theirs.norm()
        assert error < 0.01  # bf16 has 8 bits of precision


def test_other_convolutions_and_state_dict_are_unchanged() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert use_fast_depthwise(network) == 1
    assert list(network.state_dict()) == list(before)
    assert type(network[0]) is nn.Conv2d
