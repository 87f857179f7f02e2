"""Files that are small to send and expensive to read, one builder for each way."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from tests.support import heif
from tests.support.pictures import encoded
from vision.heif_boxes import NewItem, box, write_file

MEGA = 1 << 20
BUDGET = 20 * MEGA  # bytes of a file that the service takes


# --- PNG


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG, with its checksum."""
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(
    width: int,
    height: int,
    *,
    colour: int = 2,
    depth: int = 8,
    interlaced: bool = False,
    extra: bytes = b"",
    after: bytes = b"",
    pixels: bool = True,
) -> bytes:
    """Return a PNG of zeros that is as small as its size allows.

    Args:
        width, height: in pixels.
        colour, depth: as in IHDR.
        interlaced: in the seven passes of Adam7.
        extra: chunks before the pixels.
        after: chunks behind them.
        pixels: whether there are enough for the promised size.
    """
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    packer = zlib.compressobj(9)
    packed = b""
    if pixels:
        row = bytes(1 + (width * samples * depth + 7) // 8)
        count = height * 15 // 8 + 8 if interlaced else height  # more than Adam7 needs
        packed = b"".join(packer.compress(row) for _ in range(count))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"PLTE", bytes(3)) if colour == 3 else b"")
        + extra
        + chunk(b"IDAT", packed + packer.flush())
        + after
        + chunk(b"IEND", b"")
    )


