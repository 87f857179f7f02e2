"""Change colour and quality of photos but not their geometry: light, camera, compression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def change_light(image: Image, rng: Generator) -> Image:
    """Change brightness, contrast, gamma, saturation and hue of an RGB image (H, W, 3) uint8."""
    x = image.astype(np.float32) / 255.0
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * rng.uniform(0.3, 1.6)
    x = (x - x.mean()) * rng.uniform(0.6, 1.4) + x.mean() * rng.uniform(0.55, 1.4)
    x = np.clip(x, 0.0, 1.0) ** rng.uniform(0.7, 1.5)
    x *= rng.uniform(0.88, 1.12, size=3).astype(np.float32)
    out: Image = (np.clip(x, 0.0, 1.0) * 255.0).astype(np.uint8)
    if rng.random() < 0.3:
        hsv = cv2.cvtColor(out, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + rng.integers(0, 180)) % 180
        out = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.uint8)
    if rng.random() < 0.06:
        out = np.repeat(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    return out


def change_quality(image: Image, rng: Generator) -> Image:
    """Add blur, loss of resolution, noise and JPEG blocks to an RGB image (H, W, 3) uint8."""
    height, width = image.shape[:2]
    draw = rng.random()
    if draw < 0.12:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0)).astype(np.uint8)
    elif draw < 0.27:
        factor = rng.uniform(0.3, 0.8)
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    if rng.random() < 0.15:
        noise = rng.normal(0.0, rng.uniform(2.0, 12.0), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = int(rng.integers(25, 85))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if decoded is not None:
            image = decoded.astype(np.uint8)
    return image


def hide_patches(image: Image, rng: Generator) -> Image:
    """Cover up to three rectangles with noise or one colour (random erasing)."""
    height, width = image.shape[:2]
    out = image.copy()
    for _ in range(int(rng.integers(1, 4))):
        h, w = int(height * rng.uniform(0.05, 0.25)), int(width * rng.uniform(0.05, 0.25))
        y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        fill = rng.integers(0, 256, (h, w, 3) if rng.random() < 0.5 else (1, 1, 3))
        out[y : y + h, x : x + w] = fill
    return out
