"""HEIC files for tests, put together from the pictures in `tests/pictures/`."""

from __future__ import annotations

import struct

from settings import REPOSITORY
from vision.heif_boxes import NewItem, Property, box, read_items, write_file

PICTURES = REPOSITORY / "tests" / "pictures"
TURNS = {  # EXIF orientation -> the properties of HEIF with the same effect, in their order
    1: (),
    2: (("imir", 1),),
    3: (("irot", 2),),
    4: (("imir", 0),),
    5: (("irot", 1), ("imir", 0)),
    6: (("irot", 3),),
    7: (("irot", 1), ("imir", 1)),
    8: (("irot", 1),),
}


def heic(name: str) -> bytes:
    """One of the files in `tests/pictures/`."""
    return (PICTURES / f"{name}.heic").read_bytes()


def items(data: bytes) -> list[NewItem]:
    """The coded pictures of a file."""
    found = read_items(data)
    assert found is not None
    return [
        NewItem(kind, found.content(item, len(data)), found.properties[item])
        for item, kind in found.kinds.items()
        if kind in (b"hvc1", b"av01")
    ]


def size(width: int, height: int) -> Property:
    """The property of a size."""
    return Property(b"ispe", struct.pack(">4xII", width, height), False)


def turn(orientation: int) -> list[Property]:
    """The properties that turn and mirror a picture like an EXIF orientation."""
    return [Property(name.encode(), bytes((value,)), True) for name, value in TURNS[orientation]]


def grid_header(rows: int, columns: int, width: int, height: int) -> bytes:
    """The content of a grid."""
    return struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)


def grid(
    tiles: list[NewItem],
    rows: int,
    columns: int,
    shown: tuple[int, int],
    more: list[Property] | None = None,
) -> list[NewItem]:
    """A grid and its tiles, as phones write it.

    Args:
        tiles: row by row.
        rows, columns: of the grid.
        shown: width and height of the whole picture.
        more: properties of the whole picture.
    """
    references = [*range(1, len(tiles) + 1)]
    properties = [size(*shown), *(more or [])]
    content = grid_header(rows, columns, *shown)
    return [NewItem(b"grid", content, properties, [(b"dimg", references)]), *tiles]


def flat(width: int, height: int) -> bytes:
    """A picture of one colour, whose tiles are small in a file."""
    columns, rows = -(-width // 512), -(-height // 512)
    tiles = items(heic("flat")) * (rows * columns)
    return write_file(b"heic", grid(tiles, rows, columns, (width, height)))


def phone_photo(orientation: int = 6) -> bytes:
    """A photo of 120 x 110 pixels with all that a phone adds: tiles, a turn, thumbnail, EXIF."""
    exif = b"\0\0\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    profile = Property(b"colr", b"prof" + bytes(500), False)
    photo = grid(items(heic("tiles")), 2, 2, (120, 110), [profile, *turn(orientation)])
    thumbnail, depth = items(heic("car")) + items(heic("grey"))
    kind = Property(b"auxC", b"\0\0\0\0urn:com:apple:photo:2020:aux:hdrgainmap\0", True)
    depth.properties.append(kind)
    thumbnail.references.append((b"thmb", [0]))
    depth.references.append((b"auxl", [0]))
    data = NewItem(b"Exif", exif, [], [(b"cdsc", [0])])
    return write_file(b"heic", [*photo, thumbnail, depth, data])


def with_other_size(data: bytes, old: tuple[int, int], new: tuple[int, int]) -> bytes:
    """The file with another stated size."""
    before, after = (box(b"ispe", struct.pack(">4xII", *pair)) for pair in (old, new))
    assert before in data
    return data.replace(before, after)
