"""Decode an upload into the photo that the networks see: base64 -> bytes -> RGB.

Only the content determines the format, never a file name or a declared type. Every problem that a
client can cause raises an `ImageError` with a message for that client.
"""

from __future__ import annotations

import binascii
import logging
import math
import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pybase64
from numpy.typing import NDArray
from PIL import Image

from vision.image_file import BrokenFileError, ImageFile, is_whole, orientation, read_file
from vision.other_formats import format_name

log = logging.getLogger("carseg.pipeline")

MAX_SIDE = 32_767  # some OpenCV functions count the pixels of a side in 16 bits
DAMAGED = "The image is damaged or incomplete."
ENOUGH_PIXELS = 250_000  # least pixels of a photo read at a smaller scale; networks use fewer

# Raise an error for a picture whose header promises more pixels than Pillow considers safe.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Operators do not need warnings about broken metadata.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_BASE64 = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n"
_BAND = 128  # rows that are converted at a time; a whole large photo would need several copies
_AT_ONCE = 4_000_000  # pixels up to which a picture may be copied once more
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations: stored with rows and columns exchanged


class ImageError(Exception):
    """Error for an image that cannot be accepted.

    Attributes:
        status: HTTP status of the response: 400, 413 or 415, or 503 if memory is short.
        message: one sentence that may be shown to clients.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo, possibly at a smaller scale, with its original size.

    Attributes:
        pixels: (h, w, 3) uint8, RGB, upright: the photo, or a smaller copy of all of it. It may
            be read-only.
        height, width: of the original photo, upright, in pixels.
    """

    pixels: NDArray[np.uint8]
    height: int
    width: int

    @classmethod
    def of(cls, rgb: NDArray[np.uint8]) -> Photo:
        """Build a photo from all its pixels, (H, W, 3) uint8."""
        return cls(rgb, *rgb.shape[:2])

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) of the original photo."""
        return self.height, self.width


def decode_base64(text: str) -> bytes:
    """Decode a base64 text to bytes.

    A `data:...;base64,` prefix, line breaks and blanks, the URL-safe alphabet and missing padding
    are accepted.

    Raises:
        ImageError: 400, the text is empty or not base64.
    """
    if text[:5].lower() == "data:":
        header, comma, text = text.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise ImageError(400, "The image is a data: URL that is not in base64.")
    try:
        data = pybase64.b64decode(text, validate=True)
    except ValueError:  # not the plain form, which decodes in a fifth of the time
        data = _decode_any_base64(text)
    if not data:
        raise ImageError(400, "The image is empty.")
    return data


def _decode_any_base64(text: str) -> bytes:
    """Decode base64 with blanks, the URL-safe alphabet or missing padding.

    Raises:
        ImageError: 400, the text is not base64.
    """
    try:
        letters = text.encode("ascii").translate(_BASE64, delete=_WHITESPACE).rstrip(b"=")
        return pybase64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ImageError(400, "The image is not valid base64.") from None


def decode_photo(data: bytes, max_pixels: int) -> Photo:
    """Decode a photo like `decode_image`, but at 1/2, 1/4 or 1/8 of its size if that is enough.

    This saves time: a JPEG is decoded at that scale (ITU-T T.81 has blocks of 8x8 coefficients, of
    which fewer are used), and other formats are averaged right after decoding. Damage is detected
    equally well. At least ENOUGH_PIXELS are left of a photo that has so many.

    Args:
        data: see `decode_image`.
        max_pixels: see `decode_image`.

    Raises:
        ImageError: see `decode_image`.
    """
    return _decode(data, max_pixels, ENOUGH_PIXELS)


def decode_image(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG or WebP completely.

    The EXIF orientation is applied; broken EXIF data is ignored. Transparency is composed over
    white, as on a web page. 16-bit grey is scaled to 8 bit. Only the first picture of an animation
    is decoded. Colour profiles are ignored.

    Args:
        data: the file.
        max_pixels: most pixels (width x height) that are accepted, checked before decoding.

    Returns:
        (H, W, 3) uint8, RGB, upright, contiguous and writable.

    Raises:
        ImageError: 400 not an image or a broken one, 413 too many pixels, 415 an unsupported
            format, 503 not enough memory.
    """
    return np.require(_decode(data, max_pixels, math.inf).pixels, requirements=("C", "W"))


