"""Pictures for tests and benchmarks."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from settings import REPOSITORY

SAMPLE = REPOSITORY / "sample" / "car.png"


def encoded(picture: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8 of random colours, without a car."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def car_photo(seed: int, longest: int = 320) -> bytes:
    """Return a JPEG of the sample car, cut and lit a little differently for each seed."""
    rng = np.random.default_rng(seed)
    with Image.open(SAMPLE) as opened:
        car = opened.convert("RGB")
    x, y = rng.integers(0, 60, 2).tolist()
    car = car.crop((x, y, car.width - 60 + x, car.height - 60 + y))
    scale = longest / max(car.size)
    car = car.resize((round(car.width * scale), round(car.height * scale)))
    pixels = np.asarray(car) * rng.uniform(0.7, 1.2)
    pixels[0, :4] = seed >> np.arange(0, 32, 8)[:, None] & 255  # makes each seed's photo distinct
    return encoded(np.clip(pixels, 0, 255).astype(np.uint8), "JPEG", quality=92)
