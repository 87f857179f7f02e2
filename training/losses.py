"""Compute the losses of the part, type, layout and damage networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.parts_data import IGNORE
from training.type_data import NO_CAR

SHARPER = 1.5  # power of a teacher's probabilities
UNSURE, SURE = 0.35, 0.65  # cells count from nothing to fully between these probabilities
UNSURE_NEW, SURE_NEW = 0.55, 0.85  # the same for labels that a network does not know yet
NEW = 2.0  # weight of a teacher's new labels relative to its background
DOORS = 0.4  # weight of the doors relative to that of the types
TURN = 0.6  # weight of the turn relative to that of the types
SUREST = 45  # cells of a kind of damage by which a photo shows it
PRESENT = 80  # pixels at half resolution; a kind with fewer is neither present nor absent
_FEW = 20  # a label with fewer cells in a batch has no Dice


def dice_loss(chances: Tensor, truth: Tensor) -> Tensor:
    """Return the mean soft Dice over the labels of a batch; both are (n, labels, h, w).

    Dice (Milletari et al. 2016) weighs small parts as much as large ones.
    """
    overlap = (chances * truth).sum((0, 2, 3))
    sizes = truth.sum((0, 2, 3))
    total = chances.sum((0, 2, 3)) + sizes
    seen = (sizes > _FEW).float()
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return (dice * seen).sum() / seen.sum().clamp_min(1)


def hard_parts_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return cross-entropy plus Dice at half resolution; ignored pixels count in neither.

    Args:
        logits: (n, labels, h, w) float32.
        labels: (n, 2h, 2w) int64, 255 ignored.
    """
    logits = F.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
    valid = labels != IGNORE
    truth = F.one_hot(torch.where(valid, labels, 0), logits.shape[1]).movedim(-1, 1)
    errors = F.cross_entropy(logits, torch.where(valid, labels, 0), reduction="none")
    entropy = (errors * valid).sum() / valid.sum().clamp_min(1)
    mask = valid[:, None].float()
    return entropy + dice_loss(logits.softmax(1) * mask, truth * mask)


def soft_parts_loss(logits: Tensor, taught: Tensor) -> Tensor:
    """Return cross-entropy plus Dice with the labels of a teacher; unsure cells count less.

    Args:
        logits: (n, labels, h, w) float32.
        taught: (n, labels, h, w) probabilities.
    """
    wanted = taught.pow(SHARPER)
    wanted = wanted / wanted.sum(1, keepdim=True).clamp_min(1e-6)
    weight = ((taught.amax(1) - UNSURE) / (SURE - UNSURE)).clamp(0, 1)
    errors = -(wanted * logits.log_softmax(1)).sum(1)
    entropy = (errors * weight).sum() / weight.sum().clamp_min(1)
    mask = weight[:, None]
    return entropy + dice_loss(logits.softmax(1) * mask, wanted * mask)


