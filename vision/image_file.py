"""PNG, JPEG and WebP files as files: their size, their EXIF data, and a copy with pixels only.

A decoder reads all of a file, also what has nothing to do with the picture. There a stranger can
hide work without end: texts that get a thousand times as large, EXIF entries that all point to the
same megabytes, scans that repeat, millions of empty pieces. So a decoder gets only what pixels
need. The walk over a file takes time by its length, and keeps nothing but what pixels need.

Sources: PNG specification (third edition), 5 and 11; ITU-T T.81 (JPEG), B.1 and B.2; RFC 9649
(WebP), 2; EXIF 2.3, 4.6.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAX_PIECES = 100_000  # chunks or segments of a file; photos of 1 GB stay below
MAX_SCANS = 64  # of a JPEG; encoders write about 10, the most eager ones 20

_ORIENTATION = 0x0112  # EXIF tag
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")

# JPEG markers. Application data other than JFIF's and Adobe's (both tell the colour space), and
# comments are left out, with them the further pictures of a file with several.
_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame
_JPEG_KEPT = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xE0, 0xEE} | _JPEG_SIZES
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # without content
_JPEG_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_JPEG_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FILLER = b"\xaa" * 512  # 0 and 1 by turns: no code and no value reads as it does with zeros
_FEW = 16  # bytes of a plain area in which there is at least one block of pixels

_WEBP_KEPT = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_WEBP_METADATA = 0x20 | 0x08 | 0x04  # flags: profile, EXIF, XMP


class BrokenFileError(ValueError):
    """The file is damaged, or made of so many pieces that no camera or program wrote it."""


@dataclass(frozen=True)
class ImageFile:
    """What matters of a file.

    Attributes:
        kind: "PNG", "JPEG" or "WEBP".
        width, height: in pixels, as the file promises, before EXIF turns it.
        pixels: the same file without anything that the (first) picture does not need.
        exif: the TIFF structure of its EXIF data, empty if there is none.
        filler: of a JPEG without its end, noise that a decoder reads as further pixels; `pixels`
            has an end nevertheless. Empty for all other files.
    """

    kind: str
    width: int
    height: int
    pixels: bytes
    exif: bytes
    filler: bytes = b""


def read_file(data: bytes) -> ImageFile | None:
    """Take a file apart; None if it is none of the three kinds.

    Pixels are not looked at: they may still be damaged or missing. Of a JPEG without its end
    `is_whole` tells if they are missing.

    Raises:
        BrokenFileError: it is of one of the kinds, but can't be read.
    """
    try:
        if data.startswith(_PNG_START):
            return _read_png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _read_jpeg(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _read_webp(data)
    except (struct.error, IndexError):
        raise BrokenFileError("a header is incomplete") from None
    return None


def orientation(exif: bytes) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where the data is missing or broken.

    Of the first directory only this entry is read: to read all, as libraries do, is to copy
    whatever they point to.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, at)
            if tag == _ORIENTATION:
                letter = {1: "B", 3: "H", 4: "I"}.get(kind)  # the kinds of whole numbers
                value = struct.unpack_from(f"{order}{letter}", exif, at + 8)[0] if letter else 1
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


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
    return ImageFile("PNG", width, height, b"".join(kept), _without_name(exif))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk; the last one may end behind the file."""
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


# --- JPEG


