"""Valid files of every kind, and damage as it happens or as someone does it on purpose."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.hostile.bombs import apng, chunk, png, webp_animation
from tests.support import heif
from tests.support.pictures import encoded, noise

_SIZE = (24, 32)
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def seeds() -> dict[str, list[bytes]]:
    """Return small valid files by format, which use different parts of its decoder."""
    colours = Image.fromarray(noise(*_SIZE))
    alpha = Image.fromarray(np.dstack([noise(*_SIZE), noise(*_SIZE, seed=1)[..., 0]]))
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = colours.quantize(16)
    grey = Image.fromarray(np.arange(_SIZE[0] * _SIZE[1], dtype=np.uint16).reshape(_SIZE) * 85)
    frames = {"save_all": True, "append_images": [colours, alpha.convert("RGB")]}
    return {
        "PNG": [
            encoded(colours),
            encoded(alpha),
            encoded(palette, transparency=3),
            encoded(grey),
            encoded(colours, exif=exif),
            png(*_SIZE, interlaced=True),
            png(*_SIZE, colour=3, depth=2, extra=chunk(b"zTXt", b"a\0\0x")),
            apng(4),
        ],
        "JPEG": [
            encoded(colours, "JPEG"),
            encoded(colours, "JPEG", progressive=True),
            encoded(colours, "JPEG", exif=exif, subsampling=0),
            encoded(colours.convert("CMYK"), "JPEG"),
            encoded(colours.convert("L"), "JPEG", restart_marker_blocks=1),
            encoded(colours, "MPO", **frames),
            encoded(colours, "JPEG", restart_marker_blocks=2).removesuffix(b"\xff\xd9"),
        ],
        "WEBP": [
            encoded(colours, "WEBP"),
            encoded(colours, "WEBP", lossless=True),
            encoded(alpha, "WEBP", exif=exif),
            encoded(alpha, "WEBP", lossless=True),
            encoded(colours, "WEBP", **frames),
            webp_animation(3),
        ],
        "HEIF": [*map(heif.heic, ("car", "odd", "alpha", "ten_bits")), heif.phone_photo()],
        "AVIF": [
            encoded(colours, "AVIF"),
            encoded(alpha, "AVIF", exif=exif),
            encoded(colours.convert("L"), "AVIF"),
            encoded(colours, "AVIF", **frames),
        ],
        "BMP": [
            encoded(colours, "BMP"),
            encoded(alpha, "BMP"),
            encoded(palette, "BMP"),
            encoded(colours.convert("1"), "BMP"),
        ],
        "GIF": [
            encoded(palette, "GIF", transparency=3),
            encoded(palette, "GIF", interlace=0, comment=b"hello"),
            encoded(palette, "GIF", **frames),
        ],
    }


def mutations(count: int, kind: str, seed: int = 0) -> Iterator[bytes]:
    """Yield damaged files, the same for the same seed."""
    chance = random.Random(f"{seed}-{kind}")
    valid = seeds()[kind]
    for number in range(count):
        damaged = _damaged(valid[number % len(valid)], chance)
        if kind == "PNG" and chance.random() < 0.7:  # else the checksums keep all damage out
            damaged = _with_checksums(damaged)
        yield damaged


def _damaged(data: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.15:
        return data[: chance.randrange(1, len(data))]  # an upload that broke off
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8, 30))):
        # Half of the damage is where the numbers are that decoders believe.
        reach = len(damaged) if chance.random() < 0.5 else min(len(damaged), 80)
        at = chance.randrange(reach)
        match chance.randrange(6):
            case 0 | 1:
                damaged[at] ^= 1 << chance.randrange(8)
            case 2:
                damaged[at] = chance.randrange(256)
            case 3:
                damaged[at : at + 4] = struct.pack(
                    chance.choice("<>") + "I", chance.choice(_NUMBERS)
                )
            case 4:
                del damaged[at : at + chance.randrange(1, 9)]
            case 5:
                piece = damaged[at : at + chance.randrange(1, 40)]
                damaged[at:at] = piece
        if len(damaged) < 2:
            break
    return bytes(damaged)


def _with_checksums(data: bytes) -> bytes:
    """Return a damaged PNG whose chunks all have the right checksum."""
    mended = bytearray(data)
    at = 8
    while at + 12 <= len(mended):
        (length,) = struct.unpack_from(">I", mended, at)
        end = at + 8 + length
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(mended[at + 4 : end]))
        at = end + 4
    return bytes(mended)
