"""The formats that a result can be had in. Pure functions from a `ImageAnnotation` to bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exports import coco, cvat, geojson, json_answer, labelme, labelstudio, svg, yolo
from exports.annotation import ImageAnnotation, annotate
from options import OptionError, Options
from photo_result import Result

JSON = "application/json"


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: as in `?format=`.
        media_type: the Content-Type of the answer.
        ending: of files in this format, with its dot.
        description: for people.
        write: the bytes for one photo.
        merge: makes one file of the bytes for many photos; None where each photo has its own.
        negotiable: whether an Accept header that asks for the media type gets this format.
        normalizable: whether `Options.normalized` says something here.
        beside_photo: whether the photo's name is a path from the place of the file itself.
    """

    name: str
    media_type: str
    ending: str
    description: str
    write: Callable[[ImageAnnotation], bytes]
    merge: Callable[[Sequence[bytes]], bytes] | None = None
    negotiable: bool = False
    normalizable: bool = False
    beside_photo: bool = False

    def check(self, options: Options) -> None:
        """Raises OptionError if the format can't follow the options."""
        if options.normalized and not self.normalizable:
            can = " and ".join(entry.name for entry in FORMATS.values() if entry.normalizable)
            raise OptionError(f"normalized goes with {can}; {self.name} has its own coordinates.")


FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format(
            "json",
            JSON,
            ".json",
            "the answer of the API",
            json_answer.write,
            negotiable=True,
            normalizable=True,
        ),
        Format("coco", JSON, ".json", "COCO dataset with polygons", coco.write, coco.merge),
        Format(
            "coco-rle",
            JSON,
            ".json",
            "COCO dataset with run-length encoded masks",
            coco.write_rle,
            coco.merge,
        ),
        Format(
            "geojson",
            "application/geo+json",
            ".geojson",
            "GeoJSON in pixels",
            geojson.write,
            negotiable=True,
            normalizable=True,
        ),
        Format("labelme", JSON, ".json", "Labelme file", labelme.write, beside_photo=True),
        Format(
            "yolo",
            "text/plain; charset=utf-8",
            ".txt",
            "YOLO segmentation labels",
            yolo.write,
            negotiable=True,
        ),
        Format(
            "svg",
            "image/svg+xml",
            ".svg",
            "drawing with a layer per part",
            svg.write,
            negotiable=True,
        ),
        Format(
            "labelstudio",
            JSON,
            ".json",
            "Label Studio tasks with predictions",
            labelstudio.write,
            labelstudio.merge,
        ),
        Format(
            "cvat",
            "application/xml",
            ".xml",
            "CVAT for images 1.1",
            cvat.write,
            cvat.merge,
            negotiable=True,
        ),
    )
}


def find_format(name: str) -> Format:
    """The format of that name. Raises OptionError with the list of all."""
    try:
        return FORMATS[name]
    except KeyError:
        raise OptionError(
            f"There is no format {name[:40]!r}; there are {', '.join(FORMATS)}."
        ) from None


def export(image_hash: str, result: Result, chosen: Format, options: Options) -> bytes:
    """A result in a format.

    Raises:
        OptionError: the format can't follow the options.
    """
    chosen.check(options)
    return chosen.write(annotate(image_hash, result, options))
