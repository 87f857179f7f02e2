"""Move photos and label maps into the inputs of the networks, in batches on the device.

Coordinates are (x, y) in pixels, and whole numbers are the corners of pixels: the centre of the
first pixel is (0.5, 0.5). A warp is a (3, 3) matrix from photo to input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from training.photos import FILL

Matrices = NDArray[np.float64]


@dataclass(frozen=True)
class Jitter:
    """The ranges of the random geometry of photos.

    Attributes:
        stretch: factor on the ratio of width to height. The annotated photos were squashed to
            squares; their range restores the 4:3 to 16:9 of real photos.
        scale: size relative to the largest that fits into the input.
        close_ups: share of photos of 1.3 to 2.6 times that size.
        turned: share of photos turned by 90, 180 or 270 degrees.
        degrees: standard deviation of the turn of all photos; a tenth is turned 2.5 times as much.
        shear: standard deviation.
        perspective: largest.
    """

    stretch: tuple[float, float] = (1.0, 1.0)
    scale: tuple[float, float] = (1.0, 1.0)
    close_ups: float = 0.0
    turned: float = 0.0
    degrees: float = 7.0
    shear: float = 0.05
    perspective: float = 0.06


@dataclass(frozen=True)
class Zoom:
    """The ranges of the random geometry of close-ups of a part.

    Attributes:
        stretch: as in `Jitter`.
        room: size of the input relative to the part's box, along the side that the part fills more.
        move: largest distance of the part from the centre, in shares of the input's sides.
        degrees: standard deviation of the turn.
        perspective: largest.
    """

    stretch: tuple[float, float] = (1.0, 1.0)
    room: tuple[float, float] = (1.05, 3.5)
    move: float = 0.12
    degrees: float = 5.0
    perspective: float = 0.04


SQUASHED = Jitter(stretch=(1.0, 1.8), scale=(0.5, 1.7))
NATURAL = Jitter(stretch=(0.82, 1.22), scale=(0.42, 1.35))
EMPTY = Jitter(stretch=(0.8, 1.3), scale=(0.6, 1.8))


def identities(count: int) -> Matrices:
    """Return unit matrices (count, 3, 3)."""
    return np.tile(np.eye(3), (count, 1, 1))


def scaling(x: Matrices, y: Matrices) -> Matrices:
    """Return matrices that scale by x (n,) and y (n,)."""
    out = identities(len(x))
    out[:, 0, 0], out[:, 1, 1] = x, y
    return out


def shifting(x: Matrices, y: Matrices) -> Matrices:
    """Return matrices that move by x (n,) and y (n,)."""
    out = identities(len(x))
    out[:, 0, 2], out[:, 1, 2] = x, y
    return out


def turning(radians: Matrices) -> Matrices:
    """Return matrices that turn clockwise by angles (n,)."""
    out = identities(len(radians))
    out[:, 0, 0] = out[:, 1, 1] = np.cos(radians)
    out[:, 1, 0] = np.sin(radians)
    out[:, 0, 1] = -out[:, 1, 0]
    return out


def slanting(shear: Matrices) -> Matrices:
    """Return matrices that shear along x by (n,)."""
    out = identities(len(shear))
    out[:, 0, 1] = shear
    return out


def tilting(tilts: Matrices) -> Matrices:
    """Return matrices of perspective (n, 2)."""
    out = identities(len(tilts))
    out[:, 2, :2] = tilts
    return out


def inverses(warps: Matrices) -> Matrices:
    """Return the warps in the other direction."""
    return np.asarray(np.linalg.inv(warps), np.float64)


def random_quarters(count: int, share: float, rng: Generator) -> NDArray[np.int64]:
    """Return quarter turns (count,) of 0 to 3; a share of them is not 0."""
    return np.where(rng.random(count) < share, rng.integers(1, 4, count), 0)


def random_warps(
    sizes: Matrices, size: tuple[int, int], jitter: Jitter, rng: Generator
) -> tuple[Matrices, NDArray[np.bool_]]:
    """Draw warps.

    Args:
        sizes: (n, 2) width and height of the photos.
        size: (height, width) of the input.
        jitter: ranges.
        rng: random generator.

    Returns:
        The warps (n, 3, 3), and (n,) true for those that mirror.
    """
    count, (height, width) = len(sizes), size
    stretch = rng.uniform(*jitter.stretch, count)
    wide, tall = sizes[:, 0] * stretch, sizes[:, 1]
    low, high = np.log(jitter.scale).tolist()
    scale = np.exp(rng.uniform(low, high, count))
    near = np.exp(rng.uniform(np.log(1.3), np.log(2.6), count))
    scale = np.where(rng.random(count) < jitter.close_ups, near, scale)
    quarters = random_quarters(count, jitter.turned, rng)
    wide, tall = np.where(quarters % 2, (tall, wide), (wide, tall))
    scale = scale * np.minimum(height / tall, width / wide)
    mirrored = rng.random(count) < 0.5
    degrees = rng.normal(0, jitter.degrees, count) * np.where(rng.random(count) < 0.1, 2.5, 1.0)
    # A photo larger than the input moves at most to its border; a smaller one stays inside.
    slack = np.abs(np.stack([width - wide * scale, height - tall * scale], 1)) / 2
    move = np.array([width, height]) / 2 + rng.uniform(-1, 1, (count, 2)) * slack
    tilts = rng.uniform(-jitter.perspective, jitter.perspective, (count, 2)) / max(size)
    warps = (
        shifting(move[:, 0], move[:, 1])
        @ tilting(tilts)
        @ turning(np.deg2rad(degrees + 90 * quarters))
        @ slanting(rng.normal(0, jitter.shear, count))
        @ scaling(np.where(mirrored, -1, 1) * scale * stretch, scale)
        @ shifting(-sizes[:, 0] / 2, -sizes[:, 1] / 2)
    )
    return warps, mirrored


def close_up_warps(
    boxes: Matrices, size: tuple[int, int], zoom: Zoom, rng: Generator
) -> tuple[Matrices, NDArray[np.bool_]]:
    """Draw warps that show parts of photos in the middle of the input, as large as it allows.

    Args:
        boxes: (n, 4) x, y, width, height of a part of each photo, in pixels.
        size: (height, width) of the input.
        zoom: ranges.
        rng: random generator.

    Returns:
        The warps (n, 3, 3), and (n,) true for those that mirror.
    """
    count, (height, width) = len(boxes), size
    x, y, wide, tall = boxes.T
    stretch = rng.uniform(*zoom.stretch, count)
    low, high = np.log(zoom.room).tolist()
    scale = np.minimum(width / (wide * stretch), height / tall)
    scale = scale / np.exp(rng.uniform(low, high, count))
    mirrored = rng.random(count) < 0.5
    move = np.array([width, height]) * (0.5 + rng.uniform(-zoom.move, zoom.move, (count, 2)))
    tilts = rng.uniform(-zoom.perspective, zoom.perspective, (count, 2)) / max(size)
    warps = (
        shifting(move[:, 0], move[:, 1])
        @ tilting(tilts)
        @ turning(np.deg2rad(rng.normal(0, zoom.degrees, count)))
        @ scaling(np.where(mirrored, -1, 1) * scale * stretch, scale)
        @ shifting(-x - wide / 2, -y - tall / 2)
    )
    return np.asarray(warps), mirrored


def fitting_warps(sizes: Matrices, size: tuple[int, int], room: float = 1.0) -> Matrices:
    """Return the warps (n, 3, 3) that centre whole photos in the input.

    Args:
        sizes: (n, 2) width and height of the photos.
        size: (height, width) of the input.
        room: size of a photo relative to the largest that fits.
    """
    height, width = size
    scale = np.minimum(height / sizes[:, 1], width / sizes[:, 0]) * room
    across = (width - sizes[:, 0] * scale) / 2
    down = (height - sizes[:, 1] * scale) / 2
    return shifting(across, down) @ scaling(scale, scale)


def filling_warps(sizes: Matrices, size: tuple[int, int]) -> Matrices:
    """Return the warps (n, 3, 3) that stretch whole photos to the input."""
    return scaling(size[1] / sizes[:, 0], size[0] / sizes[:, 1])


def whole_warps(sizes: Matrices, size: tuple[int, int], squashed: NDArray[np.bool_]) -> Matrices:
    """Return the warps (n, 3, 3) of whole photos; squashed ones (n,) are stretched to the input."""
    flags = squashed[:, None, None]
    return np.where(flags, filling_warps(sizes, size), fitting_warps(sizes, size))


def source_points(
    warps: Matrices, size: tuple[int, int], device: torch.device, stride: int = 1
) -> Tensor:
    """Return the points of the photos under the centres of the input's cells.

    Args:
        warps: (n, 3, 3).
        size: (height, width) of the input.
        device: of the result.
        stride: side of a cell, in pixels of the input.

    Returns:
        (n, height / stride, width / stride, 2) float32.
    """
    inverse = torch.from_numpy(inverses(warps)).float().to(device)
    height, width = size[0] // stride, size[1] // stride
    y, x = torch.meshgrid(
        (torch.arange(height, device=device) + 0.5) * stride,
        (torch.arange(width, device=device) + 0.5) * stride,
        indexing="ij",
    )
    centres = torch.stack([x, y, torch.ones_like(x)], -1).view(1, -1, 3)
    points = centres @ inverse.transpose(1, 2)
    flat = points[..., :2] / points[..., 2:].clamp_min(1e-4)
    return flat.view(-1, height, width, 2)


def inside(points: Tensor, sizes: Matrices) -> Tensor:
    """Return (n, h, w), true for the points (n, h, w, 2) that lie in photos of `sizes` (n, 2)."""
    limit = torch.from_numpy(sizes).to(points).view(-1, 1, 1, 2)
    return ((points >= 0) & (points < limit)).all(-1)


def bilinear(maps: Tensor, sizes: Matrices, points: Tensor, stride: int = 1) -> Tensor:
    """Interpolate maps at points; outside of the photo its border is repeated.

    Args:
        maps: (n, c, side, side), with a photo in the top left corner.
        sizes: (n, 2) width and height of the photos, in pixels.
        points: (n, h, w, 2), in pixels.
        stride: pixels per cell of the maps.

    Returns:
        (n, c, h, w) float32.
    """
    limit = torch.from_numpy(sizes).to(points).view(-1, 1, 1, 2)
    edge = stride / 2
    held = torch.minimum(points.clamp_min(edge), (limit - edge).clamp_min(edge))
    grid = held / (maps.shape[-1] * stride) * 2 - 1
    return F.grid_sample(
        maps.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def on_canvas(
    maps: Tensor, warps: Matrices, size: tuple[int, int], canvas: tuple[int, int], stride: int
) -> Tensor:
    """Return the maps of inputs as maps of their photos, the way back of a warp.

    Args:
        maps: (n, c, h, w) of the whole inputs.
        warps: (n, 3, 3) from photo to input.
        size: (height, width) of the inputs, in pixels.
        canvas: (height, width) of the photos' canvas, in pixels.
        stride: pixels of the canvas per cell of the result.

    Returns:
        (n, c, canvas height / stride, canvas width / stride).
    """
    points = source_points(inverses(warps), canvas, maps.device, stride)
    grid = points / torch.tensor([size[1], size[0]], device=maps.device) * 2 - 1
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def nearest(labels: Tensor, sizes: Matrices, points: Tensor) -> Tensor:
    """Return the labels (n, h, w) under points of label maps (n, side, side); 0 outside."""
    limit = torch.from_numpy(sizes).to(points).view(-1, 1, 1, 2)
    cells = torch.minimum(points.floor().clamp_min(0), limit - 1).long()
    number = torch.arange(len(labels), device=labels.device).view(-1, 1, 1)
    found = labels[number, cells[..., 1], cells[..., 0]]
    return torch.where(inside(points, sizes), found, torch.zeros_like(found))


def surrounded(photos: Tensor, within: Tensor, ground: Tensor | None = None) -> Tensor:
    """Fill what lies outside of the photos with grey, or with another picture.

    Args:
        photos: (n, 3, h, w).
        within: (n, h, w), true inside of the photos.
        ground: (n, 3, h, w) or None for grey.
    """
    around = torch.full_like(photos, FILL) if ground is None else ground
    return torch.where(within[:, None], photos, around)


def normalised(photos: Tensor) -> Tensor:
    """Return photos (n, 3, h, w) of 0 to 255 in the range of the networks, channels last."""
    return ((photos - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
