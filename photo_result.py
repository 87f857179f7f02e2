"""What is remembered of a photo that is Ready, and its form in a store: one piece of bytes."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from car_classification import CarType
from pipeline import Analysis, Part
from poligons_from_seg import Polygon, Ring

Segments = dict[str, list[list[list[float]]]]  # part -> polygons -> points [x, y]

_LENGTH = 4  # bytes that tell how long the text before the label map is
_RUNS = b"R"  # begins a label map in runs; a plain zlib stream of all pixels begins with "x"


@dataclass(frozen=True)
class Result:
    """Everything that is remembered of a photo that is Ready.

    Attributes:
        width, height: size of the upright photo in pixels.
        type, message: as in `pipeline.Analysis`.
        parts: as in `pipeline.outline`, with the default tolerance.
        packed_labels: the label map, compressed; see `labels`.
    """

    width: int
    height: int
    type: CarType | None
    message: str
    parts: list[Part]
    packed_labels: bytes

    @classmethod
    def of(cls, analysis: Analysis) -> Result:
        """Take over the parts of an analysis and pack its label map."""
        height, width = analysis.labels.shape
        return cls(
            width=width,
            height=height,
            type=analysis.type,
            message=analysis.message,
            parts=analysis.parts(),
            packed_labels=_packed(analysis.labels),
        )

    def labels(self) -> NDArray[np.uint8]:
        """(H, W) uint8 label map, read-only."""
        return _unpacked(self.packed_labels, self.height, self.width)

    def exteriors(self) -> Segments:
        """The outlines of all parts, without holes, as they are sent."""
        return {
            part.name: [list(map(list, polygon.exterior)) for polygon in part.polygons]
            for part in self.parts
        }

    def pack(self) -> bytes:
        """All of it as bytes, from which `unpack` makes an equal result."""
        fields = {name: value for name, value in vars(self).items() if name != "packed_labels"}
        text = json.dumps(fields, separators=(",", ":"), default=vars)  # parts and polygons, too
        head = zlib.compress(text.encode(), level=1)
        return len(head).to_bytes(_LENGTH, "big") + head + self.packed_labels

    @classmethod
    def unpack(cls, data: bytes) -> Result:
        """The result that `pack` was called on."""
        end = _LENGTH + int.from_bytes(data[:_LENGTH], "big")
        fields: dict[str, Any] = json.loads(zlib.decompress(data[_LENGTH:end]))
        return cls(
            width=fields["width"],
            height=fields["height"],
            type=None if fields["type"] is None else CarType(**fields["type"]),
            message=fields["message"],
            parts=[_part(part) for part in fields["parts"]],
            packed_labels=data[end:],
        )


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
