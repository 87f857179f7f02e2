"""Base64 and pictures in all the forms in which they arrive."""

from __future__ import annotations

import base64
import struct
import zlib
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from segment_interface import (
    DAMAGED,
    ENOUGH_PIXELS,
    MAX_SIDE,
    ImageError,
    decode_base64,
    decode_image,
    decode_photo,
)
from settings import MOST_PIXELS, Settings
from tests.support.pictures import SAMPLE, encoded, noise
from vision.model_files import read_description

LIMIT = 1_000_000
GRADIENT = np.stack(
    [
        np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1)),
        np.tile(np.linspace(255, 0, 40).astype(np.uint8)[:, None], (1, 60)),
        np.full((40, 60), 90, np.uint8),
    ],
    axis=-1,
)


@pytest.mark.parametrize("size", [1, 2, 3, 57, 58, 1000])
def test_base64_in_every_form(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    plain = base64.b64encode(data).decode()
    assert decode_base64(plain) == data
    assert decode_base64(plain.rstrip("=")) == data
    assert decode_base64(base64.urlsafe_b64encode(data).decode()) == data
    assert decode_base64(base64.encodebytes(data).decode()) == data
    assert decode_base64(base64.encodebytes(data).decode().replace("\n", "\r\n")) == data
    assert decode_base64("data:image/png;base64," + plain) == data
    assert decode_base64("DATA:image/svg+xml;charset=utf-8;base64," + plain.rstrip("=")) == data


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AAAAA",
        "AA=A",
        "ab!d",
        "abcé",
        "\ud800AAA",
        "AA\0A",
        "data:image/png,AAAA",
        "data:AAAA",
    ],
)
def test_invalid_base64(text: str) -> None:
    with pytest.raises(ImageError, match="base64") as caught:
        decode_base64(text)
    assert caught.value.status == 400


def test_base64_percent_encoded() -> None:
    data = bytes(range(256)) * 3
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    assert "+" in url
    assert decode_base64(quote(url, safe="")) == data
    assert decode_base64(quote(url, safe="").lower()[:30] + quote(url, safe="")[30:]) == data
    assert decode_base64(quote(url, safe=":;,/")) == data
    assert decode_base64(" \r\n" + url) == data
    assert decode_base64("  " + url.partition(",")[2] + "\n") == data


@pytest.mark.parametrize("size", [40, 500, 5000])
def test_base64_with_blanks_for_plus(size: int) -> None:
    some = np.random.default_rng(size).bytes(size)
    text = base64.b64encode(b"\xff\xd8\xff" + some + b"\xfb" + some).decode()
    assert "+" in text
    lost = text.replace("+", " ")
    for form in (lost, "data:image/jpeg;base64," + lost):
        with pytest.raises(ImageError, match='each "\\+" became a blank') as caught:
            decode_base64(form)
        assert caught.value.status == 400


def test_base64_in_groups() -> None:
    text = base64.b64encode(b"hello, car! " * 9).decode()
    assert "+" not in text
    for width in (4, 8, 20):
        groups = [text[i : i + width] for i in range(0, len(text), width)]
        assert decode_base64(" ".join(groups)) == b"hello, car! " * 9
        assert decode_base64("  \n   ".join(groups)) == b"hello, car! " * 9


@pytest.mark.parametrize("text", ["http://a.example/car.jpg", " HTTPS://a/b", "blob:http://a/1"])
def test_address_in_place_of_an_image(text: str) -> None:
    with pytest.raises(ImageError, match="does not fetch") as caught:
        decode_base64(text)
    assert caught.value.status == 400


def test_photos_of_phones_are_within_the_limits() -> None:
    default = Settings().max_pixels
    data = encoded(Image.new("L", (8192, 6144)), "JPEG")
    assert decode_photo(data, default).size == (6144, 8192)
    data = encoded(Image.new("L", (12_000, 9_000)), "JPEG")
    assert decode_photo(data, MOST_PIXELS).size == (9_000, 12_000)
    with pytest.raises(ImageError, match="too many pixels"):
        decode_photo(data, default)


