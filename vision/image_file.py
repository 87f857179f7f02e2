"""Read the size, the orientation and the pixel data of an image file without decoding it.

A decoder reads a whole file, including data that has nothing to do with the picture. An attacker
can hide endless work there: texts that inflate a thousandfold, EXIF entries that all point to the
same megabytes, repeated scans, millions of empty chunks. So the decoder gets a copy that holds only
the data that pixels need. Making the copy takes time proportional to the file's length.

Sources: PNG specification (third edition), 5 and 11; RFC 9649 (WebP), 2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from vision.heif_file import read_heif
from vision.image_parts import (
    MAX_PIECES,
    BrokenFileError,
    ImageFile,
    UnknownFormatError,
    exif_orientation,
)
from vision.jpeg_file import read_jpeg
from vision.old_formats import read_bmp, read_gif
from vision.other_formats import format_name, has_heif_brand, is_page

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")

_WEBP_KEPT = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_WEBP_METADATA = 0x20 | 0x08 | 0x04  # flags: profile, EXIF, XMP


def read_file(data: bytes) -> ImageFile:
    """Read an image file.

    Pixels are not decoded, so they may still be damaged or missing.

    Raises:
        BrokenFileError: the file has an accepted format but can't be read.
        UnknownFormatError: the file has another format.
    """
    read = _reader(data)
    if read is None:
        name = format_name(data)
        raise UnknownFormatError(name, is_page=name is None and is_page(data))
    try:
        file = read(data)
    except (struct.error, IndexError):
        raise BrokenFileError("a header is incomplete") from None
    if not file.width or not file.height:
        raise BrokenFileError("there are no pixels")
    return file


def _reader(data: bytes) -> Callable[[bytes], ImageFile] | None:
    """Return the function that reads a file of this format; None for other formats."""
    if data.startswith(_PNG_START):
        return _read_png
    if data.startswith(b"\xff\xd8\xff"):
        return read_jpeg
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp
    if data.startswith((b"GIF87a", b"GIF89a")):
        return read_gif
    if data.startswith(b"BM") and data[15:18] == b"\0\0\0":  # length of its second header
        return read_bmp
    return read_heif if has_heif_brand(data) else None


# --- PNG


def _read_png(data: bytes) -> ImageFile:
    view = memoryview(data)
    kept = [view[:8]]
    seen: set[bytes] = set()
    exif = b""
    for name, start, end in _png_chunks(data):
        if not seen and name != b"IHDR":
            raise BrokenFileError("the header is not first")
        if name == b"eXIf" and not exif:
            exif = data[start + 8 : end - 4]
        if name in _PNG_KEPT and (name == b"IDAT" or name not in seen):
            kept.append(view[start:end])
            seen.add(name)
    if not seen:
        raise BrokenFileError("there is no header")
    width, height = struct.unpack_from(">II", data, 16)
    return ImageFile("PNG", width, height, b"".join(kept), exif_orientation(exif))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and end of each chunk; the last one may end after the file."""
    at = 8
    for _ in range(MAX_PIECES):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        if not name.isalpha():
            raise BrokenFileError("a chunk has no name")
        yield name, at, at + 12 + length
        at += 12 + length
        if name == b"IEND":
            return
    raise BrokenFileError("too many chunks")


# --- WebP


def _read_webp(data: bytes) -> ImageFile:
    view = memoryview(data)
    kept: list[memoryview | bytes] = []
    size: tuple[int, int] | None = None
    seen: set[bytes] = set()
    exif = b""
    for name, start, end in _webp_chunks(data):
        if size is None:
            size = _webp_size(name, data, start + 8)
        if name == b"EXIF" and not exif:
            exif = data[start + 8 : end]
        if name not in _WEBP_KEPT or name in seen:
            continue
        seen.add(name)
        if name == b"VP8X":
            flags = data[start + 8] & ~_WEBP_METADATA
            kept += [view[start : start + 8], bytes((flags,)), view[start + 9 : end]]
        else:
            kept.append(view[start:end])
        if end == len(data) + 1 and data[start + 4] % 2:  # an odd length
            kept.append(b"\0")  # some programs omit the zero that pads the last chunk
    if size is None:
        raise BrokenFileError("there is no size")
    body = b"".join((b"WEBP", *kept))
    header = b"RIFF" + struct.pack("<I", len(body))
    return ImageFile("WEBP", *size, header + body, exif_orientation(exif))


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and end of each chunk; the last one may end after the file."""
    at = 12
    for _ in range(MAX_PIECES):
        if at + 8 > len(data):
            return
        name, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        yield name, at, end
        at = end
    raise BrokenFileError("too many chunks")


def _webp_size(name: bytes, data: bytes, at: int) -> tuple[int, int]:
    """Return width and height from the first chunk.

    Args:
        name: of the chunk.
        data: the file.
        at: position of the chunk's content.
    """
    if name == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, at + 4)
        return (high_w << 16 | low_w) + 1, (high_h << 16 | low_h) + 1
    if name == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, at + 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, at + 6)
        return width & 0x3FFF, height & 0x3FFF
    raise BrokenFileError("the size is not first")
