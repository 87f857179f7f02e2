"""Find the parts in label maps, so that a training can show them from near."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from training.photos import Indices
from training.teacher_labels import STRIDE, SoftLabels
from vision.labels import BASIC_PARTS, WHEEL, label_of

Box = tuple[float, float, float, float]
Boxes = NDArray[np.float64]

# Shares of the close-ups. A network that saw parts at most 2.6 times as large lacks mirrors and
# lights most; with fewer other parts it forgets rear windows.
_SHARES = {"mirror": 0.28, "light": 0.25, "wheel": 0.13, "": 0.34}
_SMALLEST = 60  # pixels of a part of an annotated photo
_FEWEST, _SURE = 6, 0.7  # cells of a part in a teacher's labels, and their mean probability
_EMPTY = (0.1, 0.35)  # sides of a close-up without a car, in shares of the photo's


@dataclass(frozen=True)
class PartBoxes:
    """Parts of photos of one kind: group of the part, photo and box of each."""

    groups: list[str]
    photos: list[int]
    boxes: list[Box]

    def __len__(self) -> int:
        return len(self.photos)

    def shares(self) -> dict[str, float]:
        """Return the shares of the groups that occur."""
        known = {group: share for group, share in _SHARES.items() if group in self.groups}
        return {group: share / sum(known.values()) for group, share in known.items()}

    def draw(self, rng: Generator) -> tuple[int, Box]:
        """Return photo and box of a random part; groups have their shares."""
        shares = self.shares()
        group = rng.choice(list(shares), p=list(shares.values()))
        members = [index for index, own in enumerate(self.groups) if own == group]
        index = members[int(rng.integers(len(members)))]
        return self.photos[index], self.boxes[index]

    def add(self, mask: NDArray[np.uint8], label: int, photo: int, fewest: int, cell: int) -> None:
        """Add each piece of a wheel, and other parts as a whole, if they have enough cells."""
        if label == WHEEL:
            _, _, found, _ = cv2.connectedComponentsWithStats(mask)
            pieces = [row[:4].tolist() for row in found[1:] if row[4] >= fewest]
        else:
            pieces = [cv2.boundingRect(mask)] if int(mask.sum()) >= fewest else []
        for x, y, width, height in pieces:
            self.groups.append(_group(label))
            self.photos.append(photo)
            self.boxes.append((x * cell, y * cell, width * cell, height * cell))


def _group(label: int) -> str:
    name = BASIC_PARTS[label - 1]
    return next(group for group in _SHARES if group in name)


def annotated_parts(labels: Tensor, photos: Indices) -> PartBoxes:
    """Return the basic parts of annotated photos, from their label maps (n, side, side) uint8."""
    parts, maps = PartBoxes([], [], []), labels.cpu().numpy()
    for index in photos.tolist():
        for name in BASIC_PARTS:
            mask = (maps[index] == label_of(name)).astype(np.uint8)
            parts.add(mask, label_of(name), index, _SMALLEST, 1)
    return parts


def taught_parts(soft: SoftLabels, train: Indices) -> PartBoxes:
    """Return the basic parts of photos that are sure in a teacher's labels."""
    parts = PartBoxes([], [], [])
    for index in np.intersect1d(train, np.flatnonzero(soft.usable())).tolist():
        chances = soft.maps.read(np.array([index]))[0].view(-1, soft.side, soft.side)
        best, labels = (each.cpu().numpy() for each in chances.max(0))
        for name in BASIC_PARTS:
            mask = (labels == label_of(name)).astype(np.uint8)
            if mask.any() and best[mask > 0].mean() > _SURE:
                parts.add(mask, label_of(name), index, _FEWEST, STRIDE)
    return parts


def random_boxes(sizes: Boxes, rng: Generator) -> Boxes:
    """Return boxes (n, 4) somewhere in photos of sizes (n, 2), as small as those of parts."""
    sides = sizes * rng.uniform(*_EMPTY, sizes.shape)
    return np.concatenate([rng.uniform(0, 1, sizes.shape) * (sizes - sides), sides], 1)
