"""Read and write the boxes of HEIF files, which HEIC and AVIF are.

Sources: ISO/IEC 14496-12 (boxes), 4.2 and 8.11; ISO/IEC 23008-12 (HEIF), 6.5 and 9.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from vision.image_parts import MAX_PIECES, BrokenFileError


class Reader:
    """Big-endian numbers from a part of a file, one after the other."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def number(self, size: int) -> int:
        """Return the next unsigned number of `size` bytes. Raises BrokenFileError at the end."""
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes. Raises BrokenFileError if there are fewer."""
        piece = self.data[self.at : self.at + size]
        if len(piece) < size:
            raise BrokenFileError("a box is too short")
        self.at += size
        return piece

    def rest(self) -> memoryview:
        """Return all that follows."""
        return self.data[self.at :]

    def version(self) -> int:
        """Return the version of a full box, which comes first, and skip its flags."""
        return self.number(4) >> 24


@dataclass(frozen=True)
class Property:
    """A property of an item, such as its size.

    Attributes:
        name: type of its box.
        content: of its box.
        is_essential: decoders that do not know it must not decode the item.
    """

    name: bytes
    content: bytes
    is_essential: bool


@dataclass
class Items:
    """The items of a file and their tables.

    Attributes:
        primary: identifier of the picture to show.
        kinds: identifier -> type, such as b"hvc1" or b"grid".
        references: (kind, identifier) -> identifiers that the item refers to, in order.
        properties: identifier -> properties, in order.
        extents: identifier -> (part of the file, offset, length) of each piece of its content.
    """

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    references: dict[tuple[bytes, int], list[int]] = field(default_factory=dict)
    properties: dict[int, list[Property]] = field(default_factory=dict)
    extents: dict[int, list[tuple[memoryview, int, int]]] = field(default_factory=dict)

    def content(self, item: int, most_bytes: int) -> bytes:
        """Return the content of an item.

        Raises:
            BrokenFileError: it is incomplete, or has more than `most_bytes`.
        """
        pieces = []
        for source, offset, length in self.extents.get(item, []):
            end = offset + length if length else len(source)
            piece = source[offset:end]
            most_bytes -= len(piece)
            if end > len(source) or most_bytes < 0:
                raise BrokenFileError("a picture's data is incomplete, or in two pictures")
            pieces.append(piece)
        return b"".join(pieces)


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview, bool]]:
    """Yield type and content of each box, and True if the box is complete.

    Raises:
        BrokenFileError: there are too many boxes, or a length is impossible.
    """
    at = 0
    for _ in range(MAX_PIECES):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= len(data):  # a length too large for 32 bits
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        end = at + length if length else len(data)
        if end < at + head:
            raise BrokenFileError("a box has no length")
        yield name, data[at + head : end], end <= len(data)
        at = end
    raise BrokenFileError("too many boxes")


def read_items(data: bytes) -> Items | None:
    """Read the tables of the items; return None if the file has none, as videos.

    Raises:
        BrokenFileError: a table is damaged or incomplete.
    """
    view = memoryview(data)
    for name, content, is_whole in boxes(view):
        if name == b"meta":
            if not is_whole:
                raise BrokenFileError("the tables are incomplete")
            return _read_meta(view, content[4:])
    return None


def _read_meta(file: memoryview, meta: memoryview) -> Items:
    tables: dict[bytes, memoryview] = {}
    for name, content, is_whole in boxes(meta):
        if not is_whole:
            raise BrokenFileError("a table is incomplete")
        tables.setdefault(name, content)
    for name in (b"pitm", b"iinf", b"iloc", b"iprp"):
        if name not in tables:
            raise BrokenFileError("a table is missing")
    items = Items()
    reader = Reader(tables[b"pitm"])
    items.primary = reader.number(4 if reader.version() else 2)
    _read_kinds(Reader(tables[b"iinf"]), items)
    _read_extents(Reader(tables[b"iloc"]), items, [file, tables.get(b"idat", file[:0])])
    _read_properties(tables[b"iprp"], items)
    if b"iref" in tables:
        _read_references(Reader(tables[b"iref"]), items)
    return items


def _read_kinds(reader: Reader, items: Items) -> None:
    """Read the box iinf."""
    reader.number(4 if reader.version() else 2)
    for name, content, _ in boxes(reader.rest()):
        entry = Reader(content)
        version = entry.version()
        if name != b"infe" or version not in (2, 3):
            continue
        item = entry.number(4 if version == 3 else 2)
        is_protected = entry.number(2) != 0
        items.kinds[item] = b"" if is_protected else bytes(entry.take(4))


def _read_extents(reader: Reader, items: Items, sources: list[memoryview]) -> None:
    """Read the box iloc; `sources` are the file and the box idat."""
    version = reader.version()
    sizes = reader.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    left = MAX_PIECES
    for _ in range(reader.number(4 if version == 2 else 2)):
        item = reader.number(4 if version == 2 else 2)
        source = reader.number(2) & 15 if version else 0
        is_elsewhere = reader.number(2) != 0 or source >= len(sources)  # in another file, or item
        base = reader.number(base_size)
        count = reader.number(2)
        left -= count
        if left < 0:
            raise BrokenFileError("too many extents")
        extents = items.extents[item] = []
        for _ in range(count):
            reader.number(index_size)
            offset = base + reader.number(offset_size)
            length = reader.number(length_size)
            if not is_elsewhere:
                extents.append((sources[source], offset, length))


def _read_properties(iprp: memoryview, items: Items) -> None:
    """Read the box iprp: all properties, and which item has which."""
    known: list[tuple[bytes, bytes]] = []
    for name, content, _ in boxes(iprp):
        if name == b"ipco":
            known = [(kind, bytes(value)) for kind, value, _ in boxes(content)]
        if name != b"ipma":
            continue
        reader = Reader(content)
        version, flags = reader.number(1), reader.number(3)
        width = 2 if flags & 1 else 1  # bytes of an entry; the first bit says if it is essential
        for _ in range(reader.number(4)):
            item = reader.number(2 if version == 0 else 4)
            properties = items.properties.setdefault(item, [])
            for _ in range(reader.number(1)):
                entry = reader.number(width)
                is_essential, index = divmod(entry, 1 << 8 * width - 1)
                if 0 < index <= len(known):
                    kind, value = known[index - 1]
                    properties.append(Property(kind, value, bool(is_essential)))


def _read_references(reader: Reader, items: Items) -> None:
    """Read the box iref."""
    size = 4 if reader.version() else 2
    for kind, content, _ in boxes(reader.rest()):
        entry = Reader(content)
        item, count = entry.number(size), entry.number(2)
        items.references[kind, item] = [entry.number(size) for _ in range(count)]


# --- writing


def box(name: bytes, *parts: bytes) -> bytes:
    """Return a box with this content."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


