"""Train the damage network on photos of damage and on cars without damage, and measure it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from training.augment import change_photos
from training.fit import Step
from training.losses import hard_parts_loss, presence_loss
from training.photos import Indices, PhotoSet, TrainingData
from training.precision import mixed_precision
from training.undamaged import EvenlyDrawn, MinedCars
from training.warps import (
    Jitter,
    bilinear,
    filling_warps,
    inside,
    nearest,
    normalised,
    random_warps,
    source_points,
    surrounded,
)
from training.weights import PARTS_SIZE, predict
from vision.labels import DAMAGE_KINDS

UNDAMAGED = 0.25  # share of a batch
UNDAMAGED_MINED = 0.375  # the same with mined photos, from which a trained network learns more
PRESENCE = 0.3  # weight of the kinds' presence relative to cross-entropy plus Dice
FEW = 20  # cells of 96x128; a kind with fewer is absent from a photo
_HIDDEN = 0.05  # share of photos with hidden patches, which may look like damage
_DAMAGED = Jitter((0.7, 1.45), (0.7, 1.6), close_ups=0.2, turned=0.05, degrees=10.0)


@dataclass(frozen=True)
class DamageInput:
    """A batch: inputs, and labels (n, h / 2, w / 2) int64 of damage."""

    x: Tensor
    labels: Tensor


class DamageBatches:
    """Draws batches for the damage network: photos of damage, and cars without.

    Photos of rare kinds are drawn more often. The cars without damage are annotated photos, those
    of `car_types` and those of streets. Sellers' photos among the latter are left out, since they
    may show damage.

    Args:
        data: all photos; only those of "train" are drawn.
        batch: photos per step, at least 2.
        mined: the cars without damage, hard ones more often; None to draw them by chance.
    """

    def __init__(self, data: TrainingData, batch: int, mined: MinedCars | None = None) -> None:
        self._data = data
        self._damaged = data.damaged.of_part("train")
        self._shares = _shares_by_kind(data.damaged, self._damaged)
        self._undamaged = EvenlyDrawn(data) if mined is None else mined
        share = UNDAMAGED if mined is None else UNDAMAGED_MINED
        self._clean = max(1, round(batch * share)) if len(self._undamaged) else 0
        self._broken = max(1, batch - self._clean)

    def draw(self, rng: Generator) -> DamageInput:
        """Draw a batch."""
        chosen = rng.choice(self._damaged, self._broken, p=self._shares)
        pieces = [self._cut(self._data.damaged, chosen, _DAMAGED, rng)]
        undamaged = self._undamaged.draw(self._clean, rng) if self._clean else []
        pieces += [self._cut(photos, held, jitter, rng) for photos, held, jitter in undamaged]
        x, within, labels = (torch.cat(each) for each in zip(*pieces, strict=True))
        x = normalised(change_photos(surrounded(x, within), rng, _HIDDEN))
        return DamageInput(x, labels.long())

    def _cut(
        self, photos: PhotoSet, chosen: Indices, jitter: Jitter, rng: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return warped photos, what is inside of them, and their labels at half resolution."""
        sizes = photos.sizes[chosen]
        warps, _ = random_warps(sizes, PARTS_SIZE, jitter, rng)
        points = source_points(warps, PARTS_SIZE, photos.device)
        if photos is self._data.damaged:
            maps = self._data.damage[torch.from_numpy(chosen).to(photos.device)]
            labels = nearest(maps, sizes, source_points(warps, PARTS_SIZE, photos.device, 2))
        else:
            shape = (len(chosen), PARTS_SIZE[0] // 2, PARTS_SIZE[1] // 2)
            labels = torch.zeros(shape, dtype=torch.uint8, device=photos.device)
        return bilinear(photos.take(chosen), sizes, points), inside(points, sizes), labels


def _shares_by_kind(photos: PhotoSet, chosen: Indices) -> NDArray[np.float64]:
    """Return how often each photo is drawn, by the square root of its rarest kind's number."""
    kinds = [photos.rows[index].damage for index in chosen.tolist()]
    counts = {kind: sum(kind in held for held in kinds) for kind in DAMAGE_KINDS}
    weights = [max((counts[kind] ** -0.5 for kind in held), default=0.025) for held in kinds]
    return np.asarray(np.array(weights) / np.sum(weights), np.float64)


def damage_step(batches: DamageBatches) -> Step:
    """Return the step that trains the damage network on batches."""

    def step(network: nn.Module, rng: Generator) -> tuple[Tensor, int]:
        batch = batches.draw(rng)
        with mixed_precision(batch.x.device):
            logits = network(batch.x)
        return hard_parts_loss(logits.float(), batch.labels), len(batch.x)

    return step


def further_damage_step(batches: DamageBatches) -> Step:
    """Return the step that trains a damage network further, on the presence of kinds, too.

    Batch norms keep their statistics.
    """

    def step(network: nn.Module, rng: Generator) -> tuple[Tensor, int]:
        network.eval()  # batches with many hard cars have other statistics than photos of users
        batch = batches.draw(rng)
        with mixed_precision(batch.x.device):
            logits = network(batch.x)
        logits = logits.float()
        loss = hard_parts_loss(logits, batch.labels)
        return loss + PRESENCE * presence_loss(logits, batch.labels), len(batch.x)

    return step


@torch.no_grad()
def check_damage(data: TrainingData, network: nn.Module, batch: int) -> dict[str, float]:
    """Return figures of the damage network on the photos of "val", with nothing fitted.

    `damage_iou` is that of the pixels of any damage. For the others a photo shows a kind if at
    least FEW cells have it: `damage_macro_f1` over the kinds that occur, `damage_any_f1`, and the
    share `undamaged_damaged` of the annotated photos, which are taken for undamaged.
    """
    chosen, clean = data.damaged.of_part("val"), data.annotated.of_part("val")
    found, overlap, union = [], 0, 0
    for start in range(0, len(chosen), batch):
        these = chosen[start : start + batch]
        labels = _labels_of(network, data.damaged, these, batch)
        truth = data.damage[torch.from_numpy(these).to(data.device)]
        whole = F.interpolate(labels[:, None].float(), size=truth.shape[1:])[:, 0] > 0
        overlap += int((whole & (truth > 0)).sum())
        union += int((whole | (truth > 0)).sum())
        found.append(_present(labels))
    for start in range(0, len(clean), batch):
        these = clean[start : start + batch]
        found.append(_present(_labels_of(network, data.annotated, these, batch)))
    given = np.concatenate(found)
    annotated = [data.damaged.rows[index].damage for index in chosen.tolist()]
    annotated += [()] * len(clean)
    true = np.array([[kind in held for kind in DAMAGE_KINDS] for held in annotated])
    wrong = any_kind(given[len(chosen) :])
    return presence_figures(given, true) | {
        "damage_iou": overlap / union if union else float("nan"),
        "undamaged_damaged": float(wrong.mean()) if len(wrong) else float("nan"),
    }


def presence_figures(given: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Return F1 of the kinds that occur, their mean, and F1 of damage at all.

    Args:
        given: (n, kinds), true for kinds that are found in a photo.
        true: (n, kinds), true for kinds that are annotated.
    """
    figures = {
        f"damage_f1_{kind}": f1(given[:, number], true[:, number])
        for number, kind in enumerate(DAMAGE_KINDS)
        if true[:, number].any()
    }
    mean = float(np.mean(list(figures.values()))) if figures else float("nan")
    return figures | {
        "damage_macro_f1": mean,
        "damage_any_f1": f1(any_kind(given), any_kind(true)),
    }


def any_kind(presence: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (n,), true for photos of any kind.

    Args:
        presence: (n, kinds).
    """
    return np.asarray(presence.any(1), np.bool_)


def f1(
    given: NDArray[np.bool_], true: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> float:
    """Return F1 of photos (n,), which may have weights; 0 if nothing is found."""
    share = np.ones(len(true)) if weights is None else weights
    hits = float(share[given & true].sum())
    total = float(share[given].sum() + share[true].sum())
    return 2 * hits / total if total else 0.0


def _labels_of(network: nn.Module, photos: PhotoSet, chosen: Indices, batch: int) -> Tensor:
    """Return the labels (n, h / 4, w / 4) of photos that are stretched to the input."""
    sizes = photos.sizes[chosen]
    points = source_points(filling_warps(sizes, PARTS_SIZE), PARTS_SIZE, photos.device)
    return predict(network, bilinear(photos.take(chosen), sizes, points), batch).argmax(1)


def _present(labels: Tensor) -> NDArray[np.bool_]:
    """Return (n, kinds), true for the kinds with at least FEW cells in a label map."""
    counts = [(labels == number + 1).sum((1, 2)) >= FEW for number in range(len(DAMAGE_KINDS))]
    return torch.stack(counts, 1).cpu().numpy().astype(np.bool_)
