"""HEIC and AVIF files: which picture is read, how it lies, and what is refused."""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from segment_interface import DAMAGED, ImageError, decode_image, decode_photo
from settings import REPOSITORY
from tests.support import heif
from tests.support.pictures import SAMPLE, encoded
from vision.heif_boxes import NewItem, Property, box, write_file
from vision.image_file import read_file

LIMIT = 1_000_000
CAR = Image.open(SAMPLE).convert("RGB")
SMALL = CAR.resize((96, 64))
TILED = np.asarray(CAR.resize((128, 128)))


def difference(pixels: NDArray[np.uint8], picture: Image.Image | NDArray[np.uint8]) -> float:
    """Mean difference of two pictures of the same size."""
    expected = np.asarray(picture).astype(int)
    assert pixels.shape == expected.shape
    return float(np.abs(pixels - expected).mean())


def test_missing_package_is_named() -> None:
    program = "import sys; sys.modules['pi_heif'] = None; import vision.decoding"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "The package pi-heif is not installed; install what is new with: make install\n"
    )


def test_heic() -> None:
    assert difference(decode_image(heif.heic("car"), LIMIT), SMALL) < 5


def test_heic_of_an_odd_size() -> None:
    photo = decode_photo(heif.heic("odd"), LIMIT)
    assert photo.size == (41, 61)
    assert difference(photo.pixels, CAR.resize((61, 41))) < 5


def test_heic_in_grey() -> None:
    grey = SMALL.convert("L").convert("RGB")
    assert difference(decode_image(heif.heic("grey"), LIMIT), grey) < 5


def test_heic_of_ten_bits() -> None:
    assert difference(decode_image(heif.heic("ten_bits"), LIMIT), SMALL) < 5


def test_heic_with_alpha() -> None:
    pixels = decode_image(heif.heic("alpha"), LIMIT)
    assert (pixels[:, 56:] > 250).all()
    assert difference(pixels[:, :40], np.asarray(SMALL)[:, :40]) < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_phone_photo(orientation: int) -> None:
    tagged = Image.fromarray(TILED[:110, :120])
    tagged.getexif()[0x0112] = orientation
    photo = decode_photo(heif.phone_photo(orientation), LIMIT)
    upright = ImageOps.exif_transpose(tagged)
    assert photo.size == upright.size[::-1]
    assert difference(photo.pixels, upright) < 6


def test_phone_photo_without_what_is_no_pixel() -> None:
    pixels = read_file(heif.phone_photo()).pixels
    for name in (b"Exif", b"thmb", b"prof", b"irot", b"gainmap", b"cdsc"):
        assert name not in pixels
    assert pixels.count(b"infe") == 5


def test_grid_in_the_tables() -> None:
    """Phones keep the grid's header in the box idat."""
    photo = heif.grid(heif.items(heif.heic("tiles")), 2, 2, (128, 128))
    header = photo[0].content
    data = write_file(b"heic", photo)
    start, tables, rest = data[:28], data[28 : data.index(b"mdat") - 4], data[-8 - len(header) :]
    assert rest
    places = tables.index(b"iloc") - 4
    (length,) = struct.unpack_from(">I", tables, places)
    entries = [struct.unpack_from(">HHHII", tables, places + 16 + 14 * i) for i in range(5)]
    added = len(box(b"idat", header)) + 2 * len(entries)
    moved = [struct.pack(">HHHHII", entries[0][0], 1, 0, 1, 0, len(header))]
    moved += [
        struct.pack(">HHHHII", n, 0, 0, 1, at + added, size) for n, _, _, at, size in entries[1:]
    ]
    iloc = box(b"iloc", b"\1\0\0\0", struct.pack(">HH", 0x4400, len(entries)), *moved)
    content = tables[8:places] + iloc + tables[places + length :] + box(b"idat", header)
    data = start + box(b"meta", content) + data[len(start) + len(tables) :]
    assert np.array_equal(
        decode_image(data, LIMIT), decode_image(write_file(b"heic", photo), LIMIT)
    )


