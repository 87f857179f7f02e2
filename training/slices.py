"""Run blocks of a network in slices of their channels, which is faster on a CPU.

The blocks of the first stages widen a large map sixfold, filter it and narrow it again. The wide
map is many times as large as a core's own cache. For most sizes the channels of a pixel are also
multiples of 4 kB apart, so they compete for the same few cache lines. With a third of the channels
per slice the whole network takes 7 % less time on one core, and 12 % less in OpenVINO
(benchmarks/README.md). Only the order of summation of the narrow map changes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from timm.models._efficientnet_blocks import InvertedResidual
from torch import Tensor, nn

_SLICES = 3
_LARGE = (1, 2)  # stages of the encoder


def slice_large_maps(pyramid: nn.Module) -> None:
    """Make the first stages of a pyramid's encoder run in slices, in evaluation only.

    These stages are inverted residuals without squeeze and excitation in all of
    `networks.BACKBONES`.
    """
    for stage in _LARGE:
        for block in pyramid.encoder.blocks[stage]:  # type: ignore[index,union-attr]
            block.__class__ = _InSlices


def padding_behind(conv: nn.Conv2d) -> int:
    """Return TensorFlow's "same" padding after the input of a convolution, for even sizes."""
    return (conv.kernel_size[0] - conv.stride[0] + 1) // 2


class _InSlices(InvertedResidual):
    """An inverted residual that widens, filters and narrows one slice of its channels at a time."""

    def forward(self, x: Tensor) -> Tensor:
        widen, filters = _cut(self.conv_pw.weight), _cut(self.conv_dw.weight)
        narrow = _cut(self.conv_pwl.weight, 1)
        norms1, norms2 = ([_cut(each) for each in _values(norm)] for norm in (self.bn1, self.bn2))
        mean, variance, weight, bias = _values(self.bn3)
        stride, behind = self.conv_dw.stride, padding_behind(self.conv_dw)
        total = x if self.has_skip else None
        for part in range(_SLICES):
            wide = _normed(F.conv2d(x, widen[part]), [each[part] for each in norms1], self.bn1.eps)
            wide = self.bn1.act(wide)
            groups = filters[part].shape[0]
            wide = F.conv2d(wide, filters[part], None, stride, behind, 1, groups)
            wide = self.bn2.act(_normed(wide, [each[part] for each in norms2], self.bn2.eps))
            values = [mean, variance, weight, bias]
            if part:  # only the first slice adds the norm's offset
                values[0] = values[3] = torch.zeros(len(bias))
            share = _normed(F.conv2d(wide, narrow[part]), values, self.bn3.eps)
            total = share if total is None else total + share
        assert total is not None
        return total


def _cut(tensor: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    ends = [int(tensor.shape[axis]) * part // _SLICES for part in range(_SLICES + 1)]
    return torch.split(tensor, [end - start for start, end in pairwise(ends)], axis)


def _values(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return mean, variance, weight and bias."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var, norm.weight, norm.bias


def _normed(x: Tensor, values: list[Tensor], eps: float) -> Tensor:
    mean, variance, weight, bias = values
    return F.batch_norm(x, mean, variance, weight, bias, eps=eps)
