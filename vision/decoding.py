"""Decode the pixels of an image file to an upright RGB array with little memory."""

from __future__ import annotations

import sys
import warnings
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image

from settings import MOST_PIXELS
from vision.image_parts import BrokenFileError, ImageFile
from vision.jpeg_file import is_whole

try:
    from pi_heif import register_heif_opener
except ImportError:  # an environment from before it was needed
    sys.exit("The package pi-heif is not installed; install what is new with: make install")

SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations: stored with rows and columns exchanged

_BAND = 128  # rows that are converted at a time; a whole large photo would need several copies
_THREADS = 2  # of HEIC and AVIF decoders; the others have one
_AT_ONCE = 4_000_000  # pixels up to which a picture may be copied once more

# Thumbnails and the like are not in the files that the decoders get.
register_heif_opener(
    thumbnails=False, depth_images=False, aux_images=False, decode_threads=_THREADS
)
AvifImagePlugin.DEFAULT_MAX_THREADS = _THREADS

# Raise an error for a picture whose header promises more pixels than any setting allows.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Operators do not need warnings about broken metadata.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def decode_file(file: ImageFile, enough: float) -> NDArray[np.uint8]:
    """Decode an image file at a scale that leaves at least `enough` pixels, or all it has.

    Args:
        file: the file.
        enough: number of pixels.

    Returns:
        (h, w, 3) uint8, RGB, upright, contiguous; it may be read-only.

    Raises:
        BrokenFileError: the pixels are damaged or incomplete.
        MemoryError: there is not enough memory.
    """
    shrink = _shrink(file.width * file.height, enough)
    try:
        with Image.open(BytesIO(file.pixels), formats=[file.kind]) as picture:
            if picture.size != file.decoded_size:
                raise BrokenFileError("there are two sizes")
            if file.filler and not _has_all_pixels(file):
                raise BrokenFileError("pixels are missing")
            picture.draft(None, (file.width // shrink, file.height // shrink))  # JPEGs only
            picture.load()
            shown = _without_margins(picture, file)
            pixels = _to_rgb(shown, shrink if shown.size == (file.width, file.height) else 1)
    except (BrokenFileError, MemoryError):
        raise
    except Exception as error:  # broken files make Pillow raise nearly anything
        raise BrokenFileError(repr(error)) from None
    return np.ascontiguousarray(_upright(pixels, file.orientation))


def _without_margins(picture: Image.Image, file: ImageFile) -> Image.Image:
    """Return the picture without the margins of its file."""
    left, top, _, _ = file.margins
    if not any(file.margins):
        return picture
    return picture.crop((left, top, left + file.width, top + file.height))


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


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation: (H, W, 3) -> (H, W, 3) or (W, H, 3), a view.

    The value encodes the sides on which row 0 and column 0 of the stored picture lie (EXIF 2.3,
    4.6.4 A).
    """
    if orientation in SIDEWAYS:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):  # rows of the upright picture run backwards
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