def _filled(make: Callable[[int], bytes]) -> bytes:
    """Return a file with the most pieces allowed."""
    size = len(make(0))
    return b"".join(make(i) for i in range((BUDGET - 100_000) // size))


def _zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def png_texts(kind: bytes, key: bytes) -> bytes:
    """Return thousands of compressed texts of 1 MB each."""
    content = {
        b"zTXt": key + b"\0\0" + _zeros(MEGA - 1),
        b"iTXt": key + b"\0\1\0\0\0" + zlib.compress(b"\xff" * (MEGA - 1), 9),
        b"iCCP": key + b"\0\0" + _zeros(MEGA - 1),
    }[kind]
    piece = chunk(kind, content)
    return png(8, 8, extra=_filled(lambda i: piece))


def png_one_text(kind: bytes) -> bytes:
    """Return a text that grows 1,000 times when it is read."""
    middle = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind]
    return png(8, 8, extra=chunk(kind, middle + _zeros(1 << 25)))


def png_chunks(after: bool = False) -> bytes:
    """Return more than a million chunks without content."""
    pieces = chunk(b"prVt", b"") * ((BUDGET - 100_000) // 12)
    return png(8, 8, after=pieces) if after else png(8, 8, extra=pieces)


def png_idats() -> bytes:
    """Return the pixels in more than a million chunks."""
    data = png(8, 8)
    start = data.index(b"IDAT") - 4
    return data[:start] + chunk(b"IDAT", b"") * ((BUDGET - 100_000) // 12) + data[start:]


def png_lying_length(length: int, name: bytes = b"tEXt") -> bytes:
    """Return a chunk that claims to be larger than the file."""
    return png(8, 8, extra=struct.pack(">I", length) + name + b"a\0b")


def apng(frames: int) -> bytes:
    """Return an animation of many pictures."""
    pixel = zlib.compress(bytes(1 + 3 * 8) * 8)

    def control(number: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 8, 8, 0, 0, 1, 10, 0, 0))

    rest = b"".join(
        control(2 * i + 1) + chunk(b"fdAT", struct.pack(">I", 2 * i + 2) + pixel)
        for i in range(frames - 1)
    )
    start = chunk(b"acTL", struct.pack(">II", frames, 0)) + control(0)
    return png(8, 8, extra=start, after=rest)


# --- EXIF


def exif_bomb(tags: int = 28_000, size: int = 18 * MEGA) -> bytes:
    """Return a directory whose entries all point to the same bytes."""
    entries = b"".join(struct.pack("<HHII", 0x9000 + i, 7, size, 0) for i in range(tags))
    return b"II*\0" + struct.pack("<IH", 8, tags) + entries + bytes(size)


# --- JPEG


def segment(code: int, content: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return bytes((0xFF, code)) + struct.pack(">H", len(content) + 2) + content


def jpeg(extra: bytes = b"", size: tuple[int, int] = (64, 64), **options: object) -> bytes:
    """Return a grey JPEG with data after its first two bytes."""
    data = encoded(Image.new("RGB", size, (90, 120, 150)), "JPEG", **options)
    return data[:2] + extra + data[2:]


def jpeg_exif(exif: bytes) -> bytes:
    """Return EXIF data in as many segments as needed; some decoders join them."""
    step = 65_000
    return jpeg(
        b"".join(segment(0xE1, b"Exif\0\0" + exif[i : i + step]) for i in range(0, len(exif), step))
    )


def jpeg_scans(count: int, size: tuple[int, int]) -> bytes:
    """Return a progressive JPEG with thousands of empty scans."""
    data = encoded(Image.new("L", size, 128), "JPEG", progressive=True)
    tail = data.rindex(b"\xff\xda")
    # Refinement of the lowest bit of all AC coefficients, all blocks in few end-of-band runs.
    refine = bytes((0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 63, 0x10))
    last = data[tail:-2]
    scan = refine + last[10:] if last[9] else last
    return data[:-2] + scan * count + b"\xff\xd9"


def jpeg_size(width: int, height: int) -> bytes:
    """Return a JPEG that claims another size than it has."""
    data = bytearray(jpeg())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_segments() -> bytes:
    """Return millions of empty comments."""
    return jpeg(segment(0xFE, b"") * ((BUDGET - 100_000) // 4))


def jpeg_junk(filler: bytes) -> bytes:
    """Return a JPEG with megabytes of padding before the first segment."""
    return jpeg(filler * ((BUDGET - 100_000) // len(filler)))


def mpo(pictures: int) -> bytes:
    """Return a JPEG of many pictures."""
    one = Image.new("RGB", (64, 64), (90, 120, 150))
    return encoded(one, "MPO", save_all=True, append_images=[one] * (pictures - 1))


# --- WebP


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP file of these chunks."""
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a valid WebP file."""
    at = 12
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def webp_canvas(width: int, height: int, flags: int = 0) -> bytes:
    """Return a WebP that claims another size than it has."""
    ((name, content),) = webp_chunks(encoded(Image.new("RGB", (8, 8)), "WEBP"))
    header = bytes((flags, 0, 0, 0)) + (width - 1).to_bytes(3, "little")
    return riff((b"VP8X", header + (height - 1).to_bytes(3, "little")), (name, content))


def webp_lossless_size(width: int, height: int) -> bytes:
    """Return the same for a lossless WebP."""
    ((name, content),) = webp_chunks(encoded(Image.new("RGB", (8, 8)), "WEBP", lossless=True))
    (bits,) = struct.unpack_from("<I", content, 1)
    bits = bits & ~0xFFFFFFF | width - 1 | height - 1 << 14
    return riff((name, content[:1] + struct.pack("<I", bits) + content[5:]))


def webp_animation(frames: int) -> bytes:
    """Return an animation of many pictures."""
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(pictures[0], "WEBP", save_all=True, append_images=pictures[1:])
    chunks = list(webp_chunks(data))
    start = [piece for piece in chunks if piece[0] != b"ANMF"]
    frame = next(piece for piece in chunks if piece[0] == b"ANMF")
    return riff(*start, *[frame] * frames)


def webp_exif(exif: bytes) -> bytes:
    """Return a WebP with this EXIF data."""
    ((name, content),) = webp_chunks(encoded(Image.new("RGB", (8, 8)), "WEBP"))
    header = bytes((8, 0, 0, 0)) + (7).to_bytes(3, "little") * 2
    return riff((b"VP8X", header), (name, content), (b"EXIF", exif))


def webp_unknown_chunks() -> bytes:
    """Return millions of unknown chunks."""
    ((name, content),) = webp_chunks(encoded(Image.new("RGB", (8, 8)), "WEBP"))
    header = bytes(4) + (7).to_bytes(3, "little") * 2
    pieces = (b"prVt" + bytes(4)) * ((BUDGET - 100_000) // 8)
    data = riff((b"VP8X", header), (name, content))
    return b"RIFF" + struct.pack("<I", len(data) + len(pieces) - 8) + data[8:] + pieces


# --- HEIC and AVIF


def heif_boxes() -> bytes:
    """Millions of boxes that mean nothing."""
    data = heif.heic("car")
    return data[:28] + box(b"free") * ((BUDGET - 100_000) // 8) + data[28:]


def heif_lying_size(size: tuple[int, int]) -> bytes:
    """A picture whose tables promise another size than its coded data."""
    return heif.with_other_size(heif.heic("flat"), (512, 512), size)


def heif_coded_size(kind: str) -> bytes:
    """A large coded picture in tables that promise a small one."""
    if kind == "HEIF":
        return heif_lying_size((16, 16))
    data = encoded(Image.new("RGB", (4_000, 3_000)), "AVIF", speed=10)
    return heif.with_other_size(data, (4_000, 3_000), (16, 16))


def heif_shared_tiles() -> bytes:
    """Tiles that all take the same megabytes of the file as their data."""
    tile = heif.items(heif.heic("flat"))[0]
    unit = struct.pack(">I", 5 * MEGA) + bytes((0x4E, 1)) + bytes(5 * MEGA - 2)
    tiles = [NewItem(b"hvc1", b"", tile.properties) for _ in range(1024)]
    tiles[0] = NewItem(b"hvc1", unit + tile.content, tile.properties)
    data = bytearray(write_file(b"heic", heif.grid(tiles, 32, 32, (16_000, 3_000))))
    places = data.index(b"iloc") + 12
    first = data[places + 14 + 6 : places + 28]
    for number in range(1024):
        at = places + 14 * (number + 1) + 6
        data[at : at + 8] = first
    return bytes(data)


def heif_extents() -> bytes:
    """Millions of pieces without length."""
    pieces = b"\0\2" + bytes(6) + (b"\0\1\0\0\xff\xff" * 2_000)
    tables = [
        box(b"pitm", bytes(4), b"\0\1"),
        box(b"iinf", bytes(6)),
        box(b"iloc", bytes(4), pieces[6:8], struct.pack(">H", 2_000), pieces[8:]),
        box(b"iprp"),
    ]
    return heif.heic("car")[:28] + box(b"meta", bytes(4), *tables)


def heif_slices() -> bytes:
    """A picture that is drawn thousands of times."""
    (picture,) = heif.items(heif.heic("flat"))
    content = picture.content * 5_000
    return write_file(b"heic", [NewItem(b"hvc1", content, picture.properties)])


# --- GIF and BMP


def gif(width: int, height: int, extra: bytes = b"", after: bytes = b"") -> bytes:
    """A GIF of one pixel on a canvas."""
    data = encoded(Image.new("P", (1, 1)), "GIF")
    at = data.index(b",", 13)
    head = data[:6] + struct.pack("<HH", width, height) + data[10:at]
    return head + extra + data[at:-1] + after + b";"


def gif_comments() -> bytes:
    """Millions of empty comments."""
    return gif(1, 1, extra=b"!\xfe\0" * ((BUDGET - 100_000) // 3))


def gif_blocks() -> bytes:
    """A comment in millions of blocks of one byte."""
    return gif(1, 1, extra=b"!\xfe" + b"\1a" * ((BUDGET - 100_000) // 2) + b"\0")


def gif_pictures() -> bytes:
    """An animation of a million pictures."""
    data = encoded(Image.new("P", (1, 1)), "GIF")
    picture = data[data.index(b",", 13) : -1]
    return gif(1, 1, after=picture * ((BUDGET - 100_000) // len(picture)))


def bmp(width: int, height: int, compression: int = 0) -> bytes:
    """A BMP without pixels."""
    data = bytearray(encoded(Image.new("RGB", (1, 1)), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    data[30:34] = struct.pack("<I", compression)
    return bytes(data)


# --- as large as the service takes

Size = tuple[int, int]
LEGAL = (7_000, 7_000)  # just below 50 megapixels


def flat(size: Size, kind: str, mode: str = "RGB", **options: object) -> bytes:
    """Return a picture of one colour: at the pixel limit, a bomb that must be accepted."""
    return encoded(Image.new(mode, size), kind, **options)


def speckled_alpha(size: Size) -> bytes:
    """Return a picture with transparency, which is drawn on white."""
    picture = np.zeros((size[1], size[0], 4), np.uint8)
    picture[::7, ::5, 3] = 200
    return encoded(picture, "PNG", compress_level=1)


# Name -> builder. REFUSED must be refused. BOUNDED may be taken or refused, but cost no more than
# their bytes. LARGEST are the most expensive files that are no error.
REFUSED: dict[str, Callable[[], bytes]] = {
    "png-wide": lambda: png(2**31 - 1, 1, pixels=False),
    "png-high": lambda: png(1, 2**31 - 1, pixels=False),
    "png-both": lambda: png(60_000, 60_000, pixels=False),
    "png-both-with-pixels": lambda: png(20_000, 20_000, colour=0, depth=1),
    "png-side": lambda: png(32_768, 2),
    "png-many-empty-chunks": png_chunks,
    "png-many-idat": png_idats,
    "png-lying-length": lambda: png_lying_length(2**31 - 1),
    "png-lying-length-4gb": lambda: png_lying_length(2**32 - 1, b"IDAT"),
    "jpeg-wide": lambda: jpeg_size(65_535, 1),
    "jpeg-both": lambda: jpeg_size(65_535, 65_535),
    "jpeg-scans-small": lambda: jpeg_scans(200_000, (64, 64)),
    "jpeg-scans-large": lambda: jpeg_scans(5_000, (2_000, 2_000)),
    "jpeg-many-comments": jpeg_segments,
    "webp-canvas-wide": lambda: webp_canvas(1 << 24, 200),
    "webp-canvas-both": lambda: webp_canvas(60_000, 60_000),
    "webp-canvas-wide-animated": lambda: webp_canvas(1 << 24, 200, flags=2),
    "webp-lossless-both": lambda: webp_lossless_size(16_384, 16_384),
    "webp-many-chunks": webp_unknown_chunks,
    "heic-size": lambda: heif_lying_size((60_000, 60_000)),
    "heic-tiles": lambda: heif.flat(60_000, 1_000),
    "heic-coded-size": lambda: heif_coded_size("HEIF"),
    "heic-many-boxes": heif_boxes,
    "heic-many-extents": heif_extents,
    "heic-shared-tiles": heif_shared_tiles,
    "heic-pictures": heif_slices,
    "avif-coded-size": lambda: heif_coded_size("AVIF"),
    "gif-canvas": lambda: gif(65_535, 65_535),
    "gif-comments": gif_comments,
    "gif-blocks": gif_blocks,
    "bmp-both": lambda: bmp(60_000, 60_000),
    "bmp-negative": lambda: bmp(-(2**31), -(2**31)),
}
BOUNDED: dict[str, Callable[[], bytes]] = {
    "png-ztxt": lambda: png_texts(b"zTXt", b"a"),
    "png-ztxt-no-key": lambda: png_texts(b"zTXt", b""),
    "png-itxt-no-utf8": lambda: png_texts(b"iTXt", b"a"),
    "png-iccp": lambda: png_texts(b"iCCP", b"a"),
    "png-one-ztxt": lambda: png_one_text(b"zTXt"),
    "png-one-iccp": lambda: png_one_text(b"iCCP"),
    "png-many-chunks-after": lambda: png_chunks(after=True),
    "png-exif": lambda: png(8, 8, extra=chunk(b"eXIf", exif_bomb())),
    "png-frames": lambda: apng(20_000),
    "jpeg-exif": lambda: jpeg_exif(exif_bomb()),
    "jpeg-junk": lambda: jpeg_junk(b"\0"),
    "jpeg-junk-ff": lambda: jpeg_junk(b"\xff"),
    "jpeg-pictures": lambda: mpo(500),
    "webp-frames": lambda: webp_animation(50_000),
    "webp-exif": lambda: webp_exif(exif_bomb()),
    "gif-pictures": gif_pictures,
}
LARGEST: dict[str, Callable[[Size], bytes]] = {
    "png-interlaced": lambda size: png(*size, colour=6, interlaced=True),
    "png-rgb": lambda size: png(*size),
    "png-grey-16": lambda size: png(*size, colour=0, depth=16),
    "png-rgba-16": lambda size: png(*size, colour=6, depth=16),
    "png-1-bit": lambda size: png(*size, colour=0, depth=1),
    "png-transparent": speckled_alpha,
    "jpeg-grey": lambda size: flat(size, "JPEG", "L"),
    "jpeg-progressive": lambda size: flat(size, "JPEG", progressive=True, subsampling=0),
    "jpeg-scans": lambda size: jpeg_scans(57, size),
    "jpeg-cmyk": lambda size: flat(size, "JPEG", "CMYK", progressive=True),
    "jpeg-without-end": lambda size: flat(size, "JPEG", "CMYK", progressive=True)[:-2],
    "webp-lossless": lambda size: flat(size, "WEBP", "RGBA", lossless=True, method=0),
    "webp-lossy": lambda size: flat(size, "WEBP", method=0),
    "heic-tiles": lambda size: heif.flat(*size),
    "avif": lambda size: flat(size, "AVIF", speed=10),
    "avif-full-colour": lambda size: flat(size, "AVIF", "RGBA", speed=10, subsampling="4:4:4"),
    "gif-canvas": lambda size: gif(*size),
    "gif": lambda size: flat(size, "GIF", "P"),
    "bmp": lambda size: flat(size, "BMP"),
}
