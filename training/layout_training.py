"""Train the layout network: type and turn of a car by where its parts lie."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from training.fit import Step
from training.layouts import Layouts
from training.losses import layout_loss
from training.parts_data import FLIPPED
from training.photos import Indices
from training.precision import mixed_precision
from training.types_photos import UNKNOWN
from training.warps import (
    Matrices,
    scaling,
    shifting,
    slanting,
    source_points,
    turning,
)
from training.weights import BASIC_CLASSES, LAYOUT_SIZE, MARGIN, PARTS_SIZE, TURNS
from vision.labels import TYPE_NAMES

STRIDE = 4
_OTHERS = 6.0  # how much more often photos of other sources than `car_types` are drawn
_UPRIGHT = 0.3  # weight of the turn of the photos that teach the type: they are all upright
_DAMAGED = 0.6  # weight of the turn of photos of damaged cars
_MOST_AVERAGED = 5  # cells along a side that are averaged
_GONE = (0.5, 0.33, 0.17)  # how often a first, second and third part is removed
_HIDDEN = 0.2  # share of layouts with an obstacle in front of the car


def box_warps(boxes: Matrices) -> Matrices:
    """Return the warps (n, 3, 3) that centre boxes with their margin in the network's grid."""
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    x0, x1 = boxes[:, 0] - MARGIN["side"] * wide, boxes[:, 2] + MARGIN["side"] * wide
    y0, y1 = boxes[:, 1] - MARGIN["top"] * high, boxes[:, 3] + MARGIN["bottom"] * high
    height, width = LAYOUT_SIZE
    scale = np.minimum(height / (y1 - y0), width / (x1 - x0))
    across, down = width / 2 - scale * (x0 + x1) / 2, height / 2 - scale * (y0 + y1) / 2
    return shifting(across, down) @ scaling(scale, scale)


def random_changes(count: int, rng: Generator) -> tuple[Matrices, NDArray[np.bool_]]:
    """Draw warps (n, 3, 3) of the grid around its centre, and true for those that mirror."""
    height, width = LAYOUT_SIZE
    mirrored = rng.random(count) < 0.5
    scale = rng.uniform(0.7, 1.2, count)
    degrees = rng.normal(0, 4, count) * np.where(rng.random(count) < 0.1, 2.5, 1.0)
    move = rng.uniform(-0.07, 0.07, (count, 2)) * (width, height)
    across = scale * rng.uniform(0.85, 1.18, count) * np.where(mirrored, -1, 1)
    warps = (
        shifting(width / 2 + move[:, 0], height / 2 + move[:, 1])
        @ turning(np.deg2rad(degrees))
        @ slanting(rng.normal(0, 0.05, count))
        @ scaling(across, scale)
        @ shifting(np.full(count, -width / 2), np.full(count, -height / 2))
    )
    return warps, mirrored


