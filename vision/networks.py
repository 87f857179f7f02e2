"""Define the torch modules of the networks, and build them by name.

Nothing here loads weights: `vision.runtimes.torch_runtime.load_network` pairs a module with its
description (`models/*.json`) and weights. timm supplies the backbones.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import timm
import torch.nn.functional as F
from torch import Tensor, nn

MIXED = (16, 8, 4)  # strides of the pyramid at which a map is mixed with the coarser one
BACKBONES = tuple(f"tf_efficientnet_lite{size}" for size in range(5))


class ConvNormAct(nn.Sequential):
    """A convolution without bias, batch norm and ReLU.

    Args:
        channels_in: channels of the input, (N, channels_in, H, W).
        channels_out: channels of the output, (N, channels_out, H, W).
        kernel: size of the kernel, odd. The map keeps its size.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class SeparableNormAct(nn.Sequential):
    """A light replacement for a 3x3 `ConvNormAct`: a depthwise convolution, then a 1x1 one.

    Depthwise separable convolutions (Howard et al. 2017) need a sixth of the arithmetic at 64
    channels. The kernel is 5x5, which takes hardly longer here than 3x3.

    Args:
        channels: channels of the input and of the output, (N, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class ContextBlock(nn.Module):
    """A transformer block over all cells of the coarsest map: (N, C, H, W) -> same.

    Only the position of the rest of the car decides if a light is a left or a right one, and a
    local window does not show it. Positions come from a depthwise convolution over the zero-padded
    map (conditional positional encoding, Chu et al. 2021), so any input size works.
    """

    def __init__(self, channels: int, heads: int = 4, expansion: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm_attention = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.norm_mlp = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, expansion * channels),
            nn.GELU(),
            nn.Linear(expansion * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x + self.position(x)
        tokens = x.flatten(2).transpose(1, 2)
        qkv = self.qkv(self.norm_attention(tokens))
        q, k, v = qkv.reshape(n, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, c)
        tokens = tokens + self.project(mixed)
        tokens = tokens + self.mlp(self.norm_mlp(tokens))
        mapped: Tensor = tokens.transpose(1, 2).reshape(n, c, h, w)
        return mapped


class PartNetwork(nn.Module):
    """The part segmentation network: EfficientNet-Lite, global context, light feature pyramid.

    The pyramid (Lin et al. 2017) adds maps top-down and ends at stride 4, where a 1x1 convolution
    computes the logits.

    Args:
        backbone: timm name of the encoder, one of `BACKBONES`.
        classes: number of labels, background included.
        widths: channels of the pyramid at strides 32, 16, 8 and 4.
        context_blocks: transformer blocks at stride 32.
        separable: strides, of 16, 8 and 4, whose maps are mixed by `SeparableNormAct`.

    Shapes:
        input (N, 3, H, W) float, H and W multiples of 32;
        output (N, classes, H/4, W/4) logits.
    """

    def __init__(
        self,
        backbone: str,
        classes: int,
        widths: tuple[int, int, int, int] = (160, 128, 96, 64),
        context_blocks: int = 2,
        separable: Sequence[int] = (),
    ) -> None:
        super().__init__()
        encoder: Any = timm.create_model(
            backbone, features_only=True, out_indices=(1, 2, 3, 4), pretrained=False
        )
        self.encoder: nn.Module = encoder
        channels = encoder.feature_info.channels()[::-1]
        self.laterals = nn.ModuleList(
            ConvNormAct(c, width) for c, width in zip(channels, widths, strict=True)
        )
        self.context = nn.Sequential(*(ContextBlock(widths[0]) for _ in range(context_blocks)))
        self.downs = nn.ModuleList(
            nn.Conv2d(wide, narrow, 1) for wide, narrow in itertools.pairwise(widths)
        )
        self.mixers = nn.ModuleList(
            SeparableNormAct(width) if stride in separable else ConvNormAct(width, width, 3)
            for stride, width in zip(MIXED, widths[1:], strict=True)
        )
        self.head = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decode(*self.encode(x))[-1])
        return logits

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the map with context at stride 32 and the encoder's maps at strides 16, 8, 4."""
        coarsest, *finer = self.encoder(x)[::-1]
        return self.context(self.laterals[0](coarsest)), finer

    def decode(self, top: Tensor, finer: list[Tensor]) -> list[Tensor]:
        """Return the pyramid's maps at strides 16, 8 and 4, from the maps of `encode`."""
        maps = []
        for index, feature in enumerate(finer):
            top = self.mix(index, top, feature)
            maps.append(top)
        return maps

    def mix(self, index: int, top: Tensor, feature: Tensor) -> Tensor:
        """Return the pyramid's map at stride MIXED[index].

        Args:
            index: into `MIXED`.
            top: the pyramid's next coarser map.
            feature: the encoder's map at this stride.
        """
        narrow = self.downs[index](top)
        top = F.interpolate(narrow, scale_factor=2.0, mode="bilinear", align_corners=False)
        mixed: Tensor = self.mixers[index](self.laterals[index + 1](feature) + top)
        return mixed


class ShapeNetwork(nn.Sequential):
    """The network that classifies a car by the layout of its parts.

    Its input is a map of labels, without colours, light or make.

    Args:
        labels: channels of the input.
        size: (height, width) of the input, multiples of 8.
        classes: number of outputs.
        widths: channels of the maps at full, half, quarter and eighth size.
        drop_rate: of the dropout before the last layer, 0 to 1.

    Shapes:
        input (N, labels, height, width) float, probabilities; output (N, classes) logits.
    """

    def __init__(
        self,
        labels: int,
        size: tuple[int, int],
        classes: int,
        widths: tuple[int, int, int, int] = (48, 64, 96, 128),
        drop_rate: float = 0.0,
    ) -> None:
        one, two, three, four = widths
        super().__init__(
            ConvNormAct(labels, one, 3),
            nn.MaxPool2d(2),
            ConvNormAct(one, two, 3),
            ConvNormAct(two, two, 3),
            nn.MaxPool2d(2),
            ConvNormAct(two, three, 3),
            ConvNormAct(three, three, 3),
            nn.MaxPool2d(2),
            ConvNormAct(three, four, 3),
            nn.Flatten(),
            nn.Dropout(drop_rate),
            nn.Linear(four * (size[0] // 8) * (size[1] // 8), classes),
        )


def build_network(architecture: str, options: dict[str, Any]) -> nn.Module:
    """Build an untrained network from the fields of its model description.

    Args:
        architecture: `pyramid` (`PartNetwork`), `classifier` (a timm classifier) or `shape`
            (`ShapeNetwork`).
        options: keyword arguments of that architecture.

    Raises:
        ValueError: the architecture is unknown.
    """
    if architecture == "pyramid":
        return PartNetwork(**options)
    if architecture == "classifier":
        model: nn.Module = timm.create_model(pretrained=False, **options)
        return model
    if architecture == "shape":
        return ShapeNetwork(**options)
    raise ValueError(f"unknown network architecture {architecture!r}")
