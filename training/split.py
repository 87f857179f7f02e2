"""Split the photos in three: networks learn from one part, thresholds from one, one measures.

- `val`: the annotated photos in `validation_photos.json`, the `val` folders of `car_types` and
  `car_types_in_context`, the street photos whose `split` is `val`, and every sixth photo without a
  car. No network, teacher or threshold sees them.
- `calibration`: a fixed twelfth of all other photos of a known car. Thresholds are fitted to them,
  and the choice between part networks is made on them. No network sees them.
- `train`: the rest.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Literal

Part = Literal["train", "calibration", "val"]

VALIDATION = Path(__file__).with_name("validation_photos.json")
_CALIBRATION = 12  # one photo of so many


def validation_names() -> list[str]:
    """Return the file names of the annotated photos that are reserved for validation."""
    names: list[str] = json.loads(VALIDATION.read_text(encoding="utf-8"))
    return names


def part_of(stem: str, *, val: bool) -> Part:
    """Return the part of the split that a photo belongs to.

    Args:
        stem: name of the file without its suffix. Photos of the same car share it in `car_types`
            and `car_types_in_context`, so they are in the same part.
        val: the data set reserves the photo for validation.

    Example:
        >>> part_of("00117", val=True)
        'val'
    """
    if val:
        return "val"
    return "calibration" if zlib.crc32(stem.encode()) % _CALIBRATION == 0 else "train"
