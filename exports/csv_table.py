"""`csv`: a table with one row per part (RFC 4180, in UTF-8), for spreadsheets and statistics.

`share` is the part's share of the photo's pixels. `x`, `y`, `width` and `height` are its bounding
box in pixels. A photo without parts has one row, in which the fields of a part are empty.

Spreadsheets run a cell that begins like a formula. The names of files come from others, so such a
name gets an apostrophe in front (https://owasp.org/www-community/attacks/CSV_Injection).
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

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a formula


def write(annotation: ImageAnnotation) -> bytes:
    """Return the header and the rows of one photo."""
    pixels = annotation.width * annotation.height
    car_type = "" if annotation.type is None else annotation.type.name
    photo = (_plain(annotation.file_name), car_type)
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for part in annotation.parts:
        share = round(part.area / pixels, 6)
        writer.writerow((*photo, part.name, part.confidence, part.area, share, *part.bbox))
    if not annotation.parts:
        writer.writerow((*photo, *[""] * (len(COLUMNS) - len(photo))))
    return text.getvalue().encode()


def _plain(name: str) -> str:
    """Return a name that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(_FORMULA) else name


def merge(documents: Sequence[bytes]) -> bytes:
    """Join the rows of all documents under one header."""
    header = ",".join(COLUMNS).encode() + b"\r\n"
    return header + b"".join(document.removeprefix(header) for document in documents)
