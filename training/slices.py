"""Blocks of a network in slices of their channels, as a CPU computes them faster.

The blocks of the first stages widen a large map sixfold, filter it and narrow it again. The wide
map is many times as large as a core's own cache; and for most sizes the channels of a pixel lie
multiples of 4 kB apart, so that they compete for the same few lines of it. With a third of the
channels at a time the whole network takes 7 % less time on one core, and 12 % less in OpenVINO
(benchmarks/README.md); all that changes is the order in which the narrow map is summed up.
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
    """Let the first stages of a pyramid's encoder work in slices, in evaluation only.

    They are inverted residuals in all of `networks.BACKBONES`, without squeeze and excitation.
    """
    for stage in _LARGE:
        for block in pyramid.encoder.blocks[stage]:  # type: ignore[index,union-attr]
            block.__class__ = _InSlices


def padding_behind(conv: nn.Conv2d) -> int:
    """Padding behind the input of a convolution, "same" as TensorFlow means it, for even sizes."""
    return (conv.kernel_size[0] - conv.stride[0] + 1) // 2


class _InSlices(InvertedResidual):
    """An inverted residual that widens, filters and narrows a slice of its channels at a time."""

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
            if part:  # what the norm adds, it adds once
                values[0] = values[3] = torch.zeros(len(bias))
            share = _normed(F.conv2d(wide, narrow[part]), values, self.bn3.eps)
            total = share if total is None else total + share
        assert total is not None
        return total


def _cut(tensor: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    ends = [int(tensor.shape[axis]) * part // _SLICES for part in range(_SLICES + 1)]
    return torch.split(tensor, [end - start for start, end in pairwise(ends)], axis)


def _values(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, variance, weight and bias."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var, norm.weight, norm.bias


def _normed(x: Tensor, values: list[Tensor], eps: float) -> Tensor:
    mean, variance, weight, bias = values
    return F.batch_norm(x, mean, variance, weight, bias, eps=eps)
