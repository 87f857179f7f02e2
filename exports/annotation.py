"""Select the parts of one photo that an export shows, with outlines as the options ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from car_classification import CarType
from options import OptionError, Options
from photo_result import Part, Result, outline
from vision.labels import label_of, parts_named


@dataclass(frozen=True)
class ImageAnnotation:
    """The parts of one photo, ready to be written in any format.

    Attributes:
        image_hash: SHA-256 of the photo in hex.
        file_name: name of the photo, for formats that refer to it.
        width, height: size of the upright photo in pixels.
        message: one or more sentences for people.
        type: the body type, or None.
        parts: the parts that are shown, with their polygons in pixels.
        labels: returns the (H, W) uint8 label map of these parts, which may be read-only.
        normalized: true if coordinates are written from 0 to 1.
        rotation, other_cars, model_version: as in `photo_result.Result`.
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
    other_cars: bool = False
    model_version: str = ""


def annotate(image_hash: str, result: Result, options: Options) -> ImageAnnotation:
    """Return the annotation of a result under the options, without running a network.

    The polygons of the plain answer are stored with the result. Other polygons are computed from
    its label map.

    Raises:
        OptionError: the options name an unknown part.
    """
    parts = result.sure_parts(options.min_confidence, part_names(options))
    labels: Callable[[], NDArray[np.uint8]] = partial(kept_labels, result, options)
    if options.changes_outlines:
        kept = labels()
        parts, labels = _outlined(kept, parts, options), lambda: kept
    return ImageAnnotation(
        image_hash=image_hash,
        file_name=options.file_name or f"{image_hash}.png",
        width=result.width,
        height=result.height,
        message=result.message(len(parts)),
        rotation=result.rotation,
        other_cars=result.other_cars,
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


def kept_labels(result: Result, options: Options) -> NDArray[np.uint8]:
    """Return the label map without the parts and pieces that the options exclude.

    Returns:
        (H, W) uint8, may be read-only; excluded pixels are background.

    Raises:
        OptionError: the options name an unknown part.
    """
    names = part_names(options)
    labels = result.sure_labels(options.min_confidence, names)
    if options.min_area > 1:
        labels = labels.copy()
        for part in result.sure_parts(options.min_confidence, names):
            x, y, width, height = part.bbox
            window = labels[y : y + height, x : x + width]
            _drop_small(window, label_of(part.name), options.min_area)
    return labels


def part_names(options: Options) -> frozenset[str]:
    """Return the names of the parts that the options keep. Raises OptionError."""
    try:
        return parts_named(options.parts or ("all",))
    except ValueError as error:
        raise OptionError(f"{error}.") from None


def _drop_small(window: NDArray[np.uint8], label: int, min_area: float) -> None:
    """Set the 4-connected pieces of a label with less than `min_area` to background, in place."""
    mask = (window == label).view(np.uint8)
    _, pieces, figures, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    small = figures[:, cv2.CC_STAT_AREA] < min_area
    small[0] = False  # 0 is the pixels of other labels
    window[small[pieces]] = 0