@dataclass(frozen=True)
class NewItem:
    """An item to write.

    Attributes:
        kind: its type, such as b"hvc1".
        content: its data.
        properties: its properties, in order.
        references: kinds and positions (0 is the first) of the items that it refers to.
    """

    kind: bytes
    content: bytes
    properties: list[Property]
    references: list[tuple[bytes, list[int]]] = field(default_factory=list)


def write_file(brand: bytes, items: list[NewItem]) -> bytes:
    """Return a file that holds only these items; the first is the picture to show."""
    known: dict[Property, int] = {}
    for item in items:
        for prop in item.properties:
            known.setdefault(prop, len(known) + 1)
    start = box(b"ftyp", brand, bytes(4), b"mif1miaf", brand)
    length = len(start) + len(_meta(items, known, 0)) + 8
    content = b"".join(item.content for item in items)
    return start + _meta(items, known, length) + box(b"mdat", content)


def _meta(items: list[NewItem], known: dict[Property, int], offset: int) -> bytes:
    """Return the box meta; `offset` is that of the first item's content in the file."""
    kinds, places, properties, references = [], [], [], []
    for number, item in enumerate(items, 1):
        kinds.append(box(b"infe", struct.pack(">IHH4sx", 2 << 24, number, 0, item.kind)))
        places.append(struct.pack(">HHHII", number, 0, 1, offset, len(item.content)))
        offset += len(item.content)
        entries = [known[prop] | prop.is_essential << 15 for prop in item.properties]
        properties.append(struct.pack(f">HB{len(entries)}H", number, len(entries), *entries))
        for kind, others in item.references:
            ids = [number, len(others), *(position + 1 for position in others)]
            references.append(box(kind, struct.pack(f">{len(ids)}H", *ids)))
    return box(
        b"meta",
        bytes(4),
        box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", bytes(4), struct.pack(">H", 1)),
        box(b"iloc", bytes(4), struct.pack(">HH", 0x4400, len(items)), *places),
        box(b"iinf", bytes(4), struct.pack(">H", len(items)), *kinds),
        box(b"iref", bytes(4), *references) if references else b"",
        box(
            b"iprp",
            box(b"ipco", *(box(prop.name, prop.content) for prop in known)),
            box(b"ipma", b"\0\0\0\1", struct.pack(">I", len(items)), *properties),
        ),
    )
