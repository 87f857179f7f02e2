"""Read the size and the pixel data of a BMP, and of a GIF's first picture, without decoding.

Sources: GIF89a specification, 18 to 24; Microsoft, "Bitmap Storage".
"""

from __future__ import annotations

import struct

from vision.image_parts import MAX_PIECES, BrokenFileError, ImageFile, UnknownFormatError

_BMP_HEADERS = (40, 52, 56, 64, 108, 124)  # lengths; the oldest, of 12 bytes, has its own layout
_BMP_PLAIN = (0, 3, 6)  # kinds of compression: none, and none with masks for the colours
_BMP_TABLE = 3 * 4 + 256 * 4 + 4  # bytes of masks and palette at most

_GIF_EXTENSION, _GIF_CONTROL, _GIF_PICTURE = 0x21, 0xF9, 0x2C
_GIF_BLOCK = 128  # bytes; encoders fill blocks of 255


def read_bmp(data: bytes) -> ImageFile:
    """Read a BMP.

    Raises:
        BrokenFileError, struct.error: the file is damaged.
        UnknownFormatError: its pixels are compressed.
    """
    offset, header = struct.unpack_from("<II", data, 10)
    compression = 0
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    elif header in _BMP_HEADERS:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    else:
        raise BrokenFileError("the header is unknown")
    height = abs(height)  # negative if the top row is first
    if compression not in _BMP_PLAIN:
        raise UnknownFormatError("a compressed BMP")
    end = offset + (width * bits + 31) // 32 * 4 * height
    if width < 0 or offset < 14 + header or end > len(data):
        raise BrokenFileError("pixels are missing")
    start = min(offset, 14 + header + _BMP_TABLE)
    head = data[:10] + struct.pack("<I", start) + data[14:start]
    return ImageFile("BMP", width, height, head + data[offset:end])


def read_gif(data: bytes) -> ImageFile:
    """Read the first picture of a GIF.

    Raises:
        BrokenFileError, struct.error, IndexError: the file is damaged.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _gif_table(flags)
    start, control = data[:at], b""
    for _ in range(MAX_PIECES):
        if data[at] == _GIF_EXTENSION:
            end = _after_blocks(data, at + 2)
            if data[at + 1] == _GIF_CONTROL:  # names the transparent colour
                control = data[at:end][:8]
            at = end
        elif data[at] == _GIF_PICTURE:
            left, top, columns, rows, flags = struct.unpack_from("<HHHHB", data, at + 1)
            end = _after_blocks(data, at + 11 + _gif_table(flags))
            pixels = b"".join((start, control, data[at:end], b";"))
            if not columns or not rows:
                raise BrokenFileError("there are no pixels")
            return ImageFile("GIF", max(width, left + columns), max(height, top + rows), pixels)
        else:
            break
    raise BrokenFileError("there is no picture")


def _gif_table(flags: int) -> int:
    """Return the length of a colour table in bytes."""
    return 6 << (flags & 7) if flags & 128 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Return the position after the blocks that start at a position."""
    for _ in range(MAX_PIECES + len(data) // _GIF_BLOCK):
        length = data[at]
        at += 1 + length
        if not length:
            return at
    raise BrokenFileError("too many blocks")
