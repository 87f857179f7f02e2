"""Read the size, the orientation and the pixel data of a JPEG without decoding it.

Source: ITU-T T.81, B.1 and B.2.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from vision.image_parts import MAX_PIECES, BrokenFileError, ImageFile, exif_orientation

MAX_SCANS = 64  # encoders write about 10, and 20 at most

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


def read_jpeg(data: bytes) -> ImageFile:
    """Read the first picture of a JPEG.

    Pixels are not decoded, so they may still be damaged or missing. `is_whole` checks for missing
    pixels in a JPEG that lacks its end marker.

    Raises:
        BrokenFileError, struct.error, IndexError: the file is damaged.
    """
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
    turn = exif_orientation(exif)
    return ImageFile("JPEG", width, height, b"".join(kept), turn, filler)


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
