"""Find damage in a photo: pieces of a label map, each with its kind and its confidence.

The damage network has the shape of the part network, and shares its crop and enlargement. It is
loaded only if damage is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from img_to_segments import CoarseSegmentation, PartSegmenter, calibrated
from options import DEFAULT_CONFIDENCE
from vision.labels import DAMAGE_KINDS
from vision.model_files import DAMAGE, MODELS, ModelDescription
from vision.part_layout import softmax
from vision.runtimes.choose import RuntimeConfig, choose
from vision.upsample import labels_remaining, upsample_labels

MOST_PIECES = 100  # damages of one photo; of more the surest are kept

_WHOLE_MAP = 96 * 128  # cells of the map to which the thresholds for cells refer

# Clothes of people in front of a car, walls and the ground can look like damage. Chosen on half of
# the validation photos: without loss of right damages it took 3 of 10 false reports of undamaged
# cars there, and 1 of 13 on the other half. With fewer sure parts, as in close-ups, the damage may
# hide the parts around it, and right ones were lost.
_SURE_PARTS = 3  # fewest parts of at least the default confidence at which a damage can be off
_LEAST_ON_CAR = 0.1  # smallest share of a damage that lies on the car


@dataclass(frozen=True)
class Piece:
    """One connected damage.

    Attributes:
        kind: one of DAMAGE_KINDS.
        confidence: calibrated, 0 to 1.
        cells: number of cells of the coarse map.
    """

    kind: str
    confidence: float
    cells: int


@dataclass(frozen=True)
class CoarseDamage:
    """The damage in a photo at the network's resolution.

    Attributes:
        logits: (1 + kinds, h, w); 0 is no damage, i the kind DAMAGE_KINDS[i - 1].
        labels: (h, w) uint8: 0 no damage, i the piece pieces[i - 1].
        pieces: in the order of DAMAGE_KINDS, the larger first.
    """

    logits: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.uint8]
    pieces: list[Piece]

    def turned(self, quarters: int) -> CoarseDamage:
        """Return a copy turned counterclockwise by a number of quarter turns."""
        return replace(
            self,
            logits=np.rot90(self.logits, quarters, (1, 2)),
            labels=np.ascontiguousarray(np.rot90(self.labels, quarters)),
        )

    def surer(self, least: float) -> CoarseDamage:
        """Return a copy without the pieces of less confidence."""
        kept = [
            number for number, piece in enumerate(self.pieces, start=1) if piece.confidence >= least
        ]
        return self._only(kept)

    def on_car(self, parts: CoarseSegmentation) -> CoarseDamage:
        """Return a copy without the pieces that lie beside the car.

        The car is the convex hull of its parts, so that pillars and the inside behind the glass
        belong to it. In a close-up with few sure parts nothing is left out.

        Args:
            parts: the parts of the car in the same photo, upright as the damage.
        """
        sure = [value for value in parts.confidences.values() if value >= DEFAULT_CONFIDENCE]
        if not self.pieces or len(sure) < _SURE_PARTS:
            return self
        car = _hull(parts.labels)
        if car.shape != self.labels.shape:
            size = self.labels.shape[::-1]
            car = cv2.resize(car, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
        all_cells = np.bincount(self.labels.ravel(), minlength=1 + len(self.pieces))
        on_car = np.bincount(self.labels[car > 0], minlength=1 + len(self.pieces))
        numbers = range(1, 1 + len(self.pieces))
        return self._only([n for n in numbers if on_car[n] >= _LEAST_ON_CAR * all_cells[n]])

    def _only(self, kept: list[int]) -> CoarseDamage:
        """Return a copy with some pieces, by their numbers from 1, ascending."""
        numbers = np.zeros(1 + len(self.pieces), np.uint8)
        numbers[kept] = np.arange(1, 1 + len(kept))
        pieces = [self.pieces[number - 1] for number in kept]
        return replace(self, labels=numbers[self.labels], pieces=pieces)

    def enlarge(self, height: int, width: int) -> DamageMap:
        """Enlarge the pieces to the size of the photo, each against the background."""
        if not self.pieces:
            return DamageMap(np.zeros((height, width), np.uint8), [])
        kinds = [0, *(1 + DAMAGE_KINDS.index(piece.kind) for piece in self.pieces)]
        labels = upsample_labels(self.logits[kinds], self.labels, height, width)
        left = labels_remaining(labels, range(1, 1 + len(self.pieces)))
        if len(left) < len(self.pieces):  # a piece can vanish in a photo smaller than the map
            numbers = np.zeros(1 + len(self.pieces), np.uint8)
            numbers[left] = np.arange(1, 1 + len(left))
            labels = numbers[labels]
        return DamageMap(labels, [self.pieces[number - 1] for number in left])


@dataclass(frozen=True)
class DamageMap:
    """The damage in a photo at the photo's size.

    Attributes:
        labels: (H, W) uint8: 0 no damage, i the piece pieces[i - 1].
        pieces: all that the map has.
    """

    labels: NDArray[np.uint8]
    pieces: list[Piece]


class DamageSegmenter:
    """The damage network, and the steps from its logits to pieces of damage.

    It is safe to call from several threads.

    Attributes:
        description: of the network.

    Raises:
        ModelFileError: the model's files can't be used.
    """

    def __init__(
        self,
        description: ModelDescription | None = None,
        folder: Path = MODELS,
        runtime: RuntimeConfig | None = None,
    ) -> None:
        runtime = runtime or choose()
        self.description = description or runtime.describe(DAMAGE, folder)
        self._network = PartSegmenter(self.description, folder, runtime)

    def cells(self, rgb: NDArray[np.uint8]) -> CoarseDamage:
        """Find the damage at the network's resolution.

        Args:
            rgb: (h, w, 3) uint8, RGB: the photo, or a smaller copy of all of it, upright.
        """
        return find_pieces(self._network.logits(rgb), self.description.thresholds)


def find_pieces(logits: NDArray[np.float32], thresholds: Mapping[str, float]) -> CoarseDamage:
    """Return the pieces of damage that are large and sure enough.

    The confidence of a piece is the mean probability of its kind over its cells, calibrated by
    Platt scaling (1999).

    Args:
        logits: (1 + kinds, h, w), from the network.
        thresholds: from the network's description. For each kind `<kind>_cells` is the fewest cells
            of a piece, for a map of 96x128 cells, and `<kind>_confidence` its least confidence.
            Optional are `<kind>_bias`, added to its logits, `<kind>_slope` and `<kind>_offset`. A
            piece below the share `island` of the largest of its kind in the photo is left out, and
            so is one of less confidence than `further`, unless it is the surest of the photo.
    """
    biases = [0.0, *(thresholds.get(f"{kind}_bias", 0.0) for kind in DAMAGE_KINDS)]
    logits = logits + np.array(biases, np.float32)[:, None, None]
    probabilities = softmax(logits)
    best = logits.argmax(0)
    found = []
    for label, kind in enumerate(DAMAGE_KINDS, start=1):
        least = thresholds[f"{kind}_cells"] * best.size / _WHOLE_MAP
        mask = (best == label).view(np.uint8)
        count, places, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        sure = []
        for place in range(1, count):
            cells = int(stats[place, cv2.CC_STAT_AREA])
            if cells < least:
                continue
            here = places == place
            confidence = calibrated(float(probabilities[label][here].mean()), kind, thresholds)
            if confidence >= thresholds[f"{kind}_confidence"]:
                sure.append((Piece(kind, confidence, cells), here))
        largest = max((piece.cells for piece, _ in sure), default=0)
        island = thresholds.get("island", 0.0) * largest
        found += [entry for entry in sure if entry[0].cells >= island]
    surest = sorted(found, key=lambda entry: -entry[0].confidence)[:MOST_PIECES]
    further = thresholds.get("further", 0.0)
    surest = surest[:1] + [entry for entry in surest[1:] if entry[0].confidence >= further]
    surest.sort(key=lambda entry: (DAMAGE_KINDS.index(entry[0].kind), -entry[0].cells))
    labels = np.zeros(best.shape, np.uint8)
    for number, (_, here) in enumerate(surest, start=1):
        labels[here] = number
    return CoarseDamage(logits, labels, [piece for piece, _ in surest])


def _hull(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the convex hull of all parts in a label map, (h, w) uint8: 1 inside, 0 outside."""
    hull = np.zeros(labels.shape, np.uint8)
    outline = cv2.convexHull(cv2.findNonZero((labels > 0).view(np.uint8)))
    return cv2.fillConvexPoly(hull, outline, (1,)).astype(np.uint8)