@pytest.mark.parametrize("text", ["", "====", "\n", "data:image/png;base64,"])
def test_empty_image(text: str) -> None:
    with pytest.raises(ImageError, match="empty") as caught:
        decode_base64(text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 8),
        ("WEBP", {"quality": 95}, 16),
        ("AVIF", {"quality": 95, "subsampling": "4:4:4"}, 8),
        ("BMP", {}, 0),
    ],
)
def test_formats(kind: str, options: dict[str, object], error: int) -> None:
    rgb = decode_image(encoded(GRADIENT, kind, **options), LIMIT)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    assert rgb.flags.writeable
    assert rgb.shape == GRADIENT.shape
    assert np.abs(rgb.astype(int) - GRADIENT).max() <= error


def test_modes() -> None:
    picture = Image.fromarray(GRADIENT)
    grey = np.asarray(picture.convert("L"))
    assert np.array_equal(
        decode_image(encoded(picture.convert("L")), LIMIT), np.stack([grey] * 3, -1)
    )
    bits = np.asarray(picture.convert("1").convert("RGB"))
    assert np.array_equal(decode_image(encoded(picture.convert("1")), LIMIT), bits)
    palette = picture.quantize(32)
    assert np.array_equal(decode_image(encoded(palette), LIMIT), np.asarray(palette.convert("RGB")))
    cmyk = decode_image(encoded(picture.convert("CMYK"), "JPEG", quality=98), LIMIT)
    assert np.abs(cmyk.astype(int) - GRADIENT).mean() < 4


def test_transparency_becomes_white() -> None:
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:, 30:] = 0
    alpha[:10] = 128
    layered = Image.fromarray(np.dstack([GRADIENT, alpha]))
    share = alpha[..., None] / 255
    expected = GRADIENT * share + 255 * (1 - share)
    for data in (encoded(layered), encoded(layered, "WEBP", lossless=True, exact=True)):
        assert np.abs(decode_image(data, LIMIT) - expected).max() <= 1.5
    grey = decode_image(encoded(layered.convert("LA")), LIMIT)
    assert (grey[10:, 30:] == 255).all()
    palette = Image.fromarray(GRADIENT).quantize(8)
    hidden = palette.getpixel((0, 0))
    keyed = decode_image(encoded(palette, transparency=hidden), LIMIT)
    assert (keyed[np.asarray(palette) == hidden] == 255).all()
    opaque = Image.fromarray(np.dstack([GRADIENT, np.full((40, 60), 255, np.uint8)]))
    assert np.array_equal(decode_image(encoded(opaque), LIMIT), GRADIENT)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_bmp(mode: str) -> None:
    picture = Image.fromarray(GRADIENT).convert(mode)
    assert np.array_equal(
        decode_image(encoded(picture, "BMP"), LIMIT), np.asarray(picture.convert("RGB"))
    )


def test_bmp_from_the_top() -> None:
    data = bytearray(encoded(GRADIENT, "BMP"))
    (height,) = struct.unpack_from("<i", data, 22)
    data[22:26] = struct.pack("<i", -height)
    assert np.array_equal(decode_image(bytes(data), LIMIT), GRADIENT[::-1])
    with pytest.raises(ImageError, match="damaged"):
        decode_image(bytes(data[:-1]), LIMIT)


@pytest.mark.parametrize("interlace", [0, 1])
def test_gif(interlace: int) -> None:
    first, second = (Image.fromarray(rgb).quantize(64) for rgb in (GRADIENT, 255 - GRADIENT))
    expected = np.asarray(first.convert("RGB"))
    options = {"interlace": interlace, "comment": b"hello"}
    assert np.array_equal(decode_image(encoded(first, "GIF", **options), LIMIT), expected)
    data = encoded(first, "GIF", save_all=True, append_images=[second], **options)
    assert np.array_equal(decode_image(data, LIMIT), expected)
    hidden = first.getpixel((0, 0))
    keyed = decode_image(encoded(first, "GIF", transparency=hidden, **options), LIMIT)
    assert (keyed[np.asarray(first) == hidden] == 255).all()


def test_sixteen_bit_grey_is_scaled() -> None:
    values = np.linspace(0, 65535, 2400).astype(np.uint16).reshape(40, 60)
    rgb = decode_image(encoded(Image.fromarray(values)), LIMIT)
    assert np.abs(rgb[..., 0] - values / 257).max() <= 0.5


def test_sixteen_bit_colour() -> None:
    rows = (GRADIENT.astype(">u2") * 257).reshape(40, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    data = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 40, 16, 2, 0, 0, 0))
    data += _chunk(b"IDAT", zlib.compress(raw)) + _chunk(b"IEND", b"")
    assert np.array_equal(decode_image(data, LIMIT), GRADIENT)


