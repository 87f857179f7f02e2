"""Define the result of a photo that is Ready, and its serialised form for the store."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.damage_segments import DamageMap
from analysis.photo_damage import Damage, count_damages, damages_of, outline_damage, polygons_of
from car_classification import CarType
from geometry.arrays import ragged_ranges
from img_to_segments import PART_NAMES
from options import DEFAULT_CONFIDENCE, Topology
from poligons_from_seg import (
    DEFAULT_TOLERANCE,
    Outline,
    Polygon,
    label_map_to_outlines,
)
from vision.labels import TYPES_WITH_TRUNK, label_of

FIRST_VERSION = "1"  # model version of all results that were stored without one

Stage = Literal["parts", "type", "damage", "polygons"]  # in the order in which they run

NO_CAR = "No car was found in this photo."

Segments = dict[str, list[list[list[float]]]]  # part -> polygons -> points [x, y]

_LIDS = ("tailgate", "trunk")
# See `Result.pack`.
_APART = ("packed_labels", "damages", "packed_damage", "damage_version", "scale")
_LENGTH = 4  # bytes that hold the length of the text before the label map
_RUNS = b"R"  # first byte of a run-length label map; a zlib stream of all pixels begins with "x"


@dataclass(frozen=True)
class Analysis:
    """The output of the networks for one photo.

    Attributes:
        type: the body type, or None if no car was found or its type is unclear.
        labels: (H / scale, W / scale) uint8 label map; 0 background, 1..25 as in PART_NAMES.
        confidences: 0..1 for each part that is present.
        outlines: of each label, with the default tolerance, in pixels of the photo.
        rotation: degrees clockwise, 0, 90, 180 or 270, that turn the photo upright.
        other_cars: True if there are other cars of similar size. Their parts are left out.
        car_seen: True if the photo shows a car, or a piece of one, though no part was found.
        damage: the damage in the photo, at the scale of `labels`; None if it was not examined for
            damage.
        scale: pixels of the photo for each of the label map, on both axes.
    """

    type: CarType | None
    labels: NDArray[np.uint8]
    confidences: dict[str, float]
    outlines: dict[int, Outline]
    rotation: int = 0
    other_cars: bool = False
    car_seen: bool = False
    damage: DamageMap | None = None
    scale: int = 1

    def parts(self) -> list[Part]:
        """Return the parts with the polygons that `outline` makes by default."""
        return _parts(self.outlines, self.confidences)


@dataclass(frozen=True)
class Part:
    """A part of the car with its polygons.

    Attributes:
        name: one of PART_NAMES.
        confidence: 0..1.
        area: number of pixels of its mask.
        bbox: (x, y, width, height) of its mask in pixels.
        polygons: one per visible piece, largest first.
    """

    name: str
    confidence: float
    area: int
    bbox: tuple[int, int, int, int]
    polygons: list[Polygon]


def outline(
    labels: NDArray[np.uint8],
    confidences: dict[str, float],
    *,
    tolerance: float | None = None,
    max_vertices: int | None = None,
    topology: Topology = "independent",
    scale: int = 1,
) -> list[Part]:
    """Return the parts of a label map with their polygons, in the order of PART_NAMES.

    Args:
        labels: (H, W) uint8 label map.
        confidences: 0..1 for each part that is present.
        tolerance: as in `label_map_to_outlines`, None for its default.
        max_vertices: as in `label_map_to_outlines`.
        topology: as in `label_map_to_outlines`.
        scale: as in `label_map_to_outlines`.
    """
    outlines = label_map_to_outlines(
        labels,
        tolerance=DEFAULT_TOLERANCE if tolerance is None else tolerance,
        max_vertices=max_vertices,
        topology=topology,
        scale=scale,
    )
    return _parts(outlines, confidences)


def _parts(outlines: Mapping[int, Outline], confidences: Mapping[str, float]) -> list[Part]:
    """Combine outlines with names and confidences, in the order of PART_NAMES."""
    parts = []
    for label, name in enumerate(PART_NAMES, start=1):
        if name not in confidences or label not in outlines:
            continue
        found = outlines[label]
        confidence = round(confidences[name], 4)
        parts.append(Part(name, confidence, found.area, found.bbox, found.polygons))
    return parts


@dataclass(frozen=True)
class Result:
    """The stored result of a photo that is Ready.

    Attributes:
        width, height: size in pixels of the photo as posted, with its EXIF orientation applied.
        type, rotation, other_cars, car_seen: as in `Analysis`.
        parts: all parts of any confidence, with the polygons that `outline` makes by default.
        packed_labels: the label map, compressed; see `labels`.
        model_version: of the models that made it, see `vision.model_files.models_version`.
        damages: the damage, with the parts on which it lies; None if the photo was not examined for
            damage.
        packed_damage: the map of damage, compressed; see `damage_labels`.
        damage_version: of the damage network, see `vision.model_files.damage_version`.
        scale: side in pixels of the squares of which both label maps consist, which start at the
            top left corner of the photo.
    """

    width: int
    height: int
    type: CarType | None
    parts: list[Part]
    packed_labels: bytes
    model_version: str
    rotation: int = 0
    other_cars: bool = False
    car_seen: bool = False
    damages: list[Damage] | None = None
    packed_damage: bytes = b""
    damage_version: str = ""
    scale: int = 1

    @classmethod
    def of(cls, analysis: Analysis, model_version: str, damage_version: str = "") -> Result:
        """Build a result from an analysis, with compressed label maps.

        Args:
            analysis: output of the networks.
            model_version: see `Result`.
            damage_version: see `Result`; without effect if the analysis has no damage.
        """
        height, width = analysis.labels.shape
        scale = analysis.scale
        result = cls(
            width=scale * width,
            height=scale * height,
            type=analysis.type,
            parts=analysis.parts(),
            packed_labels=_packed(analysis.labels, scale),
            model_version=model_version,
            rotation=analysis.rotation,
            other_cars=analysis.other_cars,
            car_seen=analysis.car_seen,
            scale=scale,
        )
        found = analysis.damage
        if found is None:
            return result
        areas = {label_of(part.name): part.area for part in result.parts}
        return replace(
            result,
            damages=outline_damage(found, analysis.labels, areas, scale),
            packed_damage=_packed(found.labels, scale),
            damage_version=damage_version,
        )

    def damage_labels(self) -> NDArray[np.uint8]:
        """Return the map of damage, (H, W) uint8, read-only: 0 for none, else `Damage.number`."""
        if not self.damages:
            return np.zeros((self.height, self.width), np.uint8)
        return _unpacked(self.packed_damage, self.height, self.width)

    def sure_damages(self, min_confidence: float = DEFAULT_CONFIDENCE) -> list[Damage]:
        """Return the damages with at least this confidence."""
        return [damage for damage in self.damages or () if damage.confidence >= min_confidence]

    def digest(self) -> str:
        """Return a digest of all from which answers are made, in hex.

        Polygons and the scale follow from the label map, so they are left out.
        """
        confidences = {part.name: part.confidence for part in self.parts}
        left_out = ("parts", "packed_labels", "damages", "scale")
        fields = {name: value for name, value in vars(self).items() if name not in left_out}
        damages = self.damages and [replace(damage, polygons=[]) for damage in self.damages]
        text = repr((confidences, fields, damages))
        return hashlib.blake2b(text.encode() + self.packed_labels, digest_size=12).hexdigest()

    def labels(self) -> NDArray[np.uint8]:
        """Return the label map, (H, W) uint8, read-only."""
        return _unpacked(self.packed_labels, self.height, self.width)

    def sure_labels(
        self,
        min_confidence: float = DEFAULT_CONFIDENCE,
        names: Collection[str] = PART_NAMES,
    ) -> NDArray[np.uint8]:
        """Return the label map of the parts that `sure_parts` returns.

        Returns:
            (H, W) uint8, may be read-only; the other parts are background.
        """
        labels = self.labels()
        sure = self.sure_parts(min_confidence, names)
        if len(sure) == len(self.parts):
            return labels
        kept = np.zeros(1 + len(PART_NAMES), np.uint8)
        numbers = [label_of(part.name) for part in sure]
        kept[numbers] = numbers
        return kept[labels]

    def sure_parts(
        self,
        min_confidence: float = DEFAULT_CONFIDENCE,
        names: Collection[str] = PART_NAMES,
    ) -> list[Part]:
        """Return the parts with one of these names and at least this confidence."""
        return [
            part for part in self.parts if part.confidence >= min_confidence and part.name in names
        ]

    def message(self, count: int | None = None, damages: int | None = None) -> str:
        """Describe the result in a few sentences.

        Args:
            count: number of parts that are delivered; None for the default confidence limit.
            damages: number of damages that are delivered; None for the default confidence limit.
                It is mentioned only if the photo was examined for damage.
        """
        if self.type is None and not self.parts and not self.car_seen:
            return " ".join([NO_CAR, *self._damage_sentences(damages)])
        count = len(self.sure_parts()) if count is None else count
        if count == 0:
            sentences = ["No part was found with enough confidence."]
        else:
            sentences = ["1 part was found." if count == 1 else f"{count} parts were found."]
        if self.type is None:
            sentences.append("The type of the car cannot be told from this photo.")
        if self.rotation:
            sentences.append(
                f"The photo is not upright: turn it {self.rotation} degrees clockwise."
            )
        if self.other_cars and count:
            sentences.append("There are other cars of similar size in the photo.")
        return " ".join([*sentences, *self._damage_sentences(damages)])

    def _damage_sentences(self, count: int | None) -> list[str]:
        """Return the sentence on damage, if the photo was examined; `count` as in `message`."""
        if self.damages is None:
            return []
        return [count_damages(len(self.sure_damages()) if count is None else count)]

    def exteriors(self, names: Collection[str] = PART_NAMES) -> Segments:
        """Return the outlines of the sure parts with one of these names, without holes."""
        return {
            part.name: [list(map(list, polygon.exterior)) for polygon in part.polygons]
            for part in self.sure_parts(names=names)
        }

    def pack(self) -> bytes:
        """Serialise the result to bytes for `unpack`."""
        fields = {name: value for name, value in vars(self).items() if name not in _APART}
        if self.damages is not None:
            packed = base64.b64encode(self.packed_damage).decode()
            fields |= {
                "damages": self.damages,
                "packed_damage": packed,
                "damage_version": self.damage_version,
            }
        if self.scale > 1:
            fields["scale"] = self.scale
        text = json.dumps(fields, separators=(",", ":"), default=vars)  # parts and polygons, too
        head = zlib.compress(text.encode(), level=1)
        return len(head).to_bytes(_LENGTH, "big") + head + self.packed_labels

    @classmethod
    def unpack(cls, data: bytes) -> Result:
        """Return the result that `pack` serialised; rename the lid in results of old versions."""
        end = _LENGTH + int.from_bytes(data[:_LENGTH], "big")
        fields: dict[str, Any] = json.loads(zlib.decompress(data[_LENGTH:end]))
        result = cls(
            width=fields["width"],
            height=fields["height"],
            type=None if fields["type"] is None else CarType(**fields["type"]),
            parts=[_part(part) for part in fields["parts"]],
            packed_labels=data[end:],
            model_version=fields.get("model_version", FIRST_VERSION),
            rotation=fields.get("rotation", 0),
            other_cars=fields.get("other_cars", False),
            car_seen=fields.get("car_seen", False),
            damages=damages_of(fields.get("damages")),
            packed_damage=base64.b64decode(fields.get("packed_damage", "")),
            damage_version=fields.get("damage_version", ""),
            scale=fields.get("scale", 1),
        )
        if "model_version" in fields or not _has_lid(result.parts):
            return result
        parts, labels = _rename_lid(result.parts, result.labels(), result.type)
        return replace(result, parts=parts, packed_labels=_packed(labels))


def _packed(labels: NDArray[np.uint8], scale: int = 1) -> bytes:
    """Compress a label map as runs: first the label, then the length in pixels of each run.

    Compared with compressing all pixels this needs a third of the bytes, and is several times as
    fast in both directions.

    Args:
        labels: (h, w) uint8.
        scale: the runs are those of a map in which each pixel is a square of this side.
    """
    flat = labels.ravel()
    is_last = flat[1:] != flat[:-1]
    if scale > 1:
        is_last[labels.shape[1] - 1 :: labels.shape[1]] = True  # runs of each row
    starts = np.concatenate(([0], np.flatnonzero(is_last) + 1)).astype(np.uint32)
    lengths = np.diff(starts, append=np.uint32(flat.size)).astype("<u4")
    found = flat[starts]
    if scale > 1:
        first = np.searchsorted(starts, np.arange(0, flat.size, labels.shape[1]))
        count = np.diff(first, append=len(starts))
        rows = ragged_ranges(first.repeat(scale), count.repeat(scale))
        found, lengths = found[rows], lengths[rows] * np.uint32(scale)
    return _RUNS + zlib.compress(found.tobytes() + lengths.tobytes(), level=1)


def _unpacked(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Decompress a label map; it is read-only."""
    if data[:1] != _RUNS:  # stored by an earlier version
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, width)
    runs = zlib.decompress(data[1:])
    count = len(runs) // 5
    labels = np.frombuffer(runs, np.uint8, count)
    flat = np.repeat(labels, np.frombuffer(runs, "<u4", offset=count))
    flat.setflags(write=False)
    return flat.reshape(height, width)


