"""`yolo`: a label file for segmentation, in the format of Ultralytics.

Each visible piece is one row: the class (0 to 24, in the order of PART_NAMES), then x y x y ...
from 0 to 1. Holes are joined by a bridge of zero width. A photo without parts has an empty file.
"""

from __future__ import annotations

from exports.annotation import ImageAnnotation
from exports.coordinates import keyhole, scaled
from img_to_segments import PART_NAMES


def write(annotation: ImageAnnotation) -> bytes:
    """Return the rows, one for each visible piece of a part."""
    rows = []
    for part in annotation.parts:
        for polygon in part.polygons:
            ring = scaled(keyhole(polygon), 1 / annotation.width, 1 / annotation.height)
            values = " ".join(f"{value:.6f}" for point in ring for value in point)
            rows.append(f"{PART_NAMES.index(part.name)} {values}\n")
    return "".join(rows).encode()


def data_file() -> bytes:
    """Return `data.yaml` with the names of the classes, which the rows lack."""
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(PART_NAMES))
    return f"names:\n{names}".encode()