def _chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content)) + name + content
        + struct.pack(">I", zlib.crc32(name + content))
    )  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_orientation(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(GRADIENT, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    tagged = Image.fromarray(GRADIENT)
    tagged.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged))
    rgb = decode_image(data, LIMIT)
    assert np.array_equal(rgb, expected)
    assert rgb.flags.c_contiguous


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0broken", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"x"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as in the service
def test_broken_exif_is_ignored(exif: bytes, kind: str) -> None:
    assert decode_image(encoded(GRADIENT, kind, exif=exif), LIMIT).shape == GRADIENT.shape


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_invalid_orientation_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert np.array_equal(decode_image(encoded(GRADIENT, exif=exif), LIMIT), GRADIENT)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_first_picture_of_animation(kind: str) -> None:
    second = Image.fromarray(255 - GRADIENT)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(GRADIENT, kind, save_all=True, append_images=[second], duration=50, **options)
    assert np.array_equal(decode_image(data, LIMIT), GRADIENT)


def test_multi_picture_jpeg() -> None:
    second = Image.fromarray(255 - GRADIENT)
    data = encoded(GRADIENT, "MPO", save_all=True, append_images=[second], quality=95)
    assert np.abs(decode_image(data, LIMIT).astype(int) - GRADIENT).mean() < 8


@pytest.mark.parametrize(("width", "height"), [(1, 1), (8000, 200), (200, 8000), (1, 3000)])
def test_odd_sizes(width: int, height: int) -> None:
    picture = noise(height, width)
    assert np.array_equal(decode_image(encoded(picture), 2_000_000), picture)


def test_limits_are_named() -> None:
    picture = Image.new("L", (1000, 1001))
    assert decode_image(encoded(picture), 1_001_000).shape == (1001, 1000, 3)
    with pytest.raises(ImageError) as caught:
        decode_image(encoded(picture), LIMIT)
    assert caught.value.status == 413
    assert caught.value.message == (
        "The image has too many pixels: 1 megapixel (1000 x 1001); the limit is 1 megapixel, and "
        "32767 pixels on a side."
    )
    with pytest.raises(ImageError) as caught:
        decode_image(encoded(Image.new("L", (9000, 6000))), 8192 * 6144)
    assert "54 megapixels (9000 x 6000); the limit is 50.3 megapixels," in caught.value.message
    with pytest.raises(ImageError, match=str(MAX_SIDE)) as caught:
        decode_image(encoded(Image.new("L", (MAX_SIDE + 1, 1))), LIMIT)
    assert caught.value.status == 413


def test_bomb_is_refused_before_it_is_decoded() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")
    )
    with pytest.raises(ImageError, match="too many pixels") as caught:
        decode_image(data, LIMIT)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (encoded(GRADIENT, "TIFF"), "TIFF"),
        (encoded(GRADIENT, "ICO"), "icon"),
        (b"\xff\x0a" + bytes(99), "a JPEG XL"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "a RAW"),
        (b"MM\0*\0\0\0\x08\0\1\xc6\x12\0\1\0\0\0\4\1\4\0\0\0\0\0\0", "a RAW"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a RAW"),
        (encoded(GRADIENT, "BMP")[:30] + b"\1" + encoded(GRADIENT, "BMP")[31:], "a compressed BMP"),
        (encoded(GRADIENT, "JPEG2000"), "JPEG 2000"),
        (b"%PDF-1.7", "PDF"),
        (b"\r\n%PDF-1.7", "PDF"),
    ],
)
def test_other_formats_are_named(data: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=name) as caught:
        decode_image(data, LIMIT)
    assert caught.value.status == 415


BRANDS = ["heic", "heix", "hevc", "hevx", "heim", "heis", "hevm", "mif1", "msf1", "avif", "avis"]


def _brands(major: str, *others: str) -> bytes:
    """Return the box with which a HEIC or AVIF starts."""
    content = major.encode() + bytes(4) + "".join(others).encode()
    return struct.pack(">I", 8 + len(content)) + b"ftyp" + content


