"""Compute the part layouts of cars of known type, with the part network in `models/`.

`label_layouts` stores one file per photo, so an interrupted run resumes after its last file. The
files belong to one part network: another network needs another folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from car_classification import with_margin
from img_to_segments import PartSegmenter
from training.parts_data import FLIPPED, read_rgb, widen
from training.type_data import NO_CAR, TypeSample, jitter, shift
from vision.part_layout import Box, place_label_map, placement

LABELS = 19
TURNS = 4  # orientations of a photo, in quarter turns
TURNED = 0.3  # share of the layouts that are turned in training
MOST_HIDDEN = 3  # maximum number of parts that are removed from one layout


@dataclass(frozen=True)
class Layout:
    """The parts of one car.

    Attributes:
        probabilities: (19, h, w) uint8, 0 to 255, of the whole photo.
        box: around the car's parts (x0, y0, x1, y1), in cells of `probabilities`.
        label: index in TYPES.
        street: as in `TypeSample`.
    """

    probabilities: NDArray[np.uint8]
    box: Box
    label: int
    street: bool


def label_layouts(samples: list[TypeSample], segment: PartSegmenter, folder: Path) -> list[Layout]:
    """Return the layouts of all samples in which the network sees a car, stored in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    layouts = []
    for sample in tqdm(samples, desc="layouts", mininterval=10):
        if sample.label == NO_CAR:
            continue
        path = folder / ("_".join(sample.path.with_suffix("").parts[-4:]) + ".npz")
        if not path.exists():
            fresh = path.with_suffix(".new.npz")
            box, probabilities = _see(sample, segment)
            np.savez_compressed(fresh, box=box, probabilities=probabilities)
            fresh.replace(path)
        with np.load(path) as saved:
            if saved["box"].size:
                x0, y0, x1, y1 = saved["box"].tolist()
                layouts.append(
                    Layout(saved["probabilities"], (x0, y0, x1, y1), sample.label, sample.street)
                )
    return layouts


def _see(
    sample: TypeSample, segment: PartSegmenter
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return the box and the probabilities of a `Layout`; both are empty if no car is seen."""
    rgb = read_rgb(sample.path)
    if sample.squashed:
        rgb = widen(rgb, cv2.INTER_LINEAR)
    seen = segment.cells(rgb)
    if not seen.confidences:
        return np.empty(0), np.empty(0, np.uint8)
    box = np.array(seen.box(*seen.labels.shape), np.float64)
    return box, np.round(seen.probabilities * 255).astype(np.uint8)


def quarter_turned(layout: Layout, quarters: int) -> Layout:
    """Turn a layout clockwise by a number of quarter turns."""
    probabilities, box = layout.probabilities, layout.box
    for _ in range(quarters):
        x0, y0, x1, y1 = box
        height = probabilities.shape[1]
        box = height - y1, x0, height - y0, x1
        probabilities = np.rot90(probabilities, -1, (1, 2))
    return replace(layout, probabilities=np.ascontiguousarray(probabilities), box=box)


def network_input(
    layout: Layout, size: tuple[int, int], margin: dict[str, float], rng: Generator | None
) -> tuple[NDArray[np.float32], bool]:
    """Return the input (19, height, width) of the shape network, and True if it is mirrored.

    With `rng` the input is jittered and perhaps mirrored; without `rng` it is neither.
    """
    box = with_margin(layout.box, margin)
    matrix = placement(box, size)
    if rng is None:
        return place_label_map(layout.probabilities, matrix, size), False
    centre = np.array(size[::-1]) / 2
    turned, mirrors = jitter(np.eye(2), rng)
    matrix = turned @ matrix
    matrix[:, 2] += centre - turned @ centre + shift(size, rng)
    grid = place_label_map(layout.probabilities, matrix, size)
    if mirrors:
        grid = grid[FLIPPED[:LABELS]]
    if rng.random() < 0.5:  # parts that the part network misses
        for label in rng.integers(1, LABELS, rng.integers(1, MOST_HIDDEN + 1)):
            grid[0] += grid[label]
            grid[label] = 0
    if rng.random() < 0.2:  # an obstacle in front of the car
        top, left = rng.integers(0, size[0] - 4), rng.integers(0, size[1] - 4)
        height, width = rng.integers(3, size[0] // 2), rng.integers(3, size[1] // 3)
        grid[:, top : top + height, left : left + width] = 0
        grid[0, top : top + height, left : left + width] = 1
    if rng.random() < 0.5:  # a part network with higher or lower confidence
        grid = np.power(np.maximum(grid, 1e-6), np.float32(rng.uniform(0.6, 2.0)))
        grid /= grid.sum(0)
    return grid.astype(np.float32), mirrors


class ShapeDataset(Dataset[tuple[Tensor, Tensor]]):
    """Inputs (19, H, W) float, with the label and the quarter turns clockwise, (2,) int64.

    Args:
        layouts: see `label_layouts`.
        size: (height, width) of the network's input.
        margin: added to the box, as in the description of the network.
        epoch: seed of the augmentation; None for validation, without augmentation.
    """

    def __init__(
        self,
        layouts: list[Layout],
        size: tuple[int, int],
        margin: dict[str, float],
        epoch: int | None = None,
    ) -> None:
        self.layouts, self.size, self.margin, self.epoch = layouts, size, margin, epoch

    def __len__(self) -> int:
        return len(self.layouts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        layout, quarters = self.layouts[index], 0
        rng = None if self.epoch is None else np.random.default_rng((self.epoch, index))
        if rng is not None and rng.random() < TURNED:
            quarters = int(rng.integers(1, TURNS))
        turned = quarter_turned(layout, quarters)
        grid, mirrored = network_input(turned, self.size, self.margin, rng)
        # The mirror image of a photo turned clockwise is turned counterclockwise.
        turns = -quarters % TURNS if mirrored else quarters
        return torch.from_numpy(grid), torch.tensor((layout.label, turns))