def _part(fields: dict[str, Any]) -> Part:
    x, y, width, height = fields["bbox"]
    polygons = polygons_of(fields["polygons"])
    return Part(
        fields["name"], fields["confidence"], fields["area"], (x, y, width, height), polygons
    )


def _has_lid(parts: list[Part]) -> bool:
    """Return True if the parts include a lid, by either name."""
    return any(part.name in _LIDS for part in parts)


def _rename_lid(
    parts: list[Part], labels: NDArray[np.uint8], car_type: CarType | None
) -> tuple[list[Part], NDArray[np.uint8]]:
    """Rename the lid in a result of an old version: `trunk` or `tailgate`, by the car type.

    New results are named by `vision.part_rules`. A sedan, coupe or convertible has a trunk, all
    other cars have a tailgate.

    Two parts of the same new name are merged.

    Args:
        parts: of the result.
        labels: (H, W) uint8 label map; 0 background, i the part name_of(i).
        car_type: of the result; its most likely type names the lid.

    Returns:
        The parts in the order of PART_NAMES, and the label map.
    """
    is_trunk = car_type is not None and car_type.name in TYPES_WITH_TRUNK
    name = "trunk" if is_trunk else "tailgate"
    label = label_of(name)
    lid = np.isin(labels, [label_of(lid) for lid in _LIDS])
    confidence = max(part.confidence for part in parts if part.name in _LIDS)
    kept = [part for part in parts if part.name not in _LIDS]
    renamed = outline(np.where(lid, np.uint8(label), np.uint8(0)), {name: confidence})
    kept += renamed
    kept.sort(key=lambda part: PART_NAMES.index(part.name))
    return kept, np.where(lid, np.uint8(label), labels)
