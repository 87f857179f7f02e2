"""What an export shows: the parts of one photo, outlined as the options ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from car_classification import CarType
from img_to_segments import PART_NAMES
from options import Options
from photo_result import Result
from pipeline import Part, outline


@dataclass(frozen=True)
class Scene:
    """The parts of one photo, ready to be written in any format.

    Attributes:
        image_hash: SHA-256 of the photo in hex.
        file_name: name of the photo, for formats that point to it.
        width, height: size of the upright photo in pixels.
        message: one sentence for people.
        type: the body type, or None.
        parts: the parts with their polygons in pixels.
        labels: gives the (H, W) uint8 label map that the parts were outlined from.
        normalized: whether coordinates are to be written from 0 to 1.
        rotation, model_version: as in `photo_result.Result`.
    """

    image_hash: str
    file_name: str
    width: int
    height: int
    message: str
    type: CarType | None
    parts: list[Part]
    labels: Callable[[], NDArray[np.uint8]]
    normalized: bool = False
    rotation: int = 0
    model_version: str = ""


def scene_of(image_hash: str, result: Result, options: Options) -> Scene:
    """Show a result as the options ask; nothing is computed by a network.

    The polygons of the plain answer are kept with the result; all others come from its
    label map.
    """
    parts, labels = result.parts, result.labels
    if options.changes_outlines:
        kept = _kept(result, options)
        parts, labels = _outlined(kept, result.parts, options), lambda: kept
    return Scene(
        image_hash=image_hash,
        file_name=options.file_name or f"{image_hash}.png",
        width=result.width,
        height=result.height,
        message=result.message(len(parts)),
        rotation=result.rotation,
        model_version=result.model_version,
        type=result.type,
        parts=parts,
        labels=labels,
        normalized=options.normalized,
    )


def _outlined(labels: NDArray[np.uint8], parts: list[Part], options: Options) -> list[Part]:
    return outline(
        labels,
        {part.name: part.confidence for part in parts},
        tolerance=options.tolerance,
        max_vertices=options.max_vertices,
        topology=options.topology,
    )


def _kept(result: Result, options: Options) -> NDArray[np.uint8]:
    """The label map without the parts and the pieces that the options leave out."""
    labels = result.labels()
    stays = np.zeros(256, np.uint8)
    for part in result.parts:
        if part.confidence >= options.min_confidence:
            label = PART_NAMES.index(part.name) + 1
            stays[label] = label
    labels = stays[labels]
    if options.min_area > 1:
        for part in result.parts:
            x, y, width, height = part.bbox
            window = labels[y : y + height, x : x + width]
            _drop_small(window, PART_NAMES.index(part.name) + 1, options.min_area)
    return labels


def _drop_small(window: NDArray[np.uint8], label: int, min_area: float) -> None:
    """Set the 4-connected pieces of a label that have fewer pixels to background, in place."""
    mask = (window == label).view(np.uint8)
    _, pieces, figures, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    small = figures[:, cv2.CC_STAT_AREA] < min_area
    small[0] = False  # what is not of this label
    window[small[pieces]] = 0