@pytest.mark.parametrize("brand", BRANDS)
def test_heif_brands(brand: str) -> None:
    rest = b"\0\0\0\x08meta" + bytes(range(256))
    own, other = _brands(brand, "mif1", "miaf"), _brands("isom", "iso8", "miaf", brand)
    large = b"\0\0\0\1ftyp" + struct.pack(">Q", 24) + brand.encode() + bytes(4)
    for start in (
        own,  # as an iPhone writes it; its bursts are "hevc"
        _brands(brand),
        other,  # the brand is one among others
        _brands("mif1", "miaf", brand),
        _brands("msf1", *["abcd"] * 500, brand),
        b"\0\0\0\0" + own[4:],  # a box up to the end of the file
        b"\xff\xff\xff\xff" + own[4:],
        large,
        b"\0\0\0\x0cfree\0\0\0\0" + own,
        own[:12],
    ):
        with pytest.raises(ImageError, match=DAMAGED) as caught:
            decode_photo(start + (b"" if len(start) == 12 else rest), LIMIT)
        assert caught.value.status == 400


@pytest.mark.parametrize(
    "text",
    [
        "<svg/>",
        "<svg",
        ' <?xml version="1.0"?><svg/>',
        '\ufeff<?xml version="1.0"?>\n<!-- <html> -->\n<svg width="9">',
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "a.dtd" [<!ENTITY a "b">]>\n<svg\n>',
        '<!--a--><?b?><!--c--><svg:svg xmlns:svg="http://www.w3.org/2000/svg">',
        "<!--" + "a" * 9999 + "--><svg>",
    ],
)
def test_svg_is_named(text: str) -> None:
    for data in (text.encode(), text.removeprefix("\ufeff").encode("utf-16")):
        with pytest.raises(ImageError, match="an SVG file") as caught:
            decode_photo(data, LIMIT)
        assert caught.value.status == 415


ERROR_PAGE = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'


@pytest.mark.parametrize(
    "data",
    [
        ERROR_PAGE,
        b"\xef\xbb\xbf" + ERROR_PAGE,
        ERROR_PAGE.decode().encode("utf-16"),
        b"<?xml",
        b"<?xml version='1.0'?><!-- <svg/> --><Error/>",
        b"<?xml version='1.0'?><Error>&lt;svg/></Error>",
        b"<?xml version='1.0'?><svgs/>",
        b"<!DOCTYPE html><html><body><svg></svg></body></html>",
        b"\r\n<html>" * 100_000,
        b"<!DOCTYPE [" * 10_000,
        b"<head>",
        b'<Error xmlns="a">',
    ],
)
def test_a_page_in_place_of_an_image(data: bytes) -> None:
    with pytest.raises(ImageError, match="This is XML or HTML, not an image") as caught:
        decode_image(data, LIMIT)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"\0" * 100,
        b"\x89PN",
        b"RIFF\0\0\0\0WAVE",
        b"<?" * 100_000,
        b"<3 cars",
        b"BMW is a make of cars.",
        _brands("isom", "iso2", "avc1", "mp41"),  # a video
        _brands("qt  "),
        b"\0\0\0\x04ftyp",
        b"\0\0\0\1ftyp",
        b"\0\0\0\0free",
    ],
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="not an image") as caught:
        decode_image(data, LIMIT)
    assert caught.value.status == 400


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_image(kind: str, share: float) -> None:
    data = encoded(noise(80, 90), kind)
    with pytest.raises(ImageError, match=r"damaged or incomplete|not an image") as caught:
        decode_image(data[: int(len(data) * share)], LIMIT)
    assert caught.value.status == 400


# --- JPEGs without the two bytes of their end

CAR = Image.open(SAMPLE).convert("RGB")
SMALL_CAR = CAR.resize((301, 203))
PLAIN_BELOW = Image.new("RGB", (320, 240), "white")  # its last bytes are zeros
PLAIN_BELOW.paste(CAR.resize((210, 140)), (40, 30))
OPEN_ENDED = {
    "baseline": encoded(SMALL_CAR, "JPEG"),
    "full colour": encoded(SMALL_CAR, "JPEG", subsampling=0, quality=95),
    "own codes": encoded(SMALL_CAR, "JPEG", optimize=True),
    "progressive": encoded(SMALL_CAR, "JPEG", progressive=True),
    "restarts": encoded(SMALL_CAR, "JPEG", restart_marker_blocks=7),
    "grey": encoded(SMALL_CAR.convert("L"), "JPEG"),
    "CMYK": encoded(SMALL_CAR.convert("CMYK"), "JPEG", progressive=True),
    "one pixel": encoded(SMALL_CAR.crop((99, 99, 100, 100)), "JPEG"),
    "plain below": encoded(PLAIN_BELOW, "JPEG", optimize=True),
    "progressive, plain below": encoded(PLAIN_BELOW, "JPEG", progressive=True),
}


