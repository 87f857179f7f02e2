"""The input of the part network: a photo as large as its arithmetic allows, little grey border."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vision.letterbox import FILL, fit_area

AREA, MULTIPLE = 208_896, 32


@pytest.mark.parametrize(
    ("photo", "size", "inner"),
    [
        ((960, 1280), (384, 512), (384, 512)),
        ((1280, 960), (512, 384), (512, 384)),
        ((1000, 1000), (448, 448), (448, 448)),
        ((1080, 1920), (320, 576), (320, 569)),  # 324 rows would make it 352 x 576
        ((831, 1280), (352, 544), (352, 542)),
        ((1000, 1500), (384, 544), (363, 544)),  # in 352 rows the photo would be 3 % smaller
        ((1, 10_000), (32, 6400), (1, 6400)),
        ((10_000, 1), (6400, 32), (6400, 1)),
        ((20, 30), (384, 544), (363, 544)),
    ],
)
def test_input_size_by_photo_shape(
    photo: tuple[int, int], size: tuple[int, int], inner: tuple[int, int]
) -> None:
    placed = fit_area(np.zeros((*photo, 3), np.uint8), AREA, MULTIPLE)
    assert placed.pixels.shape == (*size, 3)
    assert (placed.height, placed.width) == inner


@pytest.mark.parametrize("seed", range(200))
def test_any_shape_fits_at_nearly_full_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = np.exp(rng.uniform(0, 6.5, 2)).astype(int).tolist()
    placed = fit_area(np.zeros((height, width, 3), np.uint8), AREA, MULTIPLE)
    high, wide, _ = placed.pixels.shape
    assert high * wide <= AREA
    assert high % MULTIPLE == wide % MULTIPLE == 0
    assert np.all(placed.pixels[: placed.height, : placed.width] == 0)
    assert np.all(placed.pixels[placed.height :] == FILL)
    assert np.all(placed.pixels[:, placed.width :] == FILL)
    cells = AREA // MULTIPLE**2
    largest = max(
        min(cells // across * MULTIPLE / height, across * MULTIPLE / width)
        for across in range(1, cells + 1)
    )
    assert placed.height >= 0.98 * largest * height - 0.5
    assert placed.width >= 0.98 * largest * width - 0.5


@pytest.mark.parametrize("width", [840, 960, 1000, 1024, 1200, 1600, 2400])
def test_photo_that_shrinks_much_is_averaged(width: int) -> None:
    """Noise of single pixels, which interpolation would keep, is averaged out."""
    noise = np.random.default_rng(0).integers(0, 256, (width * 3 // 4, width, 3), np.uint8)
    found = fit_area(noise, AREA, MULTIPLE).pixels
    averaged = cv2.resize(noise, (512, 384), interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(float) - averaged).mean() < 7
    assert np.std(found) < 1.1 * np.std(averaged)
