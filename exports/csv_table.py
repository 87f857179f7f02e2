"""`csv`: a table with one row per part (RFC 4180, in UTF-8), for spreadsheets and statistics.

`share` is the part's share of the photo's pixels. `x`, `y`, `width` and `height` are its bounding
box in pixels. A photo without parts has one row, in which the fields of a part are empty.

If the photo was examined for damage, there are two more columns, and a row per damage follows. It
has its kind in `damage`, the part with most of it in `part`, and the share of that part's area that
it covers in `part_share`. The other fields are those of the damage.

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
DAMAGE_COLUMNS = ("damage", "part_share")

_END = b"\r\n"  # of a row
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a formula


def write(annotation: ImageAnnotation) -> bytes:
    """Return the header and the rows of one photo."""
    pixels = annotation.width * annotation.height
    car_type = "" if annotation.type is None else annotation.type.name
    photo = (_plain(annotation.file_name), car_type)
    text = StringIO()
    writer = csv.writer(text)
    more = () if annotation.damages is None else DAMAGE_COLUMNS
    writer.writerow((*COLUMNS, *more))
    empty = [""] * len(more)
    for part in annotation.parts:
        share = round(part.area / pixels, 6)
        writer.writerow((*photo, part.name, part.confidence, part.area, share, *part.bbox, *empty))
    for damage in annotation.damages or ():
        figures = (damage.confidence, damage.area, round(damage.area / pixels, 6), *damage.bbox)
        on = damage.parts[0] if damage.parts else None
        where = ("", "") if on is None else (on.name, on.share)
        writer.writerow((*photo, where[0], *figures, damage.kind, where[1]))
    if not annotation.parts and not annotation.damages:
        writer.writerow((*photo, *[""] * (len(COLUMNS) - len(photo)), *empty))
    return text.getvalue().encode()


def _plain(name: str) -> str:
    """Return a name that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(_FORMULA) else name


def merge(documents: Sequence[bytes]) -> bytes:
    """Join the rows of all documents under one header."""
    plain, examined = _header(COLUMNS), _header((*COLUMNS, *DAMAGE_COLUMNS))
    if not any(document.startswith(examined) for document in documents):
        return plain + b"".join(document.removeprefix(plain) for document in documents)
    empty = b"," * len(DAMAGE_COLUMNS) + _END
    rows = [
        document.removeprefix(examined)
        if document.startswith(examined)
        else document.removeprefix(plain).replace(_END, empty)  # names of files have no such end
        for document in documents
    ]
    return examined + b"".join(rows)


def _header(columns: Sequence[str]) -> bytes:
    return ",".join(columns).encode() + _END
