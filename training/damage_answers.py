"""Ask the service for the damage in validation photos, and compare it with the annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poligons_from_seg import rasterize
from training.answers import Service
from training.damage_data import DamagedPhoto, list_damaged, may_have_damage
from training.validation import ValidationPhoto, some_of

UNDAMAGED = 270  # limit of the undamaged photos of each of three sources


@dataclass(frozen=True)
class Shown:
    """A damage in an answer: its kind, its confidence, and true if it overlaps one of that kind."""

    kind: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class DamageAnswer:
    """The damage that a client receives for one photo, and the annotated one.

    Attributes:
        key: photos of one case, or of one car, share it.
        kinds: annotated kinds; none for photos of undamaged cars.
        shown: damages that are delivered by default.
        overlap, union: pixels that are damage in both, and in either.
    """

    key: str
    kinds: frozenset[str]
    shown: list[Shown]
    overlap: int = 0
    union: int = 0

    @property
    def found(self) -> frozenset[str]:
        """The kinds that are shown."""
        return frozenset(each.kind for each in self.shown)


def list_undamaged(
    annotated: Sequence[ValidationPhoto],
    street: Sequence[ValidationPhoto],
    cars: Sequence[ValidationPhoto],
) -> list[ValidationPhoto]:
    """Return photos of cars that hardly show damage, some of each of three sources."""
    clean = [photo for photo in street if not may_have_damage(photo.path.name)]
    tight = [photo for photo in cars if "car_types" in photo.path.parts]
    return [photo for held in (annotated, clean, tight) for photo in some_of(held, UNDAMAGED)]


def damage_answers(
    service: Service,
    data: Path,
    damaged: Sequence[ValidationPhoto],
    undamaged: Sequence[ValidationPhoto],
) -> list[DamageAnswer]:
    """Return the answers for photos of damage, then those for undamaged cars."""
    truths = {photo.path: photo for photo in list_damaged(data)}

    def compare(photo: ValidationPhoto) -> DamageAnswer:
        return _compared(service, photo, truths[photo.path])

    def look(photo: ValidationPhoto) -> DamageAnswer:
        shown = service.ask(photo.read(), damage=True).sure_damages()
        wrong = [Shown(each.kind, each.confidence, right=False) for each in shown]
        return DamageAnswer(f"{photo.kind} {photo.key}", frozenset(), wrong)

    return service.map(compare, damaged, "damage") + service.map(look, undamaged, "no damage")


def _compared(service: Service, photo: ValidationPhoto, truth: DamagedPhoto) -> DamageAnswer:
    shown = []
    size = truth.height, truth.width
    given: NDArray[np.bool_] = np.zeros(size, np.bool_)
    annotated = truth.labels() > 0
    for damage in service.ask(photo.read(), damage=True).sure_damages():
        mask = rasterize(damage.polygons, *size)
        right = bool((mask & truth.mask(damage.kind)).any())
        shown.append(Shown(damage.kind, damage.confidence, right))
        given |= mask
    overlap, union = int((given & annotated).sum()), int((given | annotated).sum())
    return DamageAnswer(truth.key, frozenset(truth.kinds), shown, overlap, union)
