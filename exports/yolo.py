"""`yolo`: a label file for segmentation, as Ultralytics reads it.

One row per visible piece: the class (0 to 17, in the order of PART_NAMES), then x y x y ... from
0 to 1. Holes are tied in by a bridge of no width. A photo without parts has an empty file.
"""

from __future__ import annotations

from exports.annotation import ImageAnnotation
from exports.coordinates import keyhole, scaled
from img_to_segments import PART_NAMES


def write(scene: ImageAnnotation) -> bytes:
    """The rows."""
    rows = []
    for part in scene.parts:
        for polygon in part.polygons:
            ring = scaled(keyhole(polygon), 1 / scene.width, 1 / scene.height)
            values = " ".join(f"{value:.6f}" for point in ring for value in point)
            rows.append(f"{PART_NAMES.index(part.name)} {values}\n")
    return "".join(rows).encode()


def data_file() -> bytes:
    """`data.yaml`: the names of the classes, which the rows do not have."""
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(PART_NAMES))
    return f"names:\n{names}".encode()
