"""`csv`: a table with one row per part (RFC 4180, in UTF-8), for spreadsheets and statistics.

`share` is the part's share of the photo's pixels. `x`, `y`, `width` and `height` are its bounding
box in pixels. A photo without parts has no row.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from exports.annotation import ImageAnnotation

COLUMNS = (
    *("file", "type", "part", "confidence", "area", "share"),
    *("x", "y", "width", "height"),
)


def write(annotation: ImageAnnotation) -> bytes:
    """Return the header and the rows of one photo."""
    pixels = annotation.width * annotation.height
    car_type = "" if annotation.type is None else annotation.type.name
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for part in annotation.parts:
        share = round(part.area / pixels, 6)
        figures = (part.confidence, part.area, share, *part.bbox)
        writer.writerow((annotation.file_name, car_type, part.name, *figures))
    return text.getvalue().encode()


def merge(documents: Sequence[bytes]) -> bytes:
    """Join the rows of all documents under one header."""
    header = ",".join(COLUMNS).encode() + b"\r\n"
    return header + b"".join(document.removeprefix(header) for document in documents)
