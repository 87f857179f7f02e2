"""Select the parts of one photo that an export shows, with outlines as the options ask."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from analysis.photo_damage import Damage
from car_classification import CarType
from options import OptionError, Options
from photo_result import Part, Result, outline
from poligons_from_seg import DEFAULT_TOLERANCE, label_map_to_outlines
from vision.labels import DAMAGE_KINDS, label_of, parts_named


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
        rotation, other_cars, model_version, damage_version: as in `photo_result.Result`.
        damages: the damages that are shown, with the shown parts on which they lie; None if the
            photo was not examined for damage, or if damage is left out.
        kept_damage: returns what `damage_labels` returns; None if there is no damage.
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
    damages: list[Damage] | None = None
    kept_damage: Callable[[], NDArray[np.uint8]] | None = None
    damage_version: str = ""

    def damage_labels(self) -> NDArray[np.uint8]:
        """Return the (H, W) uint8 map of the shown damages: 0 for none, else `Damage.number`."""
        if self.kept_damage is None:
            return np.zeros((self.height, self.width), np.uint8)
        return self.kept_damage()

    def damage_on(self, part: str) -> list[str]:
        """Return the kinds of damage on a part, in the order of DAMAGE_KINDS."""
        on = [d.kind for d in self.damages or () if part in (share.name for share in d.parts)]
        return [kind for kind in DAMAGE_KINDS if kind in on]


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
        parts, labels = _outlined(kept, parts, options, result.scale), lambda: kept
    damages = _damages(result, options, {part.name for part in parts})
    return ImageAnnotation(
        image_hash=image_hash,
        file_name=options.file_name or f"{image_hash}.png",
        width=result.width,
        height=result.height,
        message=_message(result, len(parts), damages),
        rotation=result.rotation,
        other_cars=result.other_cars,
        model_version=result.model_version,
        type=result.type,
        parts=parts,
        labels=labels,
        normalized=options.normalized,
        damages=damages,
        kept_damage=partial(kept_damage, result, options),
        damage_version=result.damage_version,
    )


def _message(result: Result, parts: int, damages: list[Damage] | None) -> str:
    """Return the message on the number of parts and on the damages that are shown, if any are."""
    if damages is None:
        return replace(result, damages=None).message(parts)
    return result.message(parts, len(damages))


def _damages(result: Result, options: Options, parts: Collection[str]) -> list[Damage] | None:
    """Return the damages that the options keep, with those parts on which they lie."""
    if result.damages is None or options.damage is False:
        return None
    damages = result.sure_damages(options.min_confidence)
    if options.changes_outlines:
        outlines = label_map_to_outlines(
            _shrunk(kept_damage(result, options), result.scale),
            tolerance=DEFAULT_TOLERANCE if options.tolerance is None else options.tolerance,
            max_vertices=options.max_vertices,
            topology=options.topology,
            scale=result.scale,
        )
        damages = [
            replace(damage, area=found.area, bbox=found.bbox, polygons=found.polygons)
            for damage in damages
            if (found := outlines.get(damage.number)) is not None
        ]
    return [
        replace(damage, parts=[share for share in damage.parts if share.name in parts])
        for damage in damages
    ]


def _shrunk(labels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Return a label map that has one pixel for each square of a map (H, W), see `Result.scale`."""
    return labels if scale == 1 else np.ascontiguousarray(labels[::scale, ::scale])


def _outlined(
    labels: NDArray[np.uint8], parts: list[Part], options: Options, scale: int
) -> list[Part]:
    return outline(
        _shrunk(labels, scale),
        {part.name: part.confidence for part in parts},
        tolerance=options.tolerance,
        max_vertices=options.max_vertices,
        topology=options.topology,
        scale=scale,
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


def kept_damage(result: Result, options: Options) -> NDArray[np.uint8]:
    """Return the map of damage without the damages and pieces that the options exclude.

    Returns:
        (H, W) uint8, may be read-only; 0 for none, else the damage's number.
    """
    labels = result.damage_labels()
    sure = result.sure_damages(options.min_confidence)
    if len(sure) < len(result.damages or ()):
        kept = np.zeros(1 + len(result.damages or ()), np.uint8)
        numbers = [damage.number for damage in sure]
        kept[numbers] = numbers
        labels = kept[labels]
    if options.min_area > 1:
        labels = labels.copy()
        for damage in sure:
            x, y, width, height = damage.bbox
            window = labels[y : y + height, x : x + width]
            _drop_small(window, damage.number, options.min_area)
    return labels


def kept_damage_kinds(result: Result, options: Options) -> NDArray[np.uint8]:
    """Return the map of the kinds of damage that the options keep.

    Returns:
        (H, W) uint8: 0 for none, i for the kind DAMAGE_KINDS[i - 1].
    """
    kinds = [0, *(1 + DAMAGE_KINDS.index(damage.kind) for damage in result.damages or ())]
    return np.array(kinds, np.uint8)[kept_damage(result, options)]


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