@pytest.mark.parametrize("kind", OPEN_ENDED)
@pytest.mark.parametrize("behind", ["", "ff", "ff" * 600, "0d0a", "00" * 8, "ffd8ffe0"])
def test_jpeg_without_end_is_accepted(kind: str, behind: str) -> None:
    data = OPEN_ENDED[kind]
    whole = decode_photo(data, LIMIT)
    photo = decode_photo(data.removesuffix(b"\xff\xd9") + bytes.fromhex(behind), LIMIT)
    assert photo.size == whole.size
    assert np.array_equal(photo.pixels, whole.pixels)


@pytest.mark.parametrize("kind", sorted(set(OPEN_ENDED) - {"plain below"}))
def test_jpeg_with_zeros_at_end(kind: str) -> None:
    data = OPEN_ENDED[kind]
    padded = data.removesuffix(b"\xff\xd9") + bytes(4096)
    assert np.array_equal(decode_photo(padded, LIMIT).pixels, decode_photo(data, LIMIT).pixels)


@pytest.mark.parametrize("kind", sorted(set(OPEN_ENDED) - {"one pixel"}))
@pytest.mark.parametrize("behind", ["", "ff" * 9, "00" * 9999, "ffd8ffe0"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
def test_jpeg_with_missing_pixels_is_damaged(kind: str, behind: str, share: float) -> None:
    data = OPEN_ENDED[kind]
    start = data.index(b"\xff\xda") + 14  # of the pixels
    cut = start + int((len(data) - 2 - start) * share)
    with pytest.raises(ImageError, match="damaged or incomplete") as caught:
        decode_photo(data[:cut] + bytes.fromhex(behind), LIMIT)
    assert caught.value.status == 400


@pytest.mark.parametrize("kind", OPEN_ENDED)
def test_jpeg_without_last_bytes_is_same_or_damaged(kind: str) -> None:
    """Some last bytes change no pixel: the rest of a code, blocks outside of the picture."""
    data = OPEN_ENDED[kind].removesuffix(b"\xff\xd9")
    whole = decode_photo(data, LIMIT).pixels
    refused = 0
    for cut in range(1, 61):
        try:
            photo = decode_photo(data[:-cut], LIMIT)
        except ImageError as error:
            refused += error.message == DAMAGED
        else:
            refused -= not np.array_equal(photo.pixels, whole)
    assert refused > 50


def test_jpeg_cut_between_segments_is_damaged() -> None:
    """A decoder finds no incomplete segment there."""
    data = OPEN_ENDED["progressive"]
    with pytest.raises(ImageError, match="damaged"):
        decode_photo(data[: data.rindex(b"\xff\xda")], LIMIT)  # before the last scan
    data = OPEN_ENDED["restarts"]
    for number in range(0xD0, 0xD8):
        at = data.rindex(bytes((0xFF, number)))
        for cut in (at, at + 1, at + 2):
            with pytest.raises(ImageError, match="damaged"):
                decode_photo(data[:cut], LIMIT)
    for at in (200, 900):  # a decoder stops there
        stray = bytearray(OPEN_ENDED["baseline"][:-2])
        stray[-at:-at] = b"\xff\xd3"
        with pytest.raises(ImageError, match="damaged"):
            decode_photo(bytes(stray), LIMIT)


def test_jpeg_without_end_before_another() -> None:
    first, second = OPEN_ENDED["baseline"], OPEN_ENDED["plain below"]
    photo = decode_photo(first.removesuffix(b"\xff\xd9") + second, LIMIT)
    assert np.array_equal(photo.pixels, decode_photo(first, LIMIT).pixels)
    with pytest.raises(ImageError, match="damaged"):
        decode_photo(first[: len(first) // 2] + second, LIMIT)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("turn", [1, 6])
def test_large_jpeg_without_end(options: dict[str, bool], turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(CAR.resize((1600, 1100)), "JPEG", exif=exif, **options)
    whole, photo = decode_photo(data, 50_000_000), decode_photo(data[:-2], 50_000_000)
    assert photo.size == whole.size == ((1600, 1100) if turn == 6 else (1100, 1600))
    assert photo.pixels.shape == whole.pixels.shape
    assert np.abs(photo.pixels.astype(int) - whole.pixels).max() <= 8
    for cut in (3, 20, len(data) // 50):
        with pytest.raises(ImageError, match="damaged"):
            decode_photo(data[: -2 - cut], 50_000_000)


def test_webp_without_padding() -> None:
    filled_up = 0
    for width in range(20, 40):
        data = encoded(CAR.resize((width, 30)), "WEBP", lossless=True)
        (length,) = struct.unpack_from("<I", data, 16)
        if length % 2:
            filled_up += 1
            assert np.array_equal(decode_image(data[:-1], LIMIT), decode_image(data, LIMIT))
        with pytest.raises(ImageError, match="damaged"):
            decode_image(data[: -1 - length % 2], LIMIT)
    assert filled_up


def test_data_after_jpeg_is_ignored() -> None:
    data = OPEN_ENDED["baseline"]
    for behind in (bytes(999), b"\r\n--boundary--\r\n", data, b"\xff\xc0\xff"):
        photo = decode_photo(data + behind, LIMIT)
        assert np.array_equal(photo.pixels, decode_photo(data, LIMIT).pixels)


# --- photos, which are read at the scale that is enough


@pytest.mark.parametrize(
    ("width", "height", "shrink"),
    [(640, 480, 1), (901, 903, 1), (1280, 960, 2), (1001, 1003, 2), (2200, 2206, 4)],
)
@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {})]
)
def test_photo_is_smaller_copy(
    width: int, height: int, shrink: int, kind: str, options: dict[str, bool]
) -> None:
    smooth = Image.fromarray(GRADIENT).resize((width, height), Image.Resampling.BICUBIC)
    data = encoded(smooth, kind, quality=95, **options)
    photo = decode_photo(data, 50_000_000)
    assert photo.size == (height, width)
    assert photo.pixels.shape == (-(-height // shrink), -(-width // shrink), 3)
    assert photo.pixels.flags.c_contiguous
    whole = Image.fromarray(decode_image(data, 50_000_000))
    expected = np.asarray(whole.reduce(shrink) if shrink > 1 else whole).astype(int)
    assert np.abs(photo.pixels - expected).max() <= (0 if kind == "PNG" else 4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "I;16"])
def test_photo_in_any_mode_is_averaged(mode: str) -> None:
    picture = Image.fromarray(noise(900, 1400))
    if mode == "I;16":
        grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
        picture = Image.fromarray(grey)
    data = encoded(picture.convert(mode) if mode != "I;16" else picture)
    photo = decode_photo(data, 50_000_000)
    whole = decode_image(data, 50_000_000).reshape(450, 2, 700, 2, 3)
    assert np.abs(photo.pixels - whole.mean((1, 3))).max() <= 1


@pytest.mark.parametrize("turn", range(1, 9))
def test_photo_is_upright_at_any_scale(turn: int) -> None:
    picture = Image.fromarray(GRADIENT).resize((1400, 900))
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(picture, "JPEG", exif=exif)
    photo, whole = decode_photo(data, 50_000_000), decode_image(data, 50_000_000)
    assert photo.size == whole.shape[:2]
    assert photo.pixels.shape == (whole.shape[0] // 2, whole.shape[1] // 2, 3)
    assert np.abs(photo.pixels - whole[::2, ::2].astype(int)).max() <= 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_photo_at_smaller_scale(kind: str, share: float) -> None:
    data = encoded(noise(900, 1400), kind)
    with pytest.raises(ImageError, match="damaged or incomplete") as caught:
        decode_photo(data[: int(len(data) * share)], 50_000_000)
    assert caught.value.status == 400


def test_reduced_photo_exceeds_network_input() -> None:
    """A network with a larger input needs more; see also the crop for the type."""
    assert read_description("parts").input["area"] * 1.15 < ENOUGH_PIXELS


VALID = [encoded(noise(24, 32), kind) for kind in ("PNG", "JPEG", "WEBP")]
VALID += [encoded(noise(24, 32), "JPEG", **more)[:-2] for more in ({}, {"progressive": True})]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_cleanly(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        rgb = decode_image(bytes(damaged), LIMIT)
    except ImageError as error:
        status = error.status
        rgb = None
    if rgb is None:
        assert status in (400, 413, 415)
    else:
        assert rgb.ndim == 3
        assert rgb.shape[0] * rgb.shape[1] <= LIMIT
