"""What is remembered of a photo that is Ready, and its form in a store: one piece of bytes."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from car_classification import CarType
from img_to_segments import PART_NAMES
from old_results import FIRST_VERSION, has_lid, rename_lid
from options import DEFAULT_CONFIDENCE
from pipeline import Analysis, Part
from poligons_from_seg import Polygon, Ring

NO_CAR = "No car was found in this photo."

Segments = dict[str, list[list[list[float]]]]  # part -> polygons -> points [x, y]

_LENGTH = 4  # bytes that tell how long the text before the label map is
_RUNS = b"R"  # begins a label map in runs; a plain zlib stream of all pixels begins with "x"


@dataclass(frozen=True)
class Result:
    """Everything that is remembered of a photo that is Ready.

    Attributes:
        width, height: size of the upright photo in pixels.
        type, rotation, other_cars, car_seen: as in `pipeline.Analysis`.
        parts: all parts of any confidence, as `pipeline.outline` gives them by default.
        packed_labels: the label map, compressed; see `labels`.
        model_version: of the models that made it, see `model_files.models_version`.
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

    @classmethod
    def of(cls, analysis: Analysis, model_version: str) -> Result:
        """Take over the parts of an analysis and pack its label map."""
        height, width = analysis.labels.shape
        return cls(
            width=width,
            height=height,
            type=analysis.type,
            parts=analysis.parts(),
            packed_labels=_packed(analysis.labels),
            model_version=model_version,
            rotation=analysis.rotation,
            other_cars=analysis.other_cars,
            car_seen=analysis.car_seen,
        )

    def labels(self) -> NDArray[np.uint8]:
        """(H, W) uint8 label map, read-only."""
        return _unpacked(self.packed_labels, self.height, self.width)

    def sure_labels(self, min_confidence: float = DEFAULT_CONFIDENCE) -> NDArray[np.uint8]:
        """Return the label map of the parts with at least this confidence.

        Returns:
            (H, W) uint8, may be read-only; the other parts are background.
        """
        labels = self.labels()
        sure = self.sure_parts(min_confidence)
        if len(sure) == len(self.parts):
            return labels
        kept = np.zeros(1 + len(PART_NAMES), np.uint8)
        numbers = [1 + PART_NAMES.index(part.name) for part in sure]
        kept[numbers] = numbers
        return kept[labels]

    def sure_parts(self, min_confidence: float = DEFAULT_CONFIDENCE) -> list[Part]:
        """Return the parts with at least this confidence."""
        return [part for part in self.parts if part.confidence >= min_confidence]

    def message(self, count: int | None = None) -> str:
        """Describe the result in one or two sentences.

        Args:
            count: parts that are delivered; None for the parts that are delivered by default.
        """
        if self.type is None and not self.parts and not self.car_seen:
            return NO_CAR
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
        return " ".join(sentences)

    def exteriors(self) -> Segments:
        """Return the outlines of the parts that are delivered by default, without holes."""
        return {
            part.name: [list(map(list, polygon.exterior)) for polygon in part.polygons]
            for part in self.sure_parts()
        }

    def pack(self) -> bytes:
        """All of it as bytes, from which `unpack` makes an equal result."""
        fields = {name: value for name, value in vars(self).items() if name != "packed_labels"}
        text = json.dumps(fields, separators=(",", ":"), default=vars)  # parts and polygons, too
        head = zlib.compress(text.encode(), level=1)
        return len(head).to_bytes(_LENGTH, "big") + head + self.packed_labels

    @classmethod
    def unpack(cls, data: bytes) -> Result:
        """Return the result that `pack` was called on; old ones with today's names of parts."""
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
        )
        if "model_version" in fields or not has_lid(result.parts):
            return result
        parts, labels = rename_lid(result.parts, result.labels(), result.type)
        return replace(result, parts=parts, packed_labels=_packed(labels))


def _packed(labels: NDArray[np.uint8]) -> bytes:
    """A label map (H, W) as runs: the label of each, then how many pixels long each is.

    A third of the size of all pixels compressed, and several times as fast both ways.
    """
    flat = labels.ravel()
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], starts)).astype(np.uint32)
    lengths = np.diff(starts, append=np.uint32(flat.size)).astype("<u4")
    return _RUNS + zlib.compress(flat[starts].tobytes() + lengths.tobytes(), level=1)


def _unpacked(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The label map, read-only."""
    if data[:1] != _RUNS:  # stored by an earlier version
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, width)
    runs = zlib.decompress(data[1:])
    count = len(runs) // 5
    labels = np.frombuffer(runs, np.uint8, count)
    flat = np.repeat(labels, np.frombuffer(runs, "<u4", offset=count))
    flat.setflags(write=False)
    return flat.reshape(height, width)


def rounded(ring: Ring, decimals: int = 2) -> list[list[float]]:
    """A ring as it is sent: [x, y] with some decimals; two are a hundredth of a pixel."""
    return [[round(x, decimals), round(y, decimals)] for x, y in ring]


def _part(fields: dict[str, Any]) -> Part:
    x, y, width, height = fields["bbox"]
    polygons = [
        Polygon(_ring(polygon["exterior"]), [_ring(hole) for hole in polygon["holes"]])
        for polygon in fields["polygons"]
    ]
    return Part(
        fields["name"], fields["confidence"], fields["area"], (x, y, width, height), polygons
    )


def _ring(points: list[list[float]]) -> Ring:
    return [(x, y) for x, y in points]
