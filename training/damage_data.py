"""Read the photos of damaged cars with their polygons, and list cars without damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.parts_data import draw_polygons
from training.split import Part, part_of
from vision.labels import DAMAGE_KINDS

Outlines = list[tuple[str, list[list[float]]]]


@dataclass(frozen=True)
class DamagedPhoto:
    """A photo with annotated damage.

    Attributes:
        path: the photo's file.
        part: of the split.
        key: photos of one case share it.
        width, height: in pixels.
        outlines: kind and polygons (x, y, x, y, ..., in pixels, corner coordinates) of each damage,
            the largest first.
    """

    path: Path
    part: Part
    key: str
    width: int
    height: int
    outlines: Outlines = field(repr=False)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The annotated kinds, in the order of DAMAGE_KINDS."""
        present = {kind for kind, _ in self.outlines}
        return tuple(kind for kind in DAMAGE_KINDS if kind in present)

    def mask(self, kind: str) -> NDArray[np.bool_]:
        """Return the pixels (height, width) of a kind, those under other kinds, too."""
        drawn = np.zeros((self.height, self.width), np.uint8)
        for name, polygons in self.outlines:
            if name == kind:
                draw_polygons(drawn, polygons, 1)
        return drawn > 0

    def labels(self) -> NDArray[np.uint8]:
        """Return the label map (height, width): 0 or the number of a kind, from 1 on.

        A smaller damage covers a larger one.
        """
        drawn = np.zeros((self.height, self.width), np.uint8)
        for name, polygons in self.outlines:
            draw_polygons(drawn, polygons, 1 + DAMAGE_KINDS.index(name))
        return drawn

    def write_labels(self, folder: Path) -> Path:
        """Write the label map as a PNG, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.path.stem}.png"
        path.write_bytes(cv2.imencode(".png", self.labels())[1].tobytes())
        return path


def list_damaged(data: Path) -> list[DamagedPhoto]:
    """Return the photos of damage of a data folder; none if it has no such photos.

    A case whose photos are for validation is "val". Of the others a twelfth is "calibration".
    """
    file = data / "damage" / "annotations.json"
    if not file.exists():
        return []
    cases = {
        photo["file_name"]: part_of(f"case {photo['group']}", val=photo["split"] != "train")
        for photo in json.loads(file.read_text(encoding="utf-8"))["images"]
    }
    return read_damage(file, data / "damage" / "images", cases.__getitem__)


def read_damage(coco: Path, photos: Path, part: Callable[[str], Part]) -> list[DamagedPhoto]:
    """Read the photos of a COCO file of polygons of damage, in the order of its `images`.

    Categories are matched to DAMAGE_KINDS by name; others are ignored. Photos with the same `group`
    are of one case; without it each photo is a case.

    Args:
        coco: the file.
        photos: folder of the photos.
        part: file name -> part of the split.
    """
    document = json.loads(coco.read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in document["categories"]}
    by_photo: dict[int, list[dict[str, Any]]] = {}
    for item in document["annotations"]:
        if names[item["category_id"]] in DAMAGE_KINDS:
            by_photo.setdefault(item["image_id"], []).append(item)
    found = []
    for photo in document["images"]:
        items = sorted(by_photo.get(photo["id"], []), key=lambda item: -item["area"])
        found.append(
            DamagedPhoto(
                photos / photo["file_name"],
                part(photo["file_name"]),
                f"case {photo.get('group', photo['file_name'])}",
                photo["width"],
                photo["height"],
                [(names[item["category_id"]], item["segmentation"]) for item in items],
            )
        )
    return found


def may_have_damage(name: str) -> bool:
    """Return True for a street photo of sellers, many of which show scratches and dents.

    Args:
        name: of the photo's file.
    """
    return Path(name).name.startswith("lensor_")
