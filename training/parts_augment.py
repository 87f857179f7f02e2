"""Transform photos at random into training inputs for the part network."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.parts_data import FLIPPED, IGNORE
from training.photometric import change_light, change_quality, hide_patches
from vision.letterbox import FILL


@dataclass(frozen=True)
class Jitter:
    """The ranges of the random geometry.

    Attributes:
        stretch: factor on the ratio of width to height. The annotated photos were squashed to
            squares; their range restores the 4:3 to 16:9 of real photos.
        scale: size relative to the largest that fits into the input.
        mirror: probability of a horizontal flip, which swaps the labels of the sides.
    """

    stretch: tuple[float, float]
    scale: tuple[float, float]
    turn: float = 6.0
    shear: float = 0.04
    perspective: float = 0.06
    mirror: float = 0.5


SQUASHED = Jitter(stretch=(1.0, 1.8), scale=(0.55, 1.7))
NATURAL = Jitter(stretch=(0.85, 1.18), scale=(0.45, 1.35))


def random_transform(
    shape: tuple[int, int], size: tuple[int, int], jitter: Jitter, rng: Generator
) -> tuple[NDArray[np.float64], bool]:
    """Return a 3x3 matrix from photo pixels (x, y, 1) to input pixels, and true if it mirrors.

    Whole numbers are the centres of pixels, as in OpenCV's warps.

    Args:
        shape: (height, width) of the photo.
        size: (height, width) of the input.
        jitter: ranges.
        rng: random generator.
    """
    height, width = shape
    stretch = rng.uniform(*jitter.stretch)
    fit = min(size[0] / height, size[1] / (width * stretch))
    scale = fit * float(np.exp(rng.uniform(*np.log(jitter.scale))))
    mirrors = bool(rng.random() < jitter.mirror)
    # In OpenCV whole numbers are the centres of pixels.
    centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    grow = np.diag([scale * stretch * (-1.0 if mirrors else 1.0), scale, 1.0])
    angle = np.deg2rad(rng.normal(0.0, jitter.turn))
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    slant = np.array([[1, rng.normal(0.0, jitter.shear), 0], [0, 1, 0], [0, 0, 1]])
    tilt = np.eye(3)
    tilt[2, :2] = rng.uniform(-jitter.perspective, jitter.perspective, 2) / max(size)
    # A photo larger than the input moves at most to its border; a smaller one stays inside.
    slack = np.abs([size[1] - width * scale * stretch, size[0] - height * scale]) / 2
    move = np.eye(3)
    move[:2, 2] = (np.array(size[::-1]) - 1) / 2 + rng.uniform(-slack, slack)
    return move @ tilt @ turn @ slant @ grow @ centre, mirrors


def augment(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    ground: NDArray[np.uint8] | None,
    size: tuple[int, int],
    jitter: Jitter,
    rng: Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return one training input: moved, mirrored, recoloured, perhaps on another background.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, 255 ignored.
        ground: another photo (without a car) to surround this one, or None for grey.
        size: (height, width) of the input; the labels have half of it.
        jitter: ranges of the geometry.
        rng: random generator.

    Returns:
        The input (h, w, 3) uint8 and its labels (h/2, w/2) uint8.
    """
    matrix, mirrors = random_transform(labels.shape, size, jitter, rng)
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if shrink < 0.7:
        image = cv2.GaussianBlur(image, (0, 0), 0.35 / shrink).astype(np.uint8)
    canvas = np.full((*size, 3), FILL, np.uint8)
    if ground is not None:
        canvas = cv2.resize(ground, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    moved = cv2.warpPerspective(
        image, matrix, size[::-1], dst=canvas, borderMode=cv2.BORDER_TRANSPARENT
    ).astype(np.uint8)
    halve = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    target = cv2.warpPerspective(
        FLIPPED[labels] if mirrors else labels, halve @ matrix, (size[1] // 2, size[0] // 2),
        flags=cv2.INTER_NEAREST, borderValue=0,
    ).astype(np.uint8)  # fmt: skip
    moved = change_quality(change_light(moved, rng), rng)
    if rng.random() < 0.15:
        moved = hide_patches(moved, rng)
    return moved, target


__all__ = ["IGNORE", "NATURAL", "SQUASHED", "Jitter", "augment", "random_transform"]
