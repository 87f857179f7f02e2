"""Find the photos of a command, and choose the files for their results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exports import Format

# Of files that are searched in folders.
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".gif"),
    *(".heic", ".heif", ".hif"),
)


@dataclass(frozen=True)
class Task:
    """One photo to segment.

    Attributes:
        photo: file of the photo.
        name: name of the photo in formats that point to it.
        target: file for the result; None if the result gets no file.
    """

    photo: Path
    name: str
    target: Path | None


def plan(
    photos: Sequence[Path], out: Path, chosen: Format, *, one_file: bool
) -> tuple[list[Task], dict[Path, str]]:
    """Find the photos, and choose the files for their results.

    Folders are searched to any depth. The results below `out` keep the folders of their photos.

    Args:
        photos: files and folders.
        out: folder of the results.
        chosen: format of the results.
        one_file: choose no files, because all results are merged into one.

    Returns:
        The tasks; and path -> reason for each path that can't be a task.
    """
    tasks: list[Task] = []
    failures: dict[Path, str] = {}
    taken: set[Path] = set()
    for given in photos:
        found = _below(given) if given.is_dir() else [given]
        if not found:
            failures[given] = (
                "There are no PNG, JPEG, WebP, HEIC, AVIF, BMP or GIF files in this folder."
            )
        for photo in found:
            name = photo.relative_to(given) if given.is_dir() else Path(photo.name)
            target = None if one_file else _target(out / name, chosen, taken)
            if not one_file and target is None:
                failures[photo] = "Its result would overwrite that of another photo."
                continue
            if target is not None and chosen.beside_photo:
                name = Path(os.path.relpath(photo, target.parent))
            tasks.append(Task(photo, name.as_posix(), target))
    return tasks, failures


def _below(folder: Path) -> list[Path]:
    """Return the photos in a folder and its subfolders, sorted by path."""
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file()
    )


def _target(path: Path, chosen: Format, taken: set[Path]) -> Path | None:
    """Return `car.json` for `car.jpg`, or `car.jpg.json` if that is taken; None if both are."""
    for target in (path.with_suffix(chosen.ending), path.with_name(path.name + chosen.ending)):
        if target not in taken:
            taken.add(target)
            return target
    return None
