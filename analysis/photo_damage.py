"""Define the damage in a result: its outlines, and the parts on which it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from analysis.damage_segments import DamageMap
from poligons_from_seg import Polygon, Ring, label_map_to_outlines
from vision.labels import PART_NAMES, name_of

# A part is damaged if this share of a damage lies on it, or if a damage covers this share of it.
_LEAST_SHARE = 0.1


@dataclass(frozen=True)
class PartShare:
    """The share of a part's area that a damage covers, 0..1, and the part's name."""

    name: str
    share: float


@dataclass(frozen=True)
class Damage:
    """One connected damage with its polygons.

    Attributes:
        number: its label in the map of damage, from 1.
        kind: one of DAMAGE_KINDS.
        confidence: 0..1.
        area: number of pixels of its mask.
        bbox: (x, y, width, height) of its mask in pixels.
        polygons: one per visible piece, largest first.
        parts: the parts on which it lies, the one with most of its pixels first.
    """

    number: int
    kind: str
    confidence: float
    area: int
    bbox: tuple[int, int, int, int]
    polygons: list[Polygon]
    parts: list[PartShare]


def outline_damage(
    found: DamageMap, parts: NDArray[np.uint8], areas: Mapping[int, int], scale: int = 1
) -> list[Damage]:
    """Return the damages of a photo with their polygons and parts, in the order of the map.

    Args:
        found: the damage.
        parts: uint8 label map of the parts, of the same size as that of the damage.
        areas: pixels of the photo on each part that counts, by its label.
        scale: pixels of the photo for each of both maps, on both axes.
    """
    outlines = label_map_to_outlines(found.labels, scale=scale)
    in_map = {label: area / scale**2 for label, area in areas.items()}
    damages = []
    for number, piece in enumerate(found.pieces, start=1):
        outline = outlines[number]
        x, y, width, height = (side // scale for side in outline.bbox)
        window = slice(y, y + height), slice(x, x + width)
        mask = found.labels[window] == number
        damages.append(
            Damage(
                number=number,
                kind=piece.kind,
                confidence=round(piece.confidence, 4),
                area=outline.area,
                bbox=outline.bbox,
                polygons=outline.polygons,
                parts=_shares(mask, parts[window], in_map),
            )
        )
    return damages


def _shares(
    mask: NDArray[np.bool_], parts: NDArray[np.uint8], areas: Mapping[int, float]
) -> list[PartShare]:
    """Return the parts under a mask, and the share of each that it covers.

    Args:
        mask: (h, w) bool, a damage.
        parts: (h, w) uint8, the same window of the label map of the parts.
        areas: pixels of the map on each part that counts, by its label.
    """
    labels = 1 + len(PART_NAMES)
    window = np.ascontiguousarray(parts)
    # numpy would convert all pixels to 64 bits first
    counts = cv2.calcHist([window], [0], mask.view(np.uint8), [labels], [0, labels]).ravel()
    total = counts.sum()
    common = {label: float(counts[label]) for label in areas if counts[label]}
    on = [
        label
        for label, pixels in common.items()
        if max(pixels / total, pixels / areas[label]) >= _LEAST_SHARE
    ]
    on.sort(key=lambda label: (-common[label], label))
    return [PartShare(name_of(label), round(common[label] / areas[label], 4)) for label in on]


def count_damages(count: int) -> str:
    """Return a sentence on the number of damages."""
    if count == 0:
        return "No damage was found."
    return "1 damage was found." if count == 1 else f"{count} damages were found."


def damages_of(found: list[dict[str, Any]] | None) -> list[Damage] | None:
    """Return damages from their fields in JSON; None for None."""
    if found is None:
        return None
    damages = []
    for fields in found:
        x, y, width, height = fields["bbox"]
        changed = {
            "bbox": (x, y, width, height),
            "polygons": polygons_of(fields["polygons"]),
            "parts": [PartShare(**part) for part in fields["parts"]],
        }
        damages.append(Damage(**fields | changed))
    return damages


def polygons_of(found: list[dict[str, Any]]) -> list[Polygon]:
    """Return polygons from their fields in JSON."""
    return [
        Polygon(_ring(polygon["exterior"]), [_ring(hole) for hole in polygon["holes"]])
        for polygon in found
    ]


def _ring(points: list[list[float]]) -> Ring:
    return [(x, y) for x, y in points]
