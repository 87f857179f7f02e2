"""Test that photos, labels and sides move together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.augment import change_photos, hide_patches
from training.precision import CPU
from training.warps import (
    NATURAL,
    SQUASHED,
    Jitter,
    Zoom,
    bilinear,
    close_up_warps,
    fitting_warps,
    inside,
    nearest,
    normalised,
    on_canvas,
    random_quarters,
    random_warps,
    source_points,
    surrounded,
    whole_warps,
)

SIZES = np.array([[40.0, 30.0], [20.0, 48.0]])
STILL = Jitter(degrees=0, shear=0, perspective=0)


def photos() -> torch.Tensor:
    """Two photos on canvases of 64 pixels, each with a white upper left quarter."""
    canvas = torch.zeros((2, 3, 64, 64), dtype=torch.uint8)
    for number, (width, height) in enumerate(SIZES.astype(int).tolist()):
        canvas[number, :, : height // 2, : width // 2] = 255
    return canvas


def test_whole_photos_fit() -> None:
    warps = fitting_warps(SIZES, (96, 128))
    points = source_points(warps, (96, 128), CPU)
    within = inside(points, SIZES)
    assert within.sum((1, 2)).tolist() == [96 * 128, 96 * 40]
    seen = surrounded(bilinear(photos(), SIZES, points), within)
    assert (seen[0, 0, :40, :56] == 255).all()
    assert (seen[0, 0, 56:] == 0).all()
    assert (seen[1, 0, :, :40] == 127).all()  # grey beside the tall photo


def test_squashed_photos_fill_input() -> None:
    points = source_points(whole_warps(SIZES, (96, 128), np.array([True, True])), (96, 128), CPU)
    assert inside(points, SIZES).all()


@pytest.mark.parametrize("jitter", [SQUASHED, NATURAL])
def test_labels_follow_pixels(jitter: Jitter) -> None:
    labels = (photos()[:, 0] > 0).to(torch.uint8) * 13
    for seed in range(10):
        warps, _ = random_warps(SIZES, (96, 128), jitter, np.random.default_rng(seed))
        points = source_points(warps, (96, 128), CPU)
        seen = bilinear(photos(), SIZES, points)[:, 0]
        found = nearest(labels, SIZES, points)
        assert (found[~inside(points, SIZES)] == 0).all()
        white = (seen > 250) & inside(points, SIZES)
        assert (found[white] == 13).all()
        assert (found[seen < 5] == 0).all()


def test_half_of_warps_mirror() -> None:
    sizes = np.repeat(SIZES[:1], 200, 0)
    warps, mirrored = random_warps(sizes, (96, 128), STILL, np.random.default_rng(0))
    assert 70 < mirrored.sum() < 130
    np.testing.assert_array_equal(np.linalg.det(warps) < 0, mirrored)


def test_turned_photos_fit_too() -> None:
    jitter = Jitter(degrees=0, shear=0, perspective=0, turned=1.0)
    warps, _ = random_warps(SIZES.repeat(20, 0), (96, 128), jitter, np.random.default_rng(0))
    for warp, (width, height) in zip(warps, SIZES.repeat(20, 0), strict=True):
        corners = warp @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
        assert corners[0].min() > -1e-6
        assert corners[1].min() > -1e-6
        assert corners[0].max() < 128 + 1e-6
        assert corners[1].max() < 96 + 1e-6
    assert set(random_quarters(100, 1.0, np.random.default_rng(0)).tolist()) == {1, 2, 3}


def test_close_ups_show_their_box() -> None:
    boxes = np.array([[10.0, 20.0, 8.0, 4.0], [300.0, 100.0, 40.0, 90.0]]).repeat(50, 0)
    zoom = Zoom(room=(1.0, 2.0), move=0.0, degrees=0.0, perspective=0.0)
    warps, mirrored = close_up_warps(boxes, (96, 128), zoom, np.random.default_rng(0))
    assert 30 < mirrored.sum() < 70
    for warp, (x, y, width, height) in zip(warps, boxes, strict=True):
        corners = warp @ np.array([[x, x + width], [y, y + height], [1, 1]])
        wide, tall = np.abs(corners[:2, 1] - corners[:2, 0])
        np.testing.assert_allclose(corners[:2].mean(1), (64, 48))
        assert 0.5 - 1e-6 <= max(wide / 128, tall / 96) <= 1 + 1e-6


def test_maps_return_to_their_photos() -> None:
    warps = fitting_warps(SIZES, (96, 128))
    seen = bilinear(photos(), SIZES, source_points(warps, (96, 128), CPU))
    back = on_canvas(seen, warps, (96, 128), (64, 64), 2)
    assert back.shape == (2, 3, 32, 32)
    assert (back[0, 0, :6, :9] > 250).all()
    assert (back[0, 0, 9:15, :20] < 5).all()


def test_changed_photos_stay_in_range() -> None:
    x = torch.rand(12, 3, 32, 48) * 255
    torch.manual_seed(0)
    changed = change_photos(x, np.random.default_rng(0), 0.5)
    assert changed.shape == x.shape
    assert 0 <= changed.min() < changed.max() <= 255
    assert (changed != x).any((1, 2, 3)).all()
    torch.manual_seed(0)
    assert torch.equal(changed, change_photos(x, np.random.default_rng(0), 0.5))
    assert normalised(changed).abs().max() <= 1


def test_patches_hide_share() -> None:
    hidden = hide_patches(torch.zeros(40, 3, 32, 48), np.random.default_rng(0), 0.5)
    touched = (hidden > 0).any(1).flatten(1).any(1)
    assert 10 < touched.sum() < 30
