"""Decode an upload into the photo that the networks see: base64 -> bytes -> RGB.

Only the content determines the format, never a file name or a declared type. Every problem that a
client can cause raises an `ImageError` with a message for that client.
"""

from __future__ import annotations

import binascii
import logging
import math
import re
from dataclasses import dataclass

import numpy as np
import pybase64
from numpy.typing import NDArray

from vision.decoding import SIDEWAYS, decode_file
from vision.image_file import read_file
from vision.image_parts import BrokenFileError, ImageFile, UnknownFormatError

log = logging.getLogger("carseg.pipeline")

MAX_SIDE = 32_767  # some OpenCV functions count the pixels of a side in 16 bits
DAMAGED = "The image is damaged or incomplete."
ENOUGH_PIXELS = 250_000  # least pixels of a photo read at a smaller scale; networks use fewer

_TAKEN = "the service takes PNG, JPEG, WebP, HEIC, AVIF, BMP and GIF images."
_BASE64 = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n"
_ADDRESS = re.compile(r"(?:https?|ftp|file|blob):", re.IGNORECASE)
_HEADER = 1000  # characters in which the comma of a data: URL must be
_COMMA = re.compile(",|%2C", re.IGNORECASE)
_SEARCHED = 20_000  # characters that are searched for irregular blanks


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
        pixels: (h, w, 3) uint8, RGB, with the EXIF orientation applied: the photo, or a smaller
            copy of all of it. It may be read-only.
        height, width: of the photo at its full size, in pixels, in the same orientation.
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

    A `data:...;base64,` prefix, line breaks and blanks, the URL-safe alphabet, percent-encoding and
    missing padding are accepted.

    Raises:
        ImageError: 400, the text is empty or not base64.
    """
    text = text.lstrip()
    if _ADDRESS.match(text):
        raise ImageError(
            400, "The image is an address, which the service does not fetch; send the image itself."
        )
    if text[:7].lower().startswith(("data:", "data%3a")):
        header, comma, _ = _percent_decoded(text[:_HEADER]).partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise ImageError(400, "The image is a data: URL that is not in base64.")
        text = _COMMA.split(text, maxsplit=1)[1]
    try:
        data = pybase64.b64decode(text, validate=True)
    except ValueError:  # not the plain form, which decodes in a fifth of the time
        data = _decode_any_base64(text)
    if not data:
        raise ImageError(400, "The image is empty.")
    return data


def _decode_any_base64(text: str) -> bytes:
    """Decode base64 with blanks, the URL-safe alphabet, percent-encoding or missing padding.

    Raises:
        ImageError: 400, the text is not base64.
    """
    text = _percent_decoded(text).strip()
    if _has_lost_plus(text):
        raise ImageError(
            400,
            'The image is not valid base64: each "+" became a blank. Percent-encode the form, '
            "or send JSON.",
        )
    try:
        letters = text.encode("ascii").translate(_BASE64, delete=_WHITESPACE).rstrip(b"=")
        return pybase64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ImageError(400, "The image is not valid base64.") from None


def _percent_decoded(text: str) -> str:
    """Replace the percent-encoded characters that a data: URL in base64 can have."""
    if "%" in text:
        for letter in "+/=:;, \r\n":
            for code in (f"%{ord(letter):02X}", f"%{ord(letter):02x}"):
                text = text.replace(code, letter)
    return text


def _has_lost_plus(text: str) -> bool:
    """Return True if base64 has blanks in place of "+", which forms make of it.

    Blanks between groups of letters are regular, and there is a "+" elsewhere.
    """
    if " " not in text or "+" in text or "-" in text:
        return False
    lines = text[:_SEARCHED].splitlines()
    groups = [group for line in lines for group in line.strip().split(" ")[:-1]]
    if len({len(group) for group in groups}) > 1:
        return True
    blanks, breaks = text.count(" "), text.count("\n") + text.count("\r")
    letters = len(text) - blanks - breaks
    return bool(groups) and letters % 4 != 0 and (letters + blanks) % 4 == 0


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
    """Decode an image file of any accepted format completely.

    The EXIF orientation is applied, or that of the picture itself in a HEIC or AVIF; broken EXIF
    data is ignored. Transparency is composed over white, as on a web page. Samples of more than 8
    bits are scaled to 8. Only the first picture of an animation, or the primary one of a sequence,
    is decoded. Colour profiles are ignored.

    Args:
        data: the file.
        max_pixels: most pixels (width x height) that are accepted, checked before decoding.

    Returns:
        (H, W, 3) uint8, RGB, with the EXIF orientation applied, contiguous and writable.

    Raises:
        ImageError: 400 not an image or a broken one, 413 too many pixels, 415 an unsupported
            format, 503 not enough memory.
    """
    return np.require(_decode(data, max_pixels, math.inf).pixels, requirements=("C", "W"))


def _decode(data: bytes, max_pixels: int, enough: float) -> Photo:
    """Decode a file at a scale that leaves at least `enough` pixels, or all it has."""
    try:
        file = read_file(data)
        if math.prod(file.decoded_size) > max_pixels or max(file.decoded_size) > MAX_SIDE:
            raise _too_large(file, max_pixels)
        pixels = decode_file(file, enough)
    except UnknownFormatError as error:
        raise _not_taken(error) from None
    except BrokenFileError as error:
        log.debug("broken file: %s", error)
        raise ImageError(400, DAMAGED) from None
    except MemoryError:
        raise ImageError(
            503, "The service has no memory for this image; try again later."
        ) from None
    is_sideways = file.orientation in SIDEWAYS
    size = (file.width, file.height) if is_sideways else (file.height, file.width)
    return Photo(pixels, *size)


def _not_taken(error: UnknownFormatError) -> ImageError:
    """Return the answer to a file of another format."""
    if error.name is not None:
        return ImageError(415, f"This is {error.name} file; {_TAKEN}")
    if error.is_page:
        return ImageError(400, f"This is XML or HTML, not an image; {_TAKEN}")
    return ImageError(400, f"This is not an image; {_TAKEN}")


def _too_large(file: ImageFile, max_pixels: int) -> ImageError:
    return ImageError(
        413,
        f"The image has too many pixels: {_megapixels(file.width * file.height)} "
        f"({file.width} x {file.height}); the limit is {_megapixels(max_pixels)}, and {MAX_SIDE} "
        "pixels on a side.",
    )


def _megapixels(pixels: int) -> str:
    """Return a number of pixels in millions, rounded to three digits."""
    rounded = f"{pixels / 1e6:.3g}" if pixels < 1e9 else f"{pixels / 1e6:.0f}"
    return f"{rounded} megapixel{'' if rounded == '1' else 's'}"
