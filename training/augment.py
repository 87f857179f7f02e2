"""Change colour and quality of batches of photos at random, on their device.

Photos are (n, 3, h, w) float, 0 to 255. Random numbers come from torch's generators, which the
loop seeds before each step.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor


def change_photos(photos: Tensor, rng: Generator, hidden: float) -> Tensor:
    """Change light, colours and quality, and hide patches in a share of the photos."""
    x = change_quality(change_colour(photos / 255), rng)
    return hide_patches(x.clamp(0, 1) * 255, rng, hidden)


def _uniform(x: Tensor, low: float, high: float, channels: int = 1) -> Tensor:
    return torch.rand(len(x), channels, 1, 1, device=x.device) * (high - low) + low


def change_colour(x: Tensor) -> Tensor:
    """Change saturation, contrast, brightness, gamma, tint and hue of photos of 0 to 1."""
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * _uniform(x, 0.2, 1.7)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * _uniform(x, 0.55, 1.45) + mean * _uniform(x, 0.45, 1.45)
    x = x.clamp(0, 1).pow(torch.exp(_uniform(x, -0.5, 0.5)))
    x = x * _uniform(x, 0.86, 1.14, channels=3)
    x = turn_hue(x, 0.3)
    without_colour = _uniform(x, 0, 1) < 0.08
    return torch.where(without_colour, x.mean(1, keepdim=True).expand_as(x), x).clamp(0, 1)


def turn_hue(x: Tensor, share: float) -> Tensor:
    """Turn the colours of a share of the photos around the grey axis: paint must not matter."""
    turned = torch.rand(len(x), device=x.device) < share
    angle = torch.rand(len(x), device=x.device) * 2 * math.pi * turned
    cosine, sine = angle.cos(), angle.sin() * math.sqrt(1 / 3)
    k = (1 - cosine) / 3
    rows = [cosine + k, k - sine, k + sine, k + sine, cosine + k, k - sine, k - sine, k + sine]
    rotation = torch.stack([*rows, cosine + k], 1).view(-1, 3, 3)
    return torch.einsum("nij,njhw->nihw", rotation, x)


def change_quality(x: Tensor, rng: Generator) -> Tensor:
    """Blur a sixth of the photos, coarsen another sixth, and add noise to a fifth."""
    each = max(1, len(x) // 6)
    order = torch.randperm(len(x), device=x.device)
    first, second = order[:each], order[each : 2 * each]
    x = x.index_copy(0, first, blur(x[first], float(rng.uniform(0.4, 2.0))))
    if len(second):
        x = x.index_copy(0, second, coarsen(x[second], float(rng.uniform(0.25, 0.75))))
    amount = _uniform(x, 0.01, 0.06) * (_uniform(x, 0, 1) < 0.2)
    return x + torch.randn_like(x) * amount


def blur(x: Tensor, sigma: float) -> Tensor:
    """Blur photos by a Gaussian of `sigma` pixels."""
    reach = int(3 * sigma + 0.5)
    distance = torch.arange(-reach, reach + 1, device=x.device).float()
    kernel = torch.exp(-(distance**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    x = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    x = F.conv2d(x, kernel[:, :, None, :], groups=x.shape[1])
    return F.conv2d(x, kernel[:, :, :, None], groups=x.shape[1])


def coarsen(x: Tensor, factor: float) -> Tensor:
    """Shrink photos by a factor and enlarge them again."""
    small = F.interpolate(x, scale_factor=factor, mode="area")
    return F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=False)


def hide_patches(x: Tensor, rng: Generator, share: float) -> Tensor:
    """Cover up to three rectangles with noise or one colour (random erasing)."""
    height, width = x.shape[2:]
    for number in (rng.random(len(x)) < share).nonzero()[0].tolist():
        for _ in range(int(rng.integers(1, 4))):
            h, w = (max(1, int(n * rng.uniform(0.05, 0.25))) for n in (height, width))
            top, left = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
            size = (3, h, w) if rng.random() < 0.5 else (3, 1, 1)
            patch = torch.rand(size, device=x.device) * 255
            x[number, :, top : top + h, left : left + w] = patch
    return x