def _read_jpeg(data: bytes) -> ImageFile:
    view = memoryview(data)
    kept: list[memoryview | bytes] = [view[:2]]
    size: tuple[int, int] | None = None
    frame = view[:0]
    scans: list[memoryview] = []
    before_scan = 0  # how many pieces are kept before the last one
    interval = 0  # of restart markers
    exif = b""
    code = 0
    for code, start, end in _jpeg_segments(data):
        if code in _JPEG_SIZES:
            if size is not None:
                raise BrokenFileError("there are two sizes")
            size = struct.unpack_from(">HH", data, start + 5)
            frame = view[start:end]
        elif code == 0xDA:
            scans.append(view[start:end])
            before_scan = len(kept)
            if len(scans) > MAX_SCANS:
                raise BrokenFileError("too many scans")
        elif code == 0xDD:
            (interval,) = struct.unpack_from(">H", data, start + 4)
        elif code == 0xE1 and not exif and data[start + 4 : start + 10] == b"Exif\0\0":
            exif = data[start + 4 : end]
        if code in _JPEG_KEPT or code in (0xDA, 0xD9):
            kept.append(view[start:end])
    if size is None:
        raise BrokenFileError("there is no size")
    filler = b""
    if code != 0xD9:
        if not scans or _lacks_scans(frame, scans):
            raise BrokenFileError("scans are missing")
        last = bytes(scans[-1]).rstrip(b"\xff")  # without the half of a marker
        kept[before_scan:] = [last, _JPEG_END]
        filler = _filler(last, interval)
    height, width = size
    return ImageFile("JPEG", width, height, b"".join(kept), _without_name(exif), filler)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment of the first picture; a scan is one with its data."""
    at = 2
    scanned = False
    for _ in range(MAX_PIECES):
        found = _MARKER.search(data, at)
        if found is None:
            return
        start, code = found.start(), data[found.start() + 1]
        at = start + 2
        if code == 0xD8 and scanned:  # start of a second picture, before the end of the first
            return
        if code in _JPEG_BARE:
            continue
        if code == 0xD9:  # end of the picture
            yield code, start, at
            return
        (length,) = struct.unpack_from(">H", data, at)
        at += max(2, length)
        if code == 0xDA:
            scanned = True
            behind = _SCAN_END.search(data, at)
            at = behind.start() if behind else len(data)
        yield code, start, at
    raise BrokenFileError("too many segments")


def _lacks_scans(frame: memoryview, scans: list[memoryview]) -> bool:
    """Tell if bits of coefficients are in no scan (T.81, B.2.3 and G.1.1).

    Args:
        frame: the segment that starts the frame.
        scans: all scans with their headers.
    """
    missing = dict.fromkeys(frame[10 : 10 + 3 * frame[9] : 3], 2**64 - 1)  # component -> bits
    for scan in scans:
        count = scan[4]
        first, last, approximation = (scan[5 + 2 * count + i] for i in range(3))
        if frame[1] not in _JPEG_PROGRESSIVE:
            first, last, approximation = 0, 63, 0
        if approximation & 15 == 0:  # the lowest bit of each coefficient
            for component in scan[5 : 5 + 2 * count : 2]:
                if component in missing:
                    missing[component] &= ~(2 ** (last + 1) - 2**first)
    return any(missing.values())


def _filler(scan: bytes, interval: int) -> bytes:
    """Return noise that continues a scan, with the restart markers that a decoder waits for.

    Raises BrokenFileError where it would wait for others than it finds: there it gives up.

    Args:
        scan: the last scan.
        interval: blocks between two restart markers; 0 if there are none.
    """
    count = 0
    for count, found in enumerate(_RESTART.finditer(scan), 1):
        if not interval or scan[found.start() + 1] != 0xD0 + (count - 1) % 8:
            raise BrokenFileError("a restart marker is out of place")
    markers = (bytes((0xFF, 0xD0 + (count + i) % 8)) for i in range(8))
    return b"".join(_FILLER + marker for marker in markers) + _FILLER + _JPEG_END


def is_whole(file: ImageFile, shows_the_same: Callable[[bytes], bool]) -> bool:
    """Tell if a JPEG without its end has all that its picture needs.

    A decoder makes up for what is missing, so only the picture can tell: it must be the same when
    noise comes behind the file.

    Args:
        file: the JPEG.
        shows_the_same: decodes a JPEG and tells if its picture is that of `file.pixels`.
    """
    data = file.pixels.removesuffix(_JPEG_END)
    bare = data[: len(data.rstrip(b"\0")) + 1]  # the last byte of a scan is often a zero itself
    if shows_the_same(bare + file.filler):
        return True
    # More zeros may be a plain area. If the picture needs fewer, they may also be the end of a
    # download into a file that had its length from the start.
    return (
        len(bare) < len(data)
        and shows_the_same(data + file.filler)
        and not shows_the_same(data[:-_FEW] + file.filler)
    )


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
            kept.append(b"\0")  # some programs leave out the zero that fills up the last chunk
    if size is None:
        raise BrokenFileError("there is no size")
    body = b"".join((b"WEBP", *kept))
    header = b"RIFF" + struct.pack("<I", len(body))
    return ImageFile("WEBP", *size, header + body, _without_name(exif))


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk; the last one may end behind the file."""
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
    """Width and height that the first chunk, whose content is at `at`, gives."""
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


def _without_name(exif: bytes) -> bytes:
    """EXIF data without the name that precedes it in some files."""
    return exif.removeprefix(b"Exif\0\0")
