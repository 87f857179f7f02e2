"""Check the coded pictures in HEIF files: one picture each, and no larger than stated.

A decoder reserves memory for the size in the coded data, decodes all pictures in it, and reports
afterwards that the size or number is wrong. These functions read the size first, and keep only the
pieces that one picture needs.

Sources: ITU-T H.265 (HEVC), 7.3; ISO/IEC 14496-15, 8.3.2.1; AV1 specification, 5.3 to 5.9; AV1 in
ISOBMFF, 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass

from vision.heif_boxes import Reader
from vision.image_parts import MAX_PIECES, BrokenFileError

Size = tuple[int, int]  # width, height

_HEVC_SETS = (32, 33, 34)  # NAL units with parameters: video, sequence, picture
_HEVC_SEQUENCE = 33
_HEVC_PICTURE = range(16, 22)  # slices of a picture that refers to no other
_HEVC_MARGIN = 64  # pixels; the coded size is a multiple of the largest block at most
_SMALL = 256  # pixels; encoders enlarge small pictures to what they can code
MAX_SLICES = 8  # of a picture; encoders write one, and decoders may draw the picture anew for each

_AV1_SEQUENCE, _AV1_TILES = 1, 4
_AV1_FRAMES = (3, 6)  # a header alone, and one with its tiles
_SELECT = 2  # a tool is chosen by each frame


class BitReader:
    """Numbers of any length in bits, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def number(self, size: int) -> int:
        """Return the next unsigned number of `size` bits. Raises BrokenFileError at the end."""
        self._left -= size
        if self._left < 0:
            raise BrokenFileError("a header is too short")
        return self._bits >> self._left & (1 << size) - 1

    def golomb(self) -> int:
        """Return the next number in Exp-Golomb code. Raises BrokenFileError at the end."""
        zeros = 0
        while not self.number(1):
            zeros += 1
        return (1 << zeros) - 1 + self.number(zeros)


# --- HEVC


def check_hevc(config: bytes, content: bytes, size: Size) -> tuple[bytes, bytes]:
    """Return the configuration and the data of a coded picture without unneeded pieces.

    Args:
        config: content of the box hvcC.
        content: data of the item.
        size: of the picture, as its item says.

    Raises:
        BrokenFileError: the picture has another size, or there is not one picture.
    """
    length_size, sets = _parameter_sets(config)
    sequences = [unit for kind, unit in sets if kind == _HEVC_SEQUENCE]
    if not sequences:
        raise BrokenFileError("there is no sequence header")
    for unit in sequences:
        sides = zip(size, _hevc_size(unit), strict=True)
        if any(not side <= coded < max(_SMALL, side + _HEVC_MARGIN) for side, coded in sides):
            raise BrokenFileError("the coded picture has another size")
    slices = _slices(content, length_size)
    starts = [unit[2] >> 7 for unit in slices]  # the first bit of a slice's header
    if starts[:1] != [1] or any(starts[1:]) or len(starts) > MAX_SLICES:
        raise BrokenFileError("there is not one picture")
    arrays = [bytes((kind,)) + b"\0\1" + len(unit).to_bytes(2, "big") + unit for kind, unit in sets]
    head = config[:21] + bytes((config[21] | 3, len(arrays)))  # lengths of four bytes
    data = b"".join(len(unit).to_bytes(4, "big") + unit for unit in slices)
    return head + b"".join(arrays), data


def _parameter_sets(config: bytes) -> tuple[int, list[tuple[int, bytes]]]:
    """Return how many bytes lengths have in the data, and kind and data of each parameter set."""
    reader = Reader(memoryview(config))
    length_size = (reader.take(22)[21] & 3) + 1
    sets = []
    for _ in range(reader.number(1)):
        reader.number(1)
        for _ in range(reader.number(2)):
            unit = bytes(reader.take(reader.number(2)))
            kind = _nal_kind(unit)
            if kind in _HEVC_SETS:
                sets.append((kind, unit))
    if len(sets) > 255:
        raise BrokenFileError("too many parameter sets")
    return length_size, sets


def _nal_kind(unit: bytes) -> int:
    """Return the type of a NAL unit; -1 if it is of another layer, such as a second view."""
    if len(unit) < 3 or unit[0] & 1 or unit[1] >> 3:
        return -1
    return unit[0] >> 1 & 63


def _hevc_size(unit: bytes) -> Size:
    """Return the size in a sequence parameter set (7.3.2.2)."""
    bits = BitReader(unit[2:256].replace(b"\0\0\3", b"\0\0"))
    bits.number(4)
    layers = bits.number(3)
    bits.number(1 + 96)  # profile and level
    flags = [bits.number(2) for _ in range(layers)]
    bits.number(2 * (8 - layers) if layers else 0)
    for flag in flags:
        bits.number((88 if flag & 2 else 0) + (8 if flag & 1 else 0))
    bits.golomb()
    if bits.golomb() == 3:  # chroma at full size
        bits.number(1)
    return bits.golomb(), bits.golomb()