def parts_loss(logits: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
    """Return the mean of both losses; the photos with hard labels are the first of the batch.

    Args:
        logits: (n, labels, h, w).
        labels: (k, 2h, 2w) int64 of the first k photos.
        taught: (n - k, labels, h, w) of the others, or None if there are none.
    """
    hard = hard_parts_loss(logits[: len(labels)].float(), labels)
    if taught is None:
        return hard
    return (hard + soft_parts_loss(logits[len(labels) :].float(), taught)) / 2


def presence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of the presence of each kind in each photo.

    The logit of a kind is the mean log-odds of its SUREST cells, pooling as by WILDCAT (Durand et
    al. 2017). A kind with at least one labelled pixel, but fewer than PRESENT, does not count.

    Args:
        logits: (n, labels, h, w) float32, the background first.
        labels: (n, 2h, 2w) int64, without ignored pixels.
    """
    kinds = range(1, logits.shape[1])
    others = [torch.cat([logits[:, :k], logits[:, k + 1 :]], 1).logsumexp(1) for k in kinds]
    odds = (logits[:, 1:] - torch.stack(others, 1)).flatten(2)
    surest = odds.topk(min(SUREST, odds.shape[2]), 2).values.mean(2)
    pixels = F.one_hot(labels, logits.shape[1])[..., 1:].sum((1, 2))
    present = pixels >= PRESENT
    counted = ((pixels == 0) | present).float()
    errors = F.binary_cross_entropy_with_logits(surest, present.float(), reduction="none")
    return (errors * counted).sum() / counted.sum().clamp_min(1)


def types_loss(logits: Tensor, types: Tensor, two_doors: Tensor, known: Tensor) -> Tensor:
    """Return the cross-entropy of types and no car, and that of doors if they are known.

    Args:
        logits: (n, 10): eight types, no car, two doors.
        types: (n, 9) wanted probabilities.
        two_doors: (n,) wanted probability.
        known: (n,) weight of the doors, 0 if their number is unknown.
    """
    logits = logits.float()
    entropy = -(types * logits[:, : NO_CAR + 1].log_softmax(1)).sum(1).mean()
    errors = F.binary_cross_entropy_with_logits(logits[:, NO_CAR + 1], two_doors, reduction="none")
    return entropy + DOORS * (errors * known).sum() / known.sum().clamp_min(1)


def layout_loss(logits: Tensor, types: Tensor, turns: Tensor, weights: Tensor) -> Tensor:
    """Return the cross-entropy of types and of turns, with label smoothing.

    Args:
        logits: (n, 12): eight types, four turns.
        types: (k,) int64 types of the first k layouts.
        turns: (n,) int64 quarter turns clockwise.
        weights: (n,) of the turns.
    """
    logits, known = logits.float(), len(types)
    right = F.cross_entropy(logits[:known, :NO_CAR], types, label_smoothing=0.05)
    errors = F.cross_entropy(logits[:, NO_CAR:], turns, label_smoothing=0.05, reduction="none")
    return right + TURN * (errors * weights).sum() / weights.sum().clamp_min(1e-6)


def new_labels_loss(logits: Tensor, labels: Tensor, known: int) -> Tensor:
    """Return cross-entropy plus Dice of new labels at half resolution.

    Background is told from new labels only, and the old labels teach nothing.

    Args:
        logits: (n, labels, h, w) float32.
        labels: (n, 2h, 2w) int64, 255 ignored.
        known: number of old labels, background included.
    """
    logits = F.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
    new, background = (labels >= known) & (labels != IGNORE), labels == 0
    truth = torch.where(new, labels, 0)
    of_new = F.cross_entropy(logits, truth, reduction="none")
    of_background = F.cross_entropy(_new_only(logits, known), truth * 0, reduction="none")
    errors = of_new * new + of_background * background
    entropy = errors.sum() / (new | background).sum().clamp_min(1)
    mask = (labels != IGNORE)[:, None].float()
    wanted = F.one_hot(truth, logits.shape[1]).movedim(-1, 1)[:, known:]
    return entropy + dice_loss(logits.softmax(1)[:, known:] * mask, wanted * mask)


def old_labels_loss(logits: Tensor, before: Tensor, labels: Tensor) -> Tensor:
    """Return the KL divergence to an old network; new labels and background count as one.

    This keeps the old labels as they were (Hinton et al. 2015; Li and Hoiem 2016; the sum with
    the background as in Cermelli et al. 2020). Cells of a new label do not count.

    Args:
        logits: (n, labels, h, w) float32.
        before: (n, old labels, h, w) logits of the old network.
        labels: (n, 2h, 2w) int64, 255 ignored.
    """
    known = before.shape[1]
    rest = _new_only(logits, known).logsumexp(1, keepdim=True)
    now = torch.cat([rest, logits[:, 1:known]], 1).log_softmax(1)
    wanted = before.log_softmax(1)
    divergence = (wanted.exp() * (wanted - now)).sum(1)
    cells = labels[:, ::2, ::2]
    counted = (cells < known) | (cells == IGNORE)
    return (divergence * counted).sum() / counted.sum().clamp_min(1)


def taught_new_labels_loss(logits: Tensor, taught: Tensor, before: Tensor) -> Tensor:
    """Return cross-entropy plus half of Dice with a teacher's new labels and background.

    Cells count by the teacher's certainty, and by the old network's background. Inputs without
    a teacher's labels have zeros.

    Args:
        logits: (n, labels, h, w) float32.
        taught: (n, labels, h, w) probabilities.
        before: (n, old labels, h, w) logits of the old network.
    """
    known = before.shape[1]
    wanted = _new_only(taught, known)
    wanted = wanted / wanted.sum(1, keepdim=True).clamp_min(1e-4)
    weight = ((wanted.amax(1) - UNSURE_NEW) / (SURE_NEW - UNSURE_NEW)).clamp(0, 1)
    weight = weight * before.softmax(1)[:, 0]
    wanted = wanted.pow(SHARPER)
    wanted = wanted / wanted.sum(1, keepdim=True).clamp_min(1e-4)
    likely = _new_only(logits, known).log_softmax(1)
    errors = -(wanted * likely)
    errors = errors[:, 0] + NEW * errors[:, 1:].sum(1)
    entropy = (errors * weight).sum() / weight.sum().clamp_min(1)
    mask = weight[:, None]
    return entropy + dice_loss(likely.exp()[:, 1:] * mask, wanted[:, 1:] * mask) / 2


def _new_only(maps: Tensor, known: int) -> Tensor:
    """Return the channels of the background and of the new labels."""
    return torch.cat([maps[:, :1], maps[:, known:]], 1)