def test_burst() -> None:
    """A sequence has its still picture in the tables of items."""
    data = heif.heic("car")
    burst = data.replace(b"ftypheic", b"ftyphevc") + box(b"moov", bytes(100))
    assert np.array_equal(decode_image(burst, LIMIT), decode_image(data, LIMIT))
    animation = encoded(SMALL, "AVIF", save_all=True, append_images=[SMALL.rotate(180)])
    assert difference(decode_image(animation, LIMIT), SMALL) < 8


@pytest.mark.parametrize("brand", [b"hevc", b"msf1", b"avis"])
def test_sequence_without_a_still(brand: bytes) -> None:
    data = box(b"ftyp", brand, bytes(4), b"msf1") + box(b"moov", bytes(100))
    with pytest.raises(ImageError, match="a HEIC or AVIF video file") as caught:
        decode_photo(data, LIMIT)
    assert caught.value.status == 415


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_avif(mode: str) -> None:
    picture = SMALL.convert(mode)
    if mode == "RGBA":
        picture.paste((0, 0, 0, 0), (48, 0, 96, 64))
    pixels = decode_image(encoded(picture, "AVIF", quality=90), LIMIT)
    expected = np.asarray(picture.convert("RGB")).copy()
    if mode == "RGBA":
        assert (pixels[:, 52:] > 250).all()
        pixels, expected = pixels[:, :44], expected[:, :44]
    assert difference(pixels, expected) < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    tagged = SMALL.copy()
    tagged.getexif()[0x0112] = orientation
    data = encoded(SMALL, "AVIF", exif=exif, quality=90)
    assert difference(decode_image(data, LIMIT), ImageOps.exif_transpose(tagged)) < 5


def test_avif_grid() -> None:
    tile = heif.items(encoded(SMALL.crop((0, 0, 64, 64)), "AVIF"))
    data = write_file(b"avif", heif.grid(tile * 4, 2, 2, (128, 128)))
    pixels = decode_image(data, LIMIT)
    assert pixels.shape == (128, 128, 3)
    assert difference(pixels[:64, :64], pixels[64:, 64:]) < 3


def test_crop() -> None:
    aperture = struct.pack(">8I", 50, 1, 30, 1, 2**32 - 20, 2, 8, 2)
    (whole,) = heif.items(heif.heic("car"))
    whole.properties.append(Property(b"clap", aperture, True))
    pixels = decode_image(heif.heic("car"), LIMIT)
    left, top = (96 - 50) // 2 - 10, (64 - 30) // 2 + 4
    assert np.array_equal(
        decode_image(write_file(b"heic", [whole]), LIMIT), pixels[top : top + 30, left : left + 50]
    )


def test_large_photo_at_a_smaller_scale() -> None:
    photo = decode_photo(heif.flat(2000, 1500), 10_000_000)
    assert photo.size == (1500, 2000)
    assert photo.pixels.shape == (750, 1000, 3)
    assert np.abs(photo.pixels.astype(int) - (90, 120, 150)).max() <= 3


def test_limit_comes_before_decoding() -> None:
    for data in (
        heif.flat(8_000, 8_000),
        heif.with_other_size(heif.heic("car"), (96, 64), (60_000, 60_000)),
    ):
        with pytest.raises(ImageError, match=r"too many pixels|damaged"):
            decode_image(data, LIMIT)
    with pytest.raises(ImageError, match="too many pixels") as caught:
        decode_image(heif.flat(1001, 1000), LIMIT)
    assert caught.value.status == 413


def _rewritten(name: str, **changes: object) -> bytes:
    (item,) = heif.items(heif.heic(name))
    return write_file(b"heic", [replace(item, **changes)])  # type: ignore[arg-type]


def _one_tile(tiles: list[NewItem]) -> list[NewItem]:
    photo = heif.grid(tiles, 2, 2, (128, 128))
    photo[0].references[0] = (b"dimg", [1, 1, 1, 1])
    return photo