def grids(layouts: Layouts, rows: Indices, warps: Matrices) -> Tensor:
    """Return the inputs (n, labels, 32, 48) of layouts, as `part_layout.place_label_map` does."""
    height, width = (side // STRIDE for side in PARTS_SIZE)
    shrink = 1 / np.sqrt(np.abs(np.linalg.det(warps[:, :2, :2])))
    # If several cells fall on one cell of the grid, they are averaged, not skipped.
    steps = np.clip(shrink.astype(int), 1, _MOST_AVERAGED)
    cells = layouts.maps.read(rows)
    out = torch.zeros((len(rows), BASIC_CLASSES, *LAYOUT_SIZE), device=cells.device)
    for tall in (False, True):
        shape = (width, height) if tall else (height, width)
        for step in np.unique(steps).tolist():
            chosen = np.flatnonzero((layouts.tall[rows] == tall) & (steps == step))
            if len(chosen):
                place = torch.from_numpy(chosen).to(cells.device)
                maps = cells[place].view(-1, BASIC_CLASSES, *shape)
                points = source_points(warps[chosen], LAYOUT_SIZE, cells.device)
                out[place] = _interpolate(maps, points, step)
    return out


def _interpolate(maps: Tensor, points: Tensor, step: int) -> Tensor:
    """Interpolate averaged maps (n, labels, h, w) at points; outside is background."""
    maps = maps / maps.sum(1, keepdim=True).clamp_min(1e-6)
    maps[:, 0] -= 1
    if step > 1:
        maps = F.avg_pool2d(maps, step, ceil_mode=True)
    height, width = maps.shape[2] * step, maps.shape[3] * step
    grid = points / torch.tensor([width, height], device=points.device) * 2 - 1
    out = F.grid_sample(maps, grid, padding_mode="zeros", align_corners=False)
    out[:, 0] += 1
    return out


def remove_parts(grid: Tensor) -> Tensor:
    """Remove up to three parts of each grid (n, labels, h, w): networks miss some."""
    count, device = len(grid), grid.device
    gone = torch.zeros((count, BASIC_CLASSES), device=device)
    for share in _GONE:
        part = torch.randint(1, BASIC_CLASSES, (count, 1), device=device)
        gone.scatter_(1, part, (torch.rand(count, 1, device=device) < share).float())
    lost = (grid * gone[:, :, None, None]).sum(1)
    grid = grid * (1 - gone[:, :, None, None])
    grid[:, 0] += lost
    return grid


def hide_area(grid: Tensor, rng: Generator) -> Tensor:
    """Put a rectangle of background in front of a share of the grids (n, labels, h, w)."""
    count, (height, width) = len(grid), LAYOUT_SIZE
    top, left = rng.integers(0, height - 4, count), rng.integers(0, width - 4, count)
    bottom = top + rng.integers(3, height // 2, count)
    right = left + rng.integers(3, width // 3, count)
    y, x = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    top, left, bottom, right = (n[:, None, None] for n in (top, left, bottom, right))
    hidden = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    hidden &= (rng.random(count) < _HIDDEN)[:, None, None]
    empty = torch.zeros_like(grid)
    empty[:, 0] = 1
    return torch.where(torch.from_numpy(hidden).to(grid.device)[:, None], empty, grid)


def change_confidence(grid: Tensor) -> Tensor:
    """Make half of the grids (n, labels, h, w) those of a surer, or less sure, part network."""
    power = torch.rand(len(grid), 1, 1, 1, device=grid.device) * 1.4 + 0.6
    keep = torch.rand(len(grid), 1, 1, 1, device=grid.device) < 0.5
    grid = grid.clamp_min(1e-6).pow(torch.where(keep, torch.ones_like(power), power))
    return grid / grid.sum(1, keepdim=True)


class LayoutBatches:
    """Draws batches of layouts: half are upright with a type, half are in any turn.

    Args:
        layouts: those of "train" are drawn.
        batch: layouts per step.

    Raises:
        ValueError: the part network sees no car of a known type.
    """

    def __init__(self, layouts: Layouts, batch: int) -> None:
        self._layouts, self._half, self._batch = layouts, batch // 2, batch
        usable = (layouts.splits == "train") & (layouts.parts > 0)
        self._any = np.flatnonzero(usable)
        known = usable & (layouts.turns == 0) & (layouts.types != UNKNOWN)
        self._typed = np.flatnonzero(known)
        if not len(self._typed):
            raise ValueError("the part network sees a car in none of the photos of a known type")
        types = layouts.types[self._typed]
        counts = np.bincount(types, minlength=len(TYPE_NAMES))
        others = np.isin(layouts.sources[self._typed], ("street", "car_parts"))
        weights = np.where(others, _OTHERS, 1.0) / np.sqrt(counts[types])
        self._shares = weights / weights.sum()
        damaged = np.where(layouts.sources == "damage", _DAMAGED, 1.0)
        self._weights = np.clip((layouts.parts - 1) / 4, 0.1, 1.0) * damaged

    def draw(self, rng: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw inputs (n, labels, 32, 48) and the targets of `losses.layout_loss`."""
        layouts = self._layouts
        typed = rng.choice(self._typed, self._half, p=self._shares)
        rows = np.concatenate([typed, rng.choice(self._any, self._batch - self._half)])
        changes, mirrored = random_changes(len(rows), rng)
        grid = grids(layouts, rows, changes @ box_warps(layouts.boxes[rows]))
        channels = torch.from_numpy(FLIPPED[:BASIC_CLASSES].astype(np.int64)).to(grid.device)
        flags = torch.from_numpy(mirrored).to(grid.device).view(-1, 1, 1, 1)
        grid = torch.where(flags, grid[:, channels], grid)
        grid = change_confidence(hide_area(remove_parts(grid), rng))
        # The mirror image of a photo turned clockwise is turned counterclockwise.
        turns = np.where(mirrored, -layouts.turns[rows] % TURNS, layouts.turns[rows])
        weights = self._weights[rows].astype(np.float32)
        weights[: self._half] *= _UPRIGHT
        device = grid.device
        types = torch.from_numpy(layouts.types[typed]).to(device)
        return (
            grid,
            types,
            torch.from_numpy(turns).to(device),
            torch.from_numpy(weights).to(device),
        )


def layout_step(batches: LayoutBatches) -> Step:
    """Return the step that trains the layout network."""

    def step(network: nn.Module, rng: Generator) -> tuple[Tensor, int]:
        x, types, turns, weights = batches.draw(rng)
        with mixed_precision(x.device):
            logits = network(x.contiguous(memory_format=torch.channels_last))
        return layout_loss(logits, types, turns, weights), len(x)

    return step


@torch.no_grad()
def layout_logits(layouts: Layouts, rows: Indices, network: nn.Module, batch: int) -> Tensor:
    """Return the logits (n, 12) of layouts as the service sees them."""
    out = [torch.zeros((0, len(TYPE_NAMES) + TURNS))]
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        x = grids(layouts, chosen, box_warps(layouts.boxes[chosen]))
        out.append(network(x.contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(out)
