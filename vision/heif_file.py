"""Read the picture of a HEIC or AVIF without decoding it.

Phones write a picture as a grid of tiles, with a thumbnail, a depth map, a brighter copy and
metadata. The copy that the decoder gets holds the primary picture, its tiles and its alpha alone.

Sources: ISO/IEC 23008-12 (HEIF), 6.5, 6.6 and 9.3; the AVIF specification, 2 and 4.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from vision.coded_pictures import Size, check_av1, check_hevc
from vision.heif_boxes import Items, NewItem, Property, Reader, read_items, write_file
from vision.image_parts import BrokenFileError, ImageFile, UnknownFormatError

MAX_TILES = 4096  # of a grid; a phone's photo of 108 megapixels has 432

_SMALL = 1024  # pixels; a picture may be that much smaller than its only tile
_CODINGS = {
    b"hvc1": b"hvcC",
    b"av01": b"av1C",
}  # type of an item -> property with its configuration
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")

# Axes of the upright picture in the stored one, for each EXIF orientation: (x, y) of the step to
# the right, and of the step down.
_AXES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, -1, 1, 0),
    7: (0, -1, -1, 0),
    8: (0, 1, -1, 0),
}
_ROTATIONS = (1, 8, 3, 6)  # of irot: quarter turns counterclockwise -> EXIF orientation
_MIRRORS = (4, 2)  # of imir: top and bottom, or left and right, are exchanged


def read_heif(data: bytes) -> ImageFile:
    """Read the primary picture of a HEIC or AVIF.

    Its own turn and mirroring count, not the EXIF orientation (ISO/IEC 23008-12, 6.5.10).

    Raises:
        BrokenFileError: the file is damaged, or promises other pictures than it holds.
        UnknownFormatError: there is no primary picture, or it is coded in another way.
    """
    items = read_items(data)
    if items is None:
        if b"moov" in data[:4096]:
            raise UnknownFormatError("a HEIC or AVIF video")
        raise BrokenFileError("there are no tables")
    picture = _Picture(items, len(data))
    return picture.file()


class _Picture:
    """The primary picture, its tiles and its alpha, collected for a file of their own."""

    def __init__(self, items: Items, most_bytes: int) -> None:
        self._items = items
        self._most_bytes = most_bytes
        self._new: list[NewItem] = []
        self._coding = b""

    def file(self) -> ImageFile:
        """Return the file; see `read_heif`."""
        primary = self._items.primary
        size = self._size(primary)
        self._add(primary, size, [])
        alpha = self._alpha(primary)
        if alpha is not None:
            references = [(b"auxl", [0])]
            if self._items.references.get((b"prem", primary)) == [alpha]:
                self._new[0].references.append((b"prem", [len(self._new)]))
            self._add(alpha, size, references)
        brand, kind = (b"avif", "AVIF") if self._coding == b"av01" else (b"heic", "HEIF")
        left, top, right, bottom = self._margins(primary, size)
        return ImageFile(
            kind,
            size[0] - left - right,
            size[1] - top - bottom,
            write_file(brand, self._new),
            _orientation(self._items.properties.get(primary, [])),
            margins=(left, top, right, bottom),
        )

    def _property(self, item: int, name: bytes) -> bytes:
        """Return the content of a property. Raises BrokenFileError if the item lacks it."""
        for prop in self._items.properties.get(item, []):
            if prop.name == name:
                return prop.content
        raise BrokenFileError("a property is missing")

    def _size(self, item: int) -> Size:
        """Return the stated size of an item."""
        width, height = struct.unpack(">4xII", self._property(item, b"ispe")[:12])
        if not width or not height:
            raise BrokenFileError("there are no pixels")
        return width, height

    def _add(self, item: int, size: Size, references: list[tuple[bytes, list[int]]]) -> None:
        """Add an item, which must be a coded picture or a grid of this size."""
        if self._size(item) != size:
            raise BrokenFileError("there are two sizes")
        kind = self._items.kinds.get(item, b"")
        if kind == b"grid":
            self._add_grid(item, size, references)
        elif kind in _CODINGS and self._coding in (b"", kind):
            self._coding = kind
            self._add_coded(item, kind, size, references)
        else:
            raise UnknownFormatError("an uncommon HEIF")

    def _add_coded(
        self, item: int, kind: bytes, size: Size, references: list[tuple[bytes, list[int]]]
    ) -> None:
        content = self._content(item)
        name = _CODINGS[kind]
        config = self._property(item, name)
        if kind == b"hvc1":
            config, content = check_hevc(config, content, size)
        else:
            config, content = config[:4], check_av1(content, size)
        properties = [Property(name, config, True), *self._properties(item, size)]
        self._new.append(NewItem(kind, content, properties, references))

    def _add_grid(self, item: int, size: Size, references: list[tuple[bytes, list[int]]]) -> None:
        """Add a grid and its tiles (6.6.2.3)."""
        content = self._content(item)
        reader = Reader(memoryview(content))
        _, flags, rows, columns = (reader.number(1) for _ in range(4))
        number_size = 4 if flags & 1 else 2
        shown = reader.number(number_size), reader.number(number_size)
        tiles = self._items.references.get((b"dimg", item), [])
        rows, columns = rows + 1, columns + 1
        if shown != size or len(set(tiles)) != rows * columns or len(tiles) != rows * columns:
            raise BrokenFileError("a grid does not fit its tiles")
        if len(tiles) > MAX_TILES:
            raise BrokenFileError("too many tiles")
        tile = self._size(tiles[0])
        if not _fits(size[0], tile[0], columns) or not _fits(size[1], tile[1], rows):
            raise BrokenFileError("a grid does not fit its tiles")
        grid = NewItem(b"grid", content[: reader.at], self._properties(item, size), references)
        self._new.append(grid)
        for number in tiles:
            if self._items.kinds.get(number) not in _CODINGS:
                raise UnknownFormatError("an uncommon HEIF")
            self._add(number, tile, [])
        positions = range(len(self._new) - len(tiles), len(self._new))
        grid.references.append((b"dimg", [*positions]))

    def _content(self, item: int) -> bytes:
        """Return the content of an item. Raises BrokenFileError if items share their bytes."""
        content = self._items.content(item, self._most_bytes)
        self._most_bytes -= len(content)
        return content

    def _properties(self, item: int, size: Size) -> list[Property]:
        """Return the properties of an item that concern its pixels, without its configuration."""
        kept = [Property(b"ispe", struct.pack(">4xII", *size), False)]
        for prop in self._items.properties.get(item, []):
            content = prop.content[:64]
            if prop.name == b"colr" and content[:4] == b"nclx":
                kept.append(Property(b"colr", content[:11], False))
            if prop.name == b"pixi" and len(content) <= 16:
                kept.append(Property(b"pixi", content, False))
            if prop.name == b"auxC" and content[4:] in _ALPHA:
                kept.append(Property(b"auxC", content, True))
        return kept

    def _alpha(self, primary: int) -> int | None:
        """Return the identifier of the primary picture's alpha."""
        for (kind, item), others in self._items.references.items():
            if kind == b"auxl" and primary in others:
                names = [prop.name for prop in self._properties(item, (0, 0))]
                if b"auxC" in names:
                    return item
        return None

    def _margins(self, primary: int, size: Size) -> tuple[int, int, int, int]:
        """Return the pixels outside of the clean aperture: left, top, right, bottom."""
        for prop in self._items.properties.get(primary, []):
            if prop.name == b"clap":
                values = struct.unpack(">IIIIiIiI", prop.content[:32])
                if 0 in values[1::2]:
                    raise BrokenFileError("a crop has no size")
                width, height, right, down = map(Fraction, values[::2], values[1::2])
                across = _margin(size[0], width, right)
                along = _margin(size[1], height, down)
                return across[0], along[0], across[1], along[1]
        return 0, 0, 0, 0


