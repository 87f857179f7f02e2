"""The type and the layout network learn their further outputs: doors, and turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.tiny import write_data
from training.shape_data import Layout, ShapeDataset, quarter_turned
from training.train_shapes import SIZE, smoothed_loss
from training.train_types import mixed_loss
from training.type_data import NO_CAR, TypeDataset, list_samples

MARGIN = {"side": 0.0, "top": 0.0, "bottom": 0.0}


class Fixed(nn.Module):
    """A network that returns the same logits for all inputs."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def test_doors_count_if_known() -> None:
    x, label = torch.zeros(64, 3, 8, 8), 4
    losses = {}
    for doors in (1, 0, -1):
        target = torch.tensor((label, doors)).expand(64, 2)
        two = torch.zeros(NO_CAR + 2)
        two[NO_CAR + 1] = 4.0  # two doors, surely
        losses[doors] = mixed_loss(Fixed(two), (x, target)).item()
    assert losses[0] > losses[1] + 1 > losses[-1] + 1
    assert losses[1] == pytest.approx(losses[-1], abs=0.01)


def test_samples_have_type_and_doors(tmp_path: Path) -> None:
    samples = list_samples(write_data(tmp_path), "val")
    dataset = TypeDataset(samples, (32, 48), epoch=0)
    assert [dataset[i][1].tolist() for i in range(len(samples))] == [
        list(sample.target) for sample in samples
    ]


def layout() -> Layout:
    """Return a map 4 x 6 in which label 1 fills the upper left corner."""
    labels = np.zeros((4, 6), np.uint8)
    labels[0, 0:2] = 1
    probabilities = (np.arange(19)[:, None, None] == labels).astype(np.uint8) * 255
    return Layout(probabilities, (0.0, 0.0, 2.0, 1.0), label=4, street=False)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_box_turns_with_parts(quarters: int) -> None:
    turned = quarter_turned(layout(), quarters)
    x0, y0, x1, y1 = (int(value) for value in turned.box)
    inside = np.zeros(turned.probabilities.shape[1:], bool)
    inside[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(turned.probabilities[1] > 0, inside)
    corner = {0: (0, 0), 1: (0, 3), 2: (3, 5), 3: (5, 0)}[quarters]  # clockwise
    assert turned.probabilities[1][corner] == 255


def test_turns_are_labelled_also_in_mirrored_photos() -> None:
    """The position of a lone part, up, down, left or right of the middle, shows the turn."""
    labels = np.zeros((12, 12), np.uint8)
    labels[0:3, 4:8] = 13  # the top of the car
    probabilities = (np.arange(19)[:, None, None] == labels).astype(np.uint8) * 255
    one = Layout(probabilities, (0.0, 0.0, 12.0, 12.0), label=4, street=False)
    seen = set()
    for epoch in range(60):
        grid, target = ShapeDataset([one], SIZE, MARGIN, epoch)[0]
        height, width = SIZE
        mass = grid[13]
        if mass.sum() < 1:  # it was hidden
            continue
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        y = ((mass * rows).sum() / mass.sum() - height / 2).item()
        x = ((mass * columns).sum() / mass.sum() - width / 2).item()
        side = (0 if y < 0 else 2) if abs(y) > abs(x) else (1 if x > 0 else 3)
        assert side == target[1].item()
        seen.add(side)
    assert seen == {0, 1, 2, 3}


def test_layout_loss_has_type_and_turn() -> None:
    x, target = torch.zeros(2, 19, 4, 4), torch.tensor([[4, 1], [4, 1]])
    right = torch.zeros(12)
    right[4], right[8 + 1] = 9.0, 9.0
    wrong_turn = right.clone()
    wrong_turn[8:] = torch.tensor([9.0, 0, 0, 0])
    assert smoothed_loss(Fixed(wrong_turn), (x, target)) > smoothed_loss(Fixed(right), (x, target))
