"""Find the photos of a command, and choose the files for their results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.photo_files import find_photos, kinds
from exports import Format


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


@dataclass
class Plan:
    """The photos of a command, and the files that are not used.

    Attributes:
        tasks: the photos.
        failures: path -> reason for each path that can't be a task.
        left_out: kind -> number of files in the folders that are no photos.
        same_stems: pairs of photos that differ only in their ending, for a format whose programs
            find the file of a photo by the name without that ending.
    """

    tasks: list[Task] = field(default_factory=list)
    failures: dict[Path, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    same_stems: list[tuple[Path, Path]] = field(default_factory=list)


def plan(photos: Sequence[Path], out: Path, chosen: Format, *, one_file: bool) -> Plan:
    """Find the photos, and choose the files for their results.

    Folders are searched to any depth. The results below `out` keep the folders of their photos.

    Args:
        photos: files and folders.
        out: folder of the results.
        chosen: format of the results.
        one_file: choose no files, because all results are merged into one.
    """
    planned = Plan()
    taken: dict[Path, Path] = {}  # target -> photo
    for given in photos:
        found = [given]
        if given.is_dir():
            found, others = find_photos(given, out, chosen.ending)
            planned.left_out += kinds(others)
        if not found:
            planned.failures[given] = (
                "There are no PNG, JPEG, WebP, HEIC, AVIF, BMP or GIF files in this folder."
            )
        for photo in found:
            name = photo.relative_to(given) if given.is_dir() else Path(photo.name)
            target = None if one_file else _target(out / name, chosen, taken)
            if not one_file and target is None:
                planned.failures[photo] = "Its result would overwrite that of another photo."
                continue
            if target is not None:
                plain = (out / name).with_suffix(chosen.ending)
                taken[target] = photo
                if chosen.paired_by_stem and target != plain:
                    planned.same_stems.append((taken[plain], photo))
                if chosen.beside_photo:
                    name = Path(os.path.relpath(photo, target.parent))
            planned.tasks.append(Task(photo, name.as_posix(), target))
    return planned


def _target(path: Path, chosen: Format, taken: dict[Path, Path]) -> Path | None:
    """Return `car.json` for `car.jpg`, or `car.jpg.json` if that is taken; None if both are."""
    for target in (path.with_suffix(chosen.ending), path.with_name(path.name + chosen.ending)):
        if target not in taken:
            return target
    return None
