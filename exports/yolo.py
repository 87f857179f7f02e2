"""`yolo`: a label file for segmentation, in the format of Ultralytics.

Each visible piece is one row: the class (0 to 24, in the order of PART_NAMES), then x y x y ...
from 0 to 1. Holes are joined by a bridge of zero width. A photo without parts has an empty file.
If the photo was examined for damage, its rows follow, with the classes 25 to 32 in the order of
DAMAGE_KINDS.
"""

from __future__ import annotations

from exports.annotation import ImageAnnotation
from exports.coordinates import keyhole, scaled
from img_to_segments import PART_NAMES
from vision.labels import DAMAGE_KINDS

CLASSES = (*PART_NAMES, *DAMAGE_KINDS)


def write(annotation: ImageAnnotation) -> bytes:
    """Return the rows, one for each visible piece of a part or of damage."""
    rows = []
    shown = [(part.name, part.polygons) for part in annotation.parts]
    shown += [(damage.kind, damage.polygons) for damage in annotation.damages or ()]
    for name, polygons in shown:
        for polygon in polygons:
            ring = scaled(keyhole(polygon), 1 / annotation.width, 1 / annotation.height)
            values = " ".join(f"{value:.6f}" for point in ring for value in point)
            rows.append(f"{CLASSES.index(name)} {values}\n")
    return "".join(rows).encode()


def shows_damage(labels: bytes) -> bool:
    """Return True if a label file has a row of damage."""
    return any(int(row.partition(b" ")[0]) >= len(PART_NAMES) for row in labels.splitlines())


def data_file(*, damage: bool = False) -> bytes:
    """Return `data.yaml` with the names of the classes, which the rows lack.

    Args:
        damage: the classes include the kinds of damage.
    """
    classes = CLASSES if damage else PART_NAMES
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(classes))
    return f"names:\n{names}".encode()
