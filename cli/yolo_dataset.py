"""Write a dataset that Ultralytics can train on: `images/`, `labels/` and `data.yaml`.

Ultralytics finds the labels of `images/x/car.jpg` in `labels/x/car.txt`: it replaces the last
folder `images` of the path. `data.yaml` names two lists of images, for training and for validation.
Source: https://docs.ultralytics.com/datasets/segment/.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from cli.run_log import digest
from exports.yolo import data_file
from segment_interface import decode_image
from vision.image_file import read_file

IMAGES, LABELS = "images", "labels"

_KINDS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}
_QUALITY = 95  # of JPEGs
_VALIDATION = 10  # one of so many photos is for validation


def label_place(name: Path) -> Path:
    """Return the path of a photo's labels without its ending, relative to the dataset.

    Args:
        name: path of the photo, relative to the folder of all photos.
    """
    folders = (f"{part}_" if part == IMAGES else part for part in name.parent.parts)
    return Path(LABELS, *folders, name.name)


def image_place(labels: Path, photo: Path) -> Path:
    """Return the path of a photo's copy, relative to the dataset.

    Args:
        labels: path of its labels, relative to the dataset.
        photo: file of the photo.
    """
    suffix = photo.suffix.lower()
    inside = labels.relative_to(LABELS)
    return Path(IMAGES, inside.parent, inside.stem + (suffix if suffix in _KINDS else ".jpg"))


def image_file(photo: bytes, ending: str, max_pixels: int) -> bytes:
    """Return the copy of a photo for a dataset.

    Formats that Ultralytics reads upright are copied as they are. Others are converted.

    Args:
        photo: image file.
        ending: ending of the copy, with its dot.
        max_pixels: most pixels that are decoded.

    Raises:
        ImageError: the photo can't be decoded.
    """
    file = read_file(photo)
    if file.kind == "JPEG" or (file.kind in _KINDS.values() and file.orientation == 1):
        return photo  # older versions of OpenCV turn only JPEGs upright
    buffer = BytesIO()
    picture = Image.fromarray(decode_image(photo, max_pixels))
    picture.save(buffer, _KINDS[ending], quality=_QUALITY, lossless=True)
    return buffer.getvalue()


def lists(images: Sequence[Path], *, damage: bool = False) -> dict[str, bytes]:
    """Return `data.yaml` and its lists of images by file name.

    A photo's name decides whether it is for validation, so that more photos change little. A single
    photo is in both lists.

    Args:
        images: paths of the images, relative to the dataset.
        damage: the classes include the kinds of damage.
    """
    order = sorted(images, key=lambda image: digest([image.as_posix()]))
    count = max(1, len(order) // _VALIDATION)
    validation, training = order[:count], order[count:] or order
    return {
        "train.txt": _list(training),
        "val.txt": _list(validation),
        "data.yaml": b"train: train.txt\nval: val.txt\n" + data_file(damage=damage),
    }


def _list(images: Sequence[Path]) -> bytes:
    return "".join(f"./{image.as_posix()}\n" for image in sorted(images)).encode()
