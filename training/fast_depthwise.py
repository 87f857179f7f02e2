"""Depthwise convolution with a backward pass that CPUs run fast in bfloat16.

torch's CPU kernels for the gradients of bfloat16 depthwise convolutions are 4 to 20 times slower
than their forward pass, and take most of an EfficientNet's training step. This module computes the
same gradients with fast kernels: the input's as a forward convolution of the (zero-dilated) output
gradient with the flipped kernel, the weight's in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn


class _DepthwiseConvolution(torch.autograd.Function):
    """Convolution with one kernel per channel, square stride, and zero padding."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=x.shape[1])

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        grad_x = _input_gradient(gradient, weight, x.shape, stride, padding)
        grad_weight: Tensor = torch.ops.aten.convolution_backward(
            gradient.float(), x.float(), weight.float(), None, [stride] * 2, [padding] * 2,
            [1, 1], False, [0, 0], x.shape[1], [False, True, False],
        )[1]  # fmt: skip
        return grad_x, grad_weight.to(weight.dtype), None, None


def _input_gradient(
    gradient: Tensor, weight: Tensor, shape: torch.Size, stride: int, padding: int
) -> Tensor:
    """Return the input's gradient (N, C, H, W), as a forward convolution of the output's."""
    kernel = weight.shape[-1]
    if stride > 1:
        n, c, h, w = gradient.shape
        dilated = gradient.new_zeros((n, c, (h - 1) * stride + 1, (w - 1) * stride + 1)).to(
            memory_format=torch.channels_last
        )
        dilated[:, :, ::stride, ::stride] = gradient
        gradient = dilated
    reach = kernel - 1 - padding
    bottom = shape[2] - (gradient.shape[2] + 2 * reach - kernel + 1)
    right = shape[3] - (gradient.shape[3] + 2 * reach - kernel + 1)
    gradient = F.pad(gradient, (reach, reach + right, reach, reach + bottom))
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    return F.conv2d(gradient, weight.flip(2, 3), None, groups=shape[1])


class FastDepthwiseConv2d(nn.Conv2d):
    """An `nn.Conv2d` with one kernel per channel that trains fast on CPUs. Same parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W) to (N, C, H', W')."""
        padding = int(self.padding[0])
        if getattr(self, "same_padding", False):
            x = pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation))
            padding = 0
        output: Tensor = _DepthwiseConvolution.apply(x, self.weight, self.stride[0], padding)
        return output if self.bias is None else output + self.bias[:, None, None]


def use_fast_depthwise(network: nn.Module) -> int:
    """Switch every depthwise convolution of `network` in place, and return their number.

    Parameters and state dict stay unchanged.
    """
    switched = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            same = isinstance(module, Conv2dSame)
            module.__class__ = FastDepthwiseConv2d
            module.same_padding = same  # type: ignore[assignment]
            switched += 1
    return switched
