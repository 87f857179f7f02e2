"""Results from before results had a model version, read with today's names of parts.

They name the lid of a car as the first photos were annotated: mostly `tailgate` on sedans, coupes
and convertibles, mostly `trunk` on all others, and either where the type was unsure. That is nearly
the opposite of the English names, which are used since.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from car_classification import CarType
from img_to_segments import PART_NAMES
from pipeline import Part, outline

FIRST_VERSION = "1"  # the model version of all results that were stored without one

_LIDS = ("tailgate", "trunk")
_TYPES_WITH_TRUNK = ("convertible", "coupe", "sedan")


def has_lid(parts: list[Part]) -> bool:
    """Return True if a lid is among the parts, by either name."""
    return any(part.name in _LIDS for part in parts)


def rename_lid(
    parts: list[Part], labels: NDArray[np.uint8], car_type: CarType | None
) -> tuple[list[Part], NDArray[np.uint8]]:
    """Call the lid `trunk` on a sedan, coupe or convertible, and `tailgate` on all other cars.

    Two parts that then have the same name become one.

    Args:
        parts: of the result.
        labels: (H, W) uint8 label map; 0 background, i the part PART_NAMES[i - 1].
        car_type: of the result; its most likely type decides.

    Returns:
        The parts in the order of PART_NAMES, and the label map.
    """
    is_trunk = car_type is not None and car_type.name in _TYPES_WITH_TRUNK
    name = "trunk" if is_trunk else "tailgate"
    label = PART_NAMES.index(name) + 1
    lid = np.isin(labels, [PART_NAMES.index(lid) + 1 for lid in _LIDS])
    confidence = max(part.confidence for part in parts if part.name in _LIDS)
    kept = [part for part in parts if part.name not in _LIDS]
    renamed = outline(np.where(lid, np.uint8(label), np.uint8(0)), {name: confidence})
    kept += renamed
    kept.sort(key=lambda part: PART_NAMES.index(part.name))
    return kept, np.where(lid, np.uint8(label), labels)