def _refused() -> dict[str, bytes]:
    """Files whose coded pictures are not those that their tables promise."""
    (car,), tiles = heif.items(heif.heic("car")), heif.items(heif.heic("tiles"))
    (avif,) = heif.items(encoded(SMALL, "AVIF"))
    flat = heif.items(heif.heic("flat"))
    config = next(prop for prop in car.properties if prop.name == b"hvcC")
    others = [prop for prop in car.properties if prop.name != b"hvcC"]
    alpha = Property(b"auxC", b"\0\0\0\0urn:mpeg:hevc:2015:auxid:1\0", True)
    return {
        "smaller": heif.with_other_size(heif.heic("flat"), (512, 512), (64, 64)),
        "larger": heif.with_other_size(heif.heic("car"), (96, 64), (960, 640)),
        "avif smaller": heif.with_other_size(encoded(SMALL, "AVIF"), (96, 64), (95, 64)),
        "two pictures": _rewritten("car", content=car.content * 2),
        "two avif pictures": write_file(b"avif", [replace(avif, content=avif.content * 2)]),
        "no picture": _rewritten("car", content=b""),
        "no configuration": _rewritten("car", properties=others),
        "no parameters": _rewritten(
            "car", properties=[replace(config, content=config.content[:22] + b"\0"), *others]
        ),
        "a tile too few": write_file(b"heic", heif.grid(tiles[:3], 2, 2, (128, 128))),
        "tiles not needed": write_file(b"heic", heif.grid(tiles, 2, 2, (60, 128))),
        "tiles too small": write_file(b"heic", heif.grid(tiles, 2, 2, (129, 128))),
        "one tile for all": write_file(b"heic", _one_tile(tiles)),
        "tiles of two sizes": write_file(b"heic", heif.grid([*tiles[:3], car], 2, 2, (128, 128))),
        "one huge tile": write_file(
            b"heic", heif.grid([replace(flat[0], properties=[heif.size(9000, 512)])], 1, 1, (9, 9))
        ),
        "alpha of another size": write_file(
            b"heic",
            [
                car,
                NewItem(b"hvc1", tiles[0].content, [*tiles[0].properties, alpha], [(b"auxl", [0])]),
            ],
        ),
        "a turn without a value": _rewritten(
            "car", properties=[*car.properties, Property(b"irot", b"", True)]
        ),
    }


REFUSED = _refused()


@pytest.mark.parametrize("name", REFUSED)
def test_lying_tables(name: str) -> None:
    with pytest.raises(ImageError, match=DAMAGED) as caught:
        decode_image(REFUSED[name], LIMIT)
    assert caught.value.status == 400


@pytest.mark.parametrize("kind", [b"jpeg", b"iovl", b"iden", b"unci", b"avc1"])
def test_uncommon_coding(kind: bytes) -> None:
    with pytest.raises(ImageError, match="an uncommon HEIF file") as caught:
        decode_image(heif.heic("car").replace(b"hvc1", kind), LIMIT)
    assert caught.value.status == 415


def test_grid_of_grids() -> None:
    inner = heif.grid(heif.items(heif.heic("tiles")), 2, 2, (128, 128))
    outer = heif.grid(inner, 1, 1, (128, 128))
    outer[0].references[0] = (b"dimg", [1])
    outer[1].references[0] = (b"dimg", [2, 3, 4, 5])
    with pytest.raises(ImageError, match="an uncommon HEIF file"):
        decode_image(write_file(b"heic", outer), LIMIT)


@pytest.mark.parametrize("data", [heif.heic("car"), heif.heic("alpha"), encoded(SMALL, "AVIF")])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.95])
def test_truncated_file(data: bytes, share: float) -> None:
    with pytest.raises(ImageError, match=r"damaged|not an image") as caught:
        decode_photo(data[: int(len(data) * share)], LIMIT)
    assert caught.value.status == 400
