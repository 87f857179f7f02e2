"""Test the losses by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from training.losses import (
    hard_parts_loss,
    layout_loss,
    new_labels_loss,
    old_labels_loss,
    parts_loss,
    presence_loss,
    soft_parts_loss,
    taught_new_labels_loss,
    types_loss,
)
from training.parts_data import IGNORE
from training.type_data import NO_CAR
from training.weights import PARTS
from vision.labels import BASIC_PARTS, label_of
from vision.networks import build_network

HOOD = label_of("hood")


def logits_of(labels: torch.Tensor, sure: float = 9.0) -> torch.Tensor:
    """Return logits (1, labels, h, w) that are sure of a label map (h, w)."""
    return functional.one_hot(labels, PARTS["classes"]).movedim(-1, 0)[None] * sure


def label_map() -> torch.Tensor:
    labels = torch.zeros(8, 8, dtype=torch.long)
    labels[:, 4:] = HOOD
    return labels


def test_right_labels_have_low_loss() -> None:
    truth = label_map().repeat_interleave(2, 0).repeat_interleave(2, 1)[None]
    right, wrong = logits_of(label_map()), logits_of(label_map().flip(1))
    assert hard_parts_loss(right, truth) < 0.5
    assert hard_parts_loss(wrong, truth) > 5


def test_ignored_pixels_teach_nothing() -> None:
    truth = torch.full((1, 16, 16), IGNORE)
    logits = logits_of(label_map()).clone().requires_grad_()
    hard_parts_loss(logits, truth).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def damage_logits(cells: int, height: float) -> torch.Tensor:
    """Return logits (1, 3, 10, 10), 0 but for the first kind in the first cells."""
    logits = torch.zeros(1, 3, 100)
    logits[:, 1, :cells] = height
    return logits.view(1, 3, 10, 10)


def damage_map(pixels: int, kind: int = 1) -> torch.Tensor:
    """Return labels (1, 20, 20), of a kind in the first pixels."""
    labels = torch.zeros(1, 400, dtype=torch.long)
    labels[:, :pixels] = kind
    return labels.view(1, 20, 20)


def test_presence_of_even_logits() -> None:
    # The odds of each of two kinds are 1 to 2 in all cells: a probability of a third.
    absent = presence_loss(damage_logits(0, 0.0), damage_map(0))
    assert absent.item() == pytest.approx(-math.log(2 / 3))
    present = presence_loss(damage_logits(0, 0.0), damage_map(80))
    assert present.item() == pytest.approx(-(math.log(1 / 3) + math.log(2 / 3)) / 2)


def test_presence_of_surest_cells() -> None:
    # In 9 of the 45 surest cells the odds are e^5 to 2, in the others 1 to 2.
    odds = (9 * (5 - math.log(2)) + 36 * -math.log(2)) / 45
    first = math.log(1 + math.exp(-odds))
    # Of the second kind the other 91 cells are surest, with odds of 1 to 2.
    second = math.log(1 + 1 / 2)
    loss = presence_loss(damage_logits(9, 5.0), damage_map(100))
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_presence_of_few_pixels_does_not_count() -> None:
    # Only the second kind counts, which is absent.
    for pixels in (1, 79):
        loss = presence_loss(damage_logits(0, 0.0), damage_map(pixels))
        assert loss.item() == pytest.approx(math.log(1 + 1 / 2))
    logits = damage_logits(30, 3.0)[:, :2].requires_grad_()
    presence_loss(logits, damage_map(79)).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_unsure_teachers_teach_nothing() -> None:
    logits = logits_of(label_map()).clone().requires_grad_()
    taught = torch.full_like(logits, 1 / PARTS["classes"]).detach()
    soft_parts_loss(logits, taught).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_sure_teachers_teach_their_labels() -> None:
    taught = logits_of(label_map()).softmax(1)
    right, wrong = logits_of(label_map()), logits_of(label_map().flip(1))
    assert soft_parts_loss(right, taught) < 0.5
    assert soft_parts_loss(wrong, taught) > 5


def test_training_steps_lower_loss() -> None:
    torch.manual_seed(0)
    network = build_network("pyramid", PARTS).train()
    x, labels = torch.randn(2, 3, 64, 64), torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, 16:] = HOOD
    taught = logits_of(torch.full((16, 16), HOOD)).softmax(1)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        loss = parts_loss(network(x), labels, taught)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_doors_count_if_they_are_known() -> None:
    types = torch.full((64, NO_CAR + 1), 1 / (NO_CAR + 1))
    logits = torch.zeros(64, NO_CAR + 2)
    logits[:, NO_CAR + 1] = 4.0  # surely two doors
    known, unknown = torch.ones(64), torch.zeros(64)
    two, four, nothing = (
        types_loss(logits, types, wanted, weight).item()
        for wanted, weight in ((known, known), (unknown, known), (known, unknown))
    )
    assert four > two + 1
    assert two == pytest.approx(nothing, abs=0.01)


def test_layouts_ask_for_type_and_turn() -> None:
    right = torch.zeros(2, 12)
    right[:, 4], right[:, NO_CAR + 1] = 9.0, 9.0
    turned, other = right.clone(), right.clone()
    turned[:, NO_CAR + 1], turned[:, NO_CAR] = 0.0, 9.0
    other[:, 4], other[:, 5] = 0.0, 9.0
    types, turns, weights = torch.tensor([4]), torch.tensor([1, 1]), torch.ones(2)
    best = layout_loss(right, types, turns, weights)
    assert layout_loss(turned, types, turns, weights) > best + 1
    assert layout_loss(other, types, turns, weights) > best + 1
    assert layout_loss(turned, types, turns, torch.zeros(2)) < best + 1


KNOWN = len(BASIC_PARTS) + 1
ROOF = label_of("roof")


def with_roof() -> torch.Tensor:
    labels = label_map()
    labels[:, :2] = ROOF
    return labels


def doubled(labels: torch.Tensor) -> torch.Tensor:
    return labels.repeat_interleave(2, 0).repeat_interleave(2, 1)[None]


def test_new_labels_loss_teaches_no_old_label() -> None:
    truth = doubled(with_roof())
    right = with_roof()
    other = torch.where(right == HOOD, label_of("wheel"), right)
    loss = new_labels_loss(logits_of(right), truth, KNOWN)
    assert loss < 0.5
    torch.testing.assert_close(new_labels_loss(logits_of(other), truth, KNOWN), loss)
    assert new_labels_loss(logits_of(label_map()), truth, KNOWN) > loss + 1


def test_old_labels_loss_counts_new_labels_as_background() -> None:
    before = logits_of(label_map())[:, :KNOWN]
    nothing = torch.zeros(1, 16, 16, dtype=torch.long)
    kept = old_labels_loss(logits_of(with_roof()), before, nothing)
    assert kept < 0.1
    assert old_labels_loss(logits_of(label_map().flip(1)), before, nothing) > 1
    # Cells that are annotated as a new label do not count.
    lost = torch.where(with_roof() == ROOF, HOOD, label_map())
    assert old_labels_loss(logits_of(lost), before, nothing) > 1
    assert old_labels_loss(logits_of(lost), before, doubled(with_roof())) < 0.1


def test_taught_new_labels_count_on_background_of_old_network_only() -> None:
    before = logits_of(label_map())[:, :KNOWN]
    taught = logits_of(with_roof()).softmax(1)
    assert taught_new_labels_loss(logits_of(with_roof()), taught, before) < 0.1
    assert taught_new_labels_loss(logits_of(label_map()), taught, before) > 1
    covered = logits_of(torch.full((8, 8), HOOD))[:, :KNOWN]
    assert taught_new_labels_loss(logits_of(label_map()), taught, covered) < 0.1
    assert taught_new_labels_loss(logits_of(label_map()), taught * 0, before) == 0