def _decode(data: bytes, max_pixels: int, enough: float) -> Photo:
    """Decode a file at a scale that leaves at least `enough` pixels, or all it has."""
    file = _essentials(data, max_pixels)
    shrink = _shrink(file.width * file.height, enough)
    try:
        with Image.open(BytesIO(file.pixels), formats=[file.kind]) as picture:
            if picture.size != (file.width, file.height):
                raise ImageError(400, DAMAGED)
            if file.filler and not _has_all_pixels(file):
                raise ImageError(400, DAMAGED)
            picture.draft(None, (file.width // shrink, file.height // shrink))  # JPEGs only
            picture.load()
            pixels = _to_rgb(picture, shrink if picture.size == (file.width, file.height) else 1)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(
            503, "The service has no memory for this image; try again later."
        ) from None
    except Exception as error:  # broken files make Pillow raise nearly anything
        log.debug("broken picture: %r", error)
        raise ImageError(400, DAMAGED) from None
    turn = orientation(file.exif)
    size = (file.width, file.height) if turn in _SIDEWAYS else (file.height, file.width)
    return Photo(np.ascontiguousarray(_upright(pixels, turn)), *size)


def _has_all_pixels(file: ImageFile) -> bool:
    """Return True if a JPEG that lacks its end marker has all its pixels.

    Any exception of Pillow passes through.
    """
    with Image.open(BytesIO(file.pixels), formats=["JPEG"]) as picture:
        picture.load()

        def shows_the_same(data: bytes) -> bool:
            with Image.open(BytesIO(data), formats=["JPEG"]) as other:
                other.load()
                tops = range(0, picture.height, _BAND)  # in bands to save memory
                boxes = ((0, top, picture.width, min(top + _BAND, picture.height)) for top in tops)
                return all(
                    picture.crop(box).tobytes() == other.crop(box).tobytes() for box in boxes
                )

        return is_whole(file, shows_the_same)


def _shrink(pixels: int, enough: float) -> int:
    """Return the largest divisor of both sides, 8, 4, 2 or 1, that leaves `enough` of `pixels`."""
    return next(k for k in (8, 4, 2, 1) if k == 1 or pixels / k**2 >= enough)


def _essentials(data: bytes, max_pixels: int) -> ImageFile:
    """Return the parts of a file to decode, after checks of its format and size.

    Raises:
        ImageError: see `decode_image`.
    """
    try:
        file = read_file(data)
    except BrokenFileError as error:
        log.debug("broken file: %s", error)
        raise ImageError(400, DAMAGED) from None
    if file is None:
        raise _not_taken(data)
    if not file.width or not file.height:
        raise ImageError(400, DAMAGED)
    if file.width * file.height > max_pixels or max(file.width, file.height) > MAX_SIDE:
        raise _too_large(max_pixels)
    return file


def _not_taken(data: bytes) -> ImageError:
    """Return the error for `data` that is not a PNG, JPEG or WebP."""
    takes = "the service takes PNG, JPEG and WebP images."
    name = format_name(data)
    if name is None:
        return ImageError(400, f"This is not an image; {takes}")
    return ImageError(415, f"This is {name} file; {takes}")


def _too_large(max_pixels: int) -> ImageError:
    return ImageError(
        413,
        f"The image has too many pixels; the limit is {max_pixels / 1e6:g} megapixels "
        f"and {MAX_SIDE} pixels on a side.",
    )


def _to_rgb(picture: Image.Image, shrink: int) -> NDArray[np.uint8]:
    """Convert a picture of any mode to (h, w, 3) uint8 RGB, averaged over `shrink` x `shrink`.

    The result is read-only if nothing had to be converted: not copying saves an eighth of the
    decoding time.
    """
    is_plain = shrink == 1 and picture.mode == "RGB" and not picture.has_transparency_data
    if is_plain and picture.width * picture.height <= _AT_ONCE:
        return np.asarray(picture)
    width, height = (-(-side // shrink) for side in picture.size)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BAND // shrink):
        bottom = min(top + _BAND // shrink, height)
        box = (0, top * shrink, picture.width, min(bottom * shrink, picture.height))
        band = _band_to_rgb(picture.crop(box))
        pixels[top:bottom] = np.asarray(band.reduce(shrink) if shrink > 1 else band)
    return pixels


def _band_to_rgb(band: Image.Image) -> Image.Image:
    """Convert some rows of a picture to a picture in mode RGB."""
    if band.mode.startswith("I"):  # 16-bit grey; convert() would clip at 255
        grey = np.asarray(band).astype(np.uint32)
        eight_bit = (np.minimum(grey, 65_535) + 128) // 257
        return Image.fromarray(eight_bit.astype(np.uint8)).convert("RGB")
    if band.has_transparency_data:
        layered = band.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return band if band.mode == "RGB" else band.convert("RGB")


def _upright(pixels: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation: (H, W, 3) -> (H, W, 3) or (W, H, 3), a view.

    The value encodes the sides on which row 0 and column 0 of the stored picture lie (EXIF 2.3,
    4.6.4 A).
    """
    if turn in _SIDEWAYS:
        pixels = pixels.transpose(1, 0, 2)
    if turn in (2, 3, 6, 7):  # rows of the upright picture run backwards
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
