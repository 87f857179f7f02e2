"""Read the size, the EXIF data and the pixel data of PNG, JPEG and WebP files without decoding.

A decoder reads a whole file, including data that has nothing to do with the picture. An attacker
can hide endless work there: texts that inflate a thousandfold, EXIF entries that all point to the
same megabytes, repeated scans, millions of empty chunks. So the decoder gets a copy that holds only
the data that pixels need. Making the copy takes time proportional to the file's length.

Sources: PNG specification (third edition), 5 and 11; ITU-T T.81 (JPEG), B.1 and B.2; RFC 9649
(WebP), 2; EXIF 2.3, 4.6.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAX_PIECES = 100_000  # chunks or segments of a file; photos of 1 GB stay below
MAX_SCANS = 64  # of a JPEG; encoders write about 10, and 20 at most

_ORIENTATION = 0x0112  # EXIF tag
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")

# JPEG markers. Comments are left out, and application data other than JFIF's and Adobe's, which
# both name the colour space. That also leaves out the further pictures of a multi-picture file.
_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame
_JPEG_KEPT = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xE0, 0xEE} | _JPEG_SIZES
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # without content
_JPEG_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_JPEG_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FILLER = b"\xaa" * 512  # alternating bits: every code and value decodes unlike those of zeros
_FEW = 16  # bytes of a plain area that hold at least one block of pixels

_WEBP_KEPT = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_WEBP_METADATA = 0x20 | 0x08 | 0x04  # flags: profile, EXIF, XMP


class BrokenFileError(ValueError):
    """Error for a file that is damaged or has more pieces than any camera or program writes."""


@dataclass(frozen=True)
class ImageFile:
    """The parts of an image file that decoding needs.

    Attributes:
        kind: "PNG", "JPEG" or "WEBP".
        width, height: in pixels, as stated in the header, before the EXIF orientation is applied.
        pixels: a copy of the file without the data that its first picture does not need.
        exif: the TIFF structure of its EXIF data, empty if there is none.
        filler: noise that a decoder reads as further pixels, for a JPEG that lacks its end marker;
            `pixels` has an end marker in any case. Empty for all other files.
    """

    kind: str
    width: int
    height: int
    pixels: bytes
    exif: bytes
    filler: bytes = b""


def read_file(data: bytes) -> ImageFile | None:
    """Read an image file; return None for other formats.

    Pixels are not decoded, so they may still be damaged or missing. `is_whole` checks for missing
    pixels in a JPEG that lacks its end marker.

    Raises:
        BrokenFileError: the file has one of the three formats but can't be read.
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
    """Return the EXIF orientation, 1 (upright) to 8, or 1 if the data is missing or broken.

    Only this entry of the first directory is read. Libraries read all entries, and copy all data
    that these point to.
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
                letter = {1: "B", 3: "H", 4: "I"}.get(kind)  # the integer types
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


# --- JPEG


def _read_jpeg(data: bytes) -> ImageFile:
    view = memoryview(data)
    kept: list[memoryview | bytes] = [view[:2]]
    size: tuple[int, int] | None = None
    frame = view[:0]
    scans: list[memoryview] = []
    before_scan = 0  # number of pieces kept before the last scan
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
        last = bytes(scans[-1]).rstrip(b"\xff")  # without half a marker
        kept[before_scan:] = [last, _JPEG_END]
        filler = _filler(last, interval)
    height, width = size
    return ImageFile("JPEG", width, height, b"".join(kept), _without_name(exif), filler)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker, start and end of each segment of the first picture.

    A scan's segment includes its data.
    """
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
    """Return True if no scan holds some bits of the coefficients (T.81, B.2.3 and G.1.1).

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
    """Return noise that continues a scan, with the restart markers that a decoder expects.

    Args:
        scan: the last scan.
        interval: blocks between two restart markers; 0 if there are none.

    Raises:
        BrokenFileError: the scan has an unexpected restart marker, at which a decoder stops.
    """
    count = 0
    for count, found in enumerate(_RESTART.finditer(scan), 1):
        if not interval or scan[found.start() + 1] != 0xD0 + (count - 1) % 8:
            raise BrokenFileError("a restart marker is out of place")
    markers = (bytes((0xFF, 0xD0 + (count + i) % 8)) for i in range(8))
    return b"".join(_FILLER + marker for marker in markers) + _FILLER + _JPEG_END


def is_whole(file: ImageFile, shows_the_same: Callable[[bytes], bool]) -> bool:
    """Return True if a JPEG that lacks its end marker has all its pixels.

    A decoder fills in missing pixels, so the decoded pictures are compared. Noise appended to the
    file changes the picture only if pixels are missing.

    Args:
        file: the JPEG.
        shows_the_same: decodes a JPEG and returns True if its picture is that of `file.pixels`.
    """
    data = file.pixels.removesuffix(_JPEG_END)
    bare = data[: len(data.rstrip(b"\0")) + 1]  # the last byte of a scan is often a zero itself
    if shows_the_same(bare + file.filler):
        return True
    # Further zeros may be a plain area. But if the picture does not need all of them, they may come
    # from an interrupted download into a file that was created at full length.
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
            kept.append(b"\0")  # some programs omit the zero that pads the last chunk
    if size is None:
        raise BrokenFileError("there is no size")
    body = b"".join((b"WEBP", *kept))
    header = b"RIFF" + struct.pack("<I", len(body))
    return ImageFile("WEBP", *size, header + body, _without_name(exif))


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


def _without_name(exif: bytes) -> bytes:
    """Return EXIF data without the name that precedes it in some files."""
    return exif.removeprefix(b"Exif\0\0")
