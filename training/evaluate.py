"""Predictions of a network in training, made as the service makes them."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from letterbox import fit_longest

STRETCH = 4 / 3  # the annotated photos are squares; real ones are about this wide


def predict_logits(network: nn.Module, rgb: NDArray[np.uint8], longest: int) -> NDArray[np.float32]:
    """Logits (classes, h, w) of a photo at the network's output resolution, padding cut off."""
    placed = fit_longest(rgb, longest, 32, square=False)
    x = torch.from_numpy(placed.pixels).permute(2, 0, 1)[None].float().sub(127.0).div(128.0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = network(x.contiguous(memory_format=torch.channels_last))[0].float().numpy()
    stride = placed.pixels.shape[0] // output.shape[1]
    covered: NDArray[np.float32] = output[
        :, : -(-placed.height // stride), : -(-placed.width // stride)
    ]
    return covered


def predict_labels(
    network: nn.Module, rgb: NDArray[np.uint8], longest: int, stretch: float = STRETCH
) -> NDArray[np.uint8]:
    """Label map (H, W) uint8 of a photo; the photo is widened by `stretch` for the network."""
    height, width = rgb.shape[:2]
    wide = cv2.resize(rgb, (round(width * stretch), height), interpolation=cv2.INTER_LINEAR)
    logits = predict_logits(network, wide.astype(np.uint8), longest)
    full = cv2.resize(logits.transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_LINEAR)
    labels: NDArray[np.uint8] = full.argmax(2).astype(np.uint8)
    return labels
