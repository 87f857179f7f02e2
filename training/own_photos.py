"""Read and check the user's own photos and labels, and define a run that trains on them."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


class OwnDataError(Exception):
    """The user's data cannot be used for training; the message contains the reason."""


@dataclass(frozen=True)
class OwnRun:
    """The options of one run.

    Attributes:
        runs: folder of packs, checkpoint and log; an interrupted run resumes from there.
        samples: photos to train on, with repetitions.
        batch: photos per step, at least 3.
        rate: peak learning rate.
        checkpoint: seconds between two checkpoints.
    """

    runs: Path
    samples: int
    batch: int = 8
    rate: float = 3e-4
    checkpoint: float = 120.0


def check_coco(coco: Path, photos: Path, labels: Collection[str], noun: str) -> list[str]:
    """Return the names of the photos in a COCO file, after checking all its content.

    Args:
        coco: the file, with polygons.
        photos: folder of the photos.
        labels: names of categories, of which the file must have one.
        noun: a word for such a category, for messages.

    Raises:
        OwnDataError: the file, or a photo that it names, cannot be used.
    """
    try:
        document = json.loads(coco.read_text(encoding="utf-8"))
        names = [str(image["file_name"]) for image in document["images"]]
        categories = {str(category["name"]) for category in document["categories"]}
        outlines = [annotation["segmentation"] for annotation in document["annotations"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OwnDataError(f"{coco} is no COCO file with polygons: {error!r}") from error
    missing = [name for name in names if not (photos / name).is_file()]
    if not names:
        raise OwnDataError(f"{coco} names no photos")
    if missing:
        raise OwnDataError(f"{len(missing)} photos of {coco} are not in {photos}: {missing[:3]}")
    if not categories & set(labels):
        raise OwnDataError(
            f"no category of {coco} is a {noun}; theirs are {sorted(categories)}, "
            f"{noun}s are {', '.join(labels)}"
        )
    if not all(isinstance(outline, list) for outline in outlines):
        raise OwnDataError(f"{coco} has masks as run lengths; export it with polygons")
    stems = {Path(name).stem for name in names}
    if len(stems) < len(names):
        raise OwnDataError(f"photos of {coco} have the same name, but for folder and ending")
    return names
