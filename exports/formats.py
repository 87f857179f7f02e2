"""Define the formats in which results are written, and write a result in one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import exports.coco as coco
import exports.csv_table as csv_table
import exports.cvat as cvat
import exports.geojson as geojson
import exports.json_answer as json_answer
import exports.labelme as labelme
import exports.labelstudio as labelstudio
import exports.svg as svg
import exports.yolo as yolo
from exports.annotation import ImageAnnotation, annotate
from options import OptionError, Options
from photo_result import Result

_JSON = "application/json"


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        name: value of `?format=`.
        media_type: the Content-Type of the response.
        ending: extension of files in this format, with its dot.
        description: text for people.
        write: returns the bytes for one photo.
        merge: joins the bytes for many photos into one file; None if each photo has its own file.
        negotiable: true if an Accept header with the media type selects this format.
        normalizable: true if `Options.normalized` applies to this format.
        names_photo: true if the export has the photo's name.
        beside_photo: true if the photo's name is a path relative to the exported file.
        paired_by_stem: true if programs find the exported file by the photo's name, in which they
            replace the ending.
    """

    name: str
    media_type: str
    ending: str
    description: str
    write: Callable[[ImageAnnotation], bytes]
    merge: Callable[[Sequence[bytes]], bytes] | None = None
    negotiable: bool = False
    normalizable: bool = False
    names_photo: bool = False
    beside_photo: bool = False
    paired_by_stem: bool = False

    def check(self, options: Options) -> None:
        """Raise OptionError if the format does not support the options."""
        if options.normalized and not self.normalizable:
            can = " and ".join(entry.name for entry in FORMATS.values() if entry.normalizable)
            raise OptionError(
                f"normalized works only with {can}; {self.name} has its own coordinates."
            )


FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format(
            "json",
            _JSON,
            ".json",
            "the answer of the API",
            json_answer.write,
            negotiable=True,
            normalizable=True,
        ),
        Format(
            "coco",
            _JSON,
            ".json",
            "COCO dataset with polygons",
            coco.write,
            coco.merge,
            names_photo=True,
        ),
        Format(
            "coco-rle",
            _JSON,
            ".json",
            "COCO dataset with run-length encoded masks",
            coco.write_rle,
            coco.merge,
            names_photo=True,
        ),
        Format(
            "geojson",
            "application/geo+json",
            ".geojson",
            "GeoJSON in pixels",
            geojson.write,
            names_photo=True,
            negotiable=True,
            normalizable=True,
        ),
        Format(
            "labelme",
            _JSON,
            ".json",
            "Labelme file",
            labelme.write,
            names_photo=True,
            beside_photo=True,
            paired_by_stem=True,
        ),
        Format(
            "yolo",
            "text/plain; charset=utf-8",
            ".txt",
            "YOLO segmentation labels",
            yolo.write,
            negotiable=True,
            paired_by_stem=True,
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
            _JSON,
            ".json",
            "Label Studio tasks with predictions",
            labelstudio.write,
            labelstudio.merge,
            names_photo=True,
        ),
        Format(
            "cvat",
            "application/xml",
            ".xml",
            "CVAT for images 1.1",
            cvat.write,
            cvat.merge,
            names_photo=True,
            negotiable=True,
        ),
        Format(
            "csv",
            "text/csv; charset=utf-8",
            ".csv",
            "table with a row per part",
            csv_table.write,
            csv_table.merge,
            names_photo=True,
            negotiable=True,
        ),
    )
}


def find_format(name: str) -> Format:
    """Return the format of that name.

    Raises:
        OptionError: there is no such format; the message lists all of them.
    """
    try:
        return FORMATS[name]
    except KeyError:
        raise OptionError(
            f"There is no format {name[:40]!r}; the formats are {', '.join(FORMATS)}."
        ) from None


def export(image_hash: str, result: Result, chosen: Format, options: Options) -> bytes:
    """Write a result in a format.

    Args:
        image_hash: SHA-256 of the photo in hex.
        result: of the photo.
        chosen: format.
        options: select the parts, their outlines and their coordinates.

    Raises:
        OptionError: the format does not support the options.
    """
    chosen.check(options)
    return chosen.write(annotate(image_hash, result, options))