def _fits(side: int, tile: int, count: int) -> bool:
    """Return True if `count` tiles cover a side of a grid, and all of them are needed."""
    return (count - 1) * tile < side <= count * tile and tile < side + _SMALL


def _margin(side: int, kept: Fraction, shift: Fraction) -> tuple[int, int]:
    """Return the pixels before and after the kept part of a side.

    Args:
        side: in pixels.
        kept: length of the part.
        shift: of the part's middle from the side's middle.
    """
    before = (shift + (side - kept) / 2).__floor__()
    after = side - before - kept.__floor__()
    if before < 0 or after < 0 or before + after >= side:
        raise BrokenFileError("a crop is outside of the picture")
    return before, after


def _orientation(properties: list[Property]) -> int:
    """Return the EXIF orientation that has the effect of all turns and mirrorings, in order."""
    a, b, c, d = _AXES[1]
    for prop in properties:
        if prop.name == b"irot":
            step = _ROTATIONS[prop.content[0] & 3]
        elif prop.name == b"imir":
            step = _MIRRORS[prop.content[0] & 1]
        else:
            continue
        e, f, g, h = _AXES[step]
        a, b, c, d = e * a + f * c, e * b + f * d, g * a + h * c, g * b + h * d
    return next(number for number, axes in _AXES.items() if axes == (a, b, c, d))