def _slices(content: bytes, length_size: int) -> list[bytes]:
    """Return the slices in the data of an item."""
    reader = Reader(memoryview(content))
    slices: list[bytes] = []
    for _ in range(MAX_PIECES):
        if reader.at == len(content):
            return slices
        unit = bytes(reader.take(reader.number(length_size)))
        kind = _nal_kind(unit)
        if kind in _HEVC_PICTURE:
            slices.append(unit)
        elif 0 <= kind < 32:
            raise BrokenFileError("a picture refers to another")
    raise BrokenFileError("too many pieces")


# --- AV1


@dataclass(frozen=True)
class _Av1Sequence:
    """The part of a sequence header (5.5) that tells how to read frame headers."""

    size: Size
    is_reduced: bool
    presentation_bits: int
    screen_tools: int
    integer_motion: int
    id_bits: int


def check_av1(content: bytes, size: Size) -> bytes:
    """Return the data of a coded picture without unneeded pieces.

    Args:
        content: data of the item.
        size: of the picture, as its item says.

    Raises:
        BrokenFileError: the picture has another size, or there is not one picture.
    """
    sequence: _Av1Sequence | None = None
    kept = []
    frames = 0
    for kind, unit, body in _units(content):
        if kind == _AV1_SEQUENCE:
            if sequence is not None:
                continue
            sequence = _av1_sequence(BitReader(body[:256]))
            if sequence.size != size:
                raise BrokenFileError("the coded picture has another size")
        elif kind in _AV1_FRAMES:
            frames += 1
            if sequence is None or _has_own_size(sequence, BitReader(body[:64])):
                raise BrokenFileError("the coded picture has another size")
        elif kind != _AV1_TILES:
            continue
        kept.append(unit)
    if frames != 1:
        raise BrokenFileError("there is not one picture")
    return b"".join(kept)


def _units(content: bytes) -> list[tuple[int, bytes, bytes]]:
    """Return kind, data and body of each unit (OBU, 5.3)."""
    reader = Reader(memoryview(content))
    units: list[tuple[int, bytes, bytes]] = []
    for _ in range(MAX_PIECES):
        start = reader.at
        if start == len(content):
            return units
        head = reader.number(1)
        if head & 4:
            reader.number(1)
        length = len(content) - reader.at
        if head & 2:
            length = 0
            for shift in range(0, 56, 7):
                byte = reader.number(1)
                length |= (byte & 127) << shift
                if byte < 128:
                    break
        body = bytes(reader.take(length))
        units.append((head >> 3 & 15, content[start : reader.at], body))
    raise BrokenFileError("too many pieces")


def _av1_sequence(bits: BitReader) -> _Av1Sequence:
    """Read a sequence header (5.5.1)."""
    bits.number(3)
    bits.number(1)
    is_reduced = bool(bits.number(1))
    presentation_bits = 0
    if is_reduced:
        bits.number(5)
    else:
        presentation_bits = _read_operating_points(bits)
    width_bits, height_bits = bits.number(4) + 1, bits.number(4) + 1
    size = bits.number(width_bits) + 1, bits.number(height_bits) + 1
    id_bits = 0
    if not is_reduced and bits.number(1):
        id_bits = bits.number(4) + 2
        id_bits += bits.number(3) + 1
    bits.number(3)
    if is_reduced:
        return _Av1Sequence(size, True, 0, _SELECT, _SELECT, 0)
    bits.number(4)
    if bits.number(1):  # frames have an order
        bits.number(2)
    screen_tools = _SELECT if bits.number(1) else bits.number(1)
    integer_motion = _SELECT
    if screen_tools:
        integer_motion = _SELECT if bits.number(1) else bits.number(1)
    return _Av1Sequence(size, False, presentation_bits, screen_tools, integer_motion, id_bits)


def _read_operating_points(bits: BitReader) -> int:
    """Read timing and operating points; return the length of a frame's time in bits."""
    delay_bits = presentation_bits = 0
    if bits.number(1):  # timing
        bits.number(64)
        is_equal = bits.number(1)
        if is_equal:
            bits.golomb()
        if bits.number(1):  # decoder model
            delay_bits = bits.number(5) + 1
            bits.number(32 + 5)
            presentation_bits = 0 if is_equal else bits.number(5) + 1
            bits.number(5 if is_equal else 0)
    has_delays = bits.number(1)
    for _ in range(bits.number(5) + 1):
        bits.number(12)
        if bits.number(5) > 7:
            bits.number(1)
        if delay_bits and bits.number(1):
            bits.number(2 * delay_bits + 1)
        if has_delays and bits.number(1):
            bits.number(4)
    return presentation_bits


def _has_own_size(sequence: _Av1Sequence, bits: BitReader) -> bool:
    """Return True if a frame header (5.9.2) states a size other than that of its sequence.

    Raises:
        BrokenFileError: the frame is not a picture of its own.
    """
    if sequence.is_reduced:
        return False
    if bits.number(1) or bits.number(2):  # shows another frame, or refers to one
        raise BrokenFileError("a picture refers to another")
    if bits.number(1):
        bits.number(sequence.presentation_bits)
    else:
        raise BrokenFileError("the picture is not shown")
    bits.number(1)
    screen_tools = sequence.screen_tools
    if screen_tools == _SELECT:
        screen_tools = bits.number(1)
    if screen_tools and sequence.integer_motion == _SELECT:
        bits.number(1)
    bits.number(sequence.id_bits)
    return bool(bits.number(1))
