"""The parts of an image file that decoding needs, and the errors of reading them.

Source: EXIF 2.3, 4.6.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_PIECES = 100_000  # chunks or segments of a file; photos of 1 GB stay below

_ORIENTATION = 0x0112  # EXIF tag


class BrokenFileError(ValueError):
    """Error for a file that is damaged or has more pieces than any camera or program writes."""


class UnknownFormatError(ValueError):
    """Error for a file of a format that is not accepted.

    Attributes:
        name: the format with its article, such as "a TIFF"; None if it is not recognised.
        is_page: True if the file is text in XML or HTML.
    """

    def __init__(self, name: str | None, *, is_page: bool = False) -> None:
        super().__init__(name)
        self.name = name
        self.is_page = is_page


@dataclass(frozen=True)
class ImageFile:
    """The parts of an image file that decoding needs.

    Attributes:
        kind: "PNG", "JPEG", "WEBP", "HEIF", "AVIF", "BMP" or "GIF", as Pillow names it.
        width, height: in pixels, as stated in the header, before the orientation is applied.
        pixels: a copy of the file without the data that its first picture does not need.
        orientation: EXIF orientation of the stored picture, 1 (upright) to 8.
        filler: noise that a decoder reads as further pixels, for a JPEG that lacks its end marker;
            `pixels` has an end marker in any case. Empty for all other files.
        margins: rows and columns that the decoder adds around the picture: left, top, right,
            bottom.
    """

    kind: str
    width: int
    height: int
    pixels: bytes
    orientation: int = 1
    filler: bytes = b""
    margins: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def decoded_size(self) -> tuple[int, int]:
        """Width and height of the decoded picture, with the margins."""
        left, top, right, bottom = self.margins
        return self.width + left + right, self.height + top + bottom


def exif_orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 (upright) to 8, or 1 if the data is missing or broken.

    Only this entry of the first directory is read. Libraries read all entries, and copy all data
    that these point to.

    Args:
        exif: a TIFF structure, after the name "Exif" in some files.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, at)
            if tag == _ORIENTATION:
                letter = {1: "B", 3: "H", 4: "I"}.get(kind)  # the integer types
                value = struct.unpack_from(f"{order}{letter}", exif, at + 8)[0] if letter else 1
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
