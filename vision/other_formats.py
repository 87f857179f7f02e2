"""Recognise common formats that the service does not accept, to name them in error messages.

Sources: ISO/IEC 14496-12 (boxes and brands), 4.2 and 4.3; ISO/IEC 23008-12 (HEIF), annex B; the
AVIF specification, 6; TIFF 6.0, 2; the DNG specification; XML 1.0, 2.8.
"""

from __future__ import annotations

import re
import struct

_REACH = 1 << 16  # bytes that are searched; comments and entities may precede an SVG's element

# Format with its article -> signatures (offset, bytes).
_SIGNATURES: dict[str, tuple[tuple[int, bytes], ...]] = {
    "a JPEG XL": ((0, b"\xff\x0a"), (4, b"JXL ")),
    "a JPEG 2000": ((4, b"jP  "),),
    "an icon": ((0, b"\0\0\1\0"),),
    "a Photoshop": ((0, b"8BPS"),),
    "a RAW": ((0, b"FUJIFILMCCD-RAW"), (0, b"IIRO"), (0, b"IIRS"), (0, b"IIU\0"), (4, b"ftypcrx ")),
    "a GIF": ((0, b"GIF8"),),  # of an unknown version
}
_RAW_TAGS = {0x014A, 0xC612}  # TIFF entries of cameras: further pictures, version of DNG

# Brands of HEIC and AVIF files. Most files with a general brand, open to any codec, are HEIC.
_BRANDS = {
    *(b"avif", b"avis", b"avio", b"MA1A", b"MA1B"),
    *(b"heic", b"heix", b"heim", b"heis"),
    *(b"hevc", b"hevx", b"hevm", b"hevs"),  # sequences, such as bursts
    *(b"mif1", b"mif2", b"msf1", b"miaf"),
}
_FILLING = (b"free", b"skip", b"wide")  # boxes that may precede the one with the brands

# Declarations, comments and a document type may precede the first element. The groups are atomic:
# they never backtrack, so the time is linear in the length.
_SVG = re.compile(
    r"(?>\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>)*+<(?:[\w.-]+:)?svg(?![\w.-])",
    re.DOTALL,
)
_PAGE = re.compile(r"<(?:\?xml\b|!DOCTYPE\b|!--|[a-z][\w.:-]*[\s/>])", re.IGNORECASE)


def format_name(data: bytes) -> str | None:
    """Return the format of a file with its article, such as "a TIFF"; None if it is unknown."""
    for name, signatures in _SIGNATURES.items():
        if any(data.startswith(signature, offset) for offset, signature in signatures):
            return name
    if data.startswith((b"II*\0", b"MM\0*")):
        return "a RAW" if data[8:10] == b"CR" or _RAW_TAGS & _tiff_tags(data) else "a TIFF"
    text = _text(data)
    if text.startswith("%PDF"):
        return "a PDF"
    return "an SVG" if _SVG.match(text) else None


def is_page(data: bytes) -> bool:
    """Return True for text in XML or HTML, such as the error page of a server."""
    return _PAGE.match(_text(data)) is not None


def has_heif_brand(data: bytes) -> bool:
    """Return True for a file that says it is a HEIC or AVIF."""
    return not _BRANDS.isdisjoint(_brands(data))


def _tiff_tags(data: bytes) -> set[int]:
    """Return the tags in the first directory of a TIFF."""
    order = "<" if data.startswith(b"II") else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        entries = struct.iter_unpack(f"{order}H10x", data[start + 2 : start + 2 + 12 * count])
        return {tag for (tag,) in entries}
    except struct.error:
        return set()


def _text(data: bytes) -> str:
    """Return the start of a file as text, without leading blanks."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin-1"
    return data[:_REACH].removeprefix(b"\xef\xbb\xbf").decode(encoding, "replace").lstrip()


def _brands(data: bytes) -> list[bytes]:
    """Return the brands in a box-structured file, the major one first."""
    at = 0
    while at + 8 <= min(len(data), _REACH):
        length, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= len(data):  # a length too large for 32 bits
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        end = at + length if length else len(data)
        if name == b"ftyp":
            content = data[at + head : min(max(end, at + head + 4), at + _REACH)]
            return [content[:4], *(content[i : i + 4] for i in range(8, len(content), 4))]
        if name not in _FILLING or end < at + head:
            break
        at = end
    return []
