"""Find the photos of a command, and choose the files for their results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from cli.output_formats import OutputFormat
from cli.photo_files import find_photos, kinds
from cli.yolo_dataset import image_place, label_place


@dataclass(frozen=True)
class Task:
    """One photo to segment.

    Attributes:
        photo: file of the photo.
        name: name of the photo in formats that point to it.
        target: file for the result; None if the result gets no file.
        image: file for the copy of the photo in a dataset; None outside datasets.
    """

    photo: Path
    name: str
    target: Path | None
    image: Path | None = None


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


def plan(
    photos: Sequence[Path], out: Path, chosen: OutputFormat, *, one_file: bool, image_prefix: str
) -> Plan:
    """Find the photos, and choose the files for their results.

    Folders are searched to any depth. The results below `out` keep the folders of their photos.

    Args:
        photos: files and folders.
        out: folder of the results.
        chosen: format of the results.
        one_file: choose no files, because all results are merged into one.
        image_prefix: see `name_with_prefix`.
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
        if chosen.writes_pictures:  # a picture never gets the name of another photo
            found = sorted(found, key=lambda photo: not _keeps_name(photo, chosen))
        for photo in found:
            inside = photo.relative_to(given) if given.is_dir() else Path(photo.name)
            name = name_with_prefix(inside, image_prefix)
            if one_file:
                planned.tasks.append(Task(photo, name, None))
            else:
                _add(planned, Task(photo, name, None), inside, out, chosen, taken)
    if chosen.writes_pictures:
        _refuse_to_overwrite_photos(planned)
    return planned


def name_with_prefix(name: Path, prefix: str) -> str:
    """Return the name of a photo in formats that point to it.

    Args:
        name: path of the photo, relative to the folder of all photos.
        prefix: text before the name, such as the start of an address; "" for none. In addresses of
            the web the name is percent-encoded. Stores such as `s3://` take names as they are.
    """
    text = name.as_posix()
    if not prefix or ("://" in prefix and not prefix.lower().startswith("http")):
        return prefix + text
    return prefix + quote(text)


def _keeps_name(photo: Path, chosen: OutputFormat) -> bool:
    """Return True if the picture of a photo may have the name of the photo's own file."""
    if chosen.is_dataset:
        labels = label_place(Path(photo.name)).with_suffix(chosen.ending)
        return image_place(labels, photo).name == photo.name
    return photo.suffix == chosen.ending


def _add(
    planned: Plan,
    task: Task,
    inside: Path,
    out: Path,
    chosen: OutputFormat,
    taken: dict[Path, Path],
) -> None:
    """Add a task with files for its result, or a failure if they are taken.

    Args:
        planned: changed in place.
        task: without files.
        inside: path of the photo, relative to the folder of all photos.
        out: folder of the results.
        chosen: format of the results.
        taken: target -> photo, changed in place.
    """
    place = out / (label_place(inside) if chosen.is_dataset else inside)
    plain = place.with_suffix(chosen.ending)
    target = next(
        (
            path
            for path in (plain, place.with_name(place.name + chosen.ending))
            if path not in taken
        ),
        None,
    )
    if target is None:
        planned.failures[task.photo] = "Its result would overwrite that of another photo."
        return
    taken[target] = task.photo
    if chosen.paired_by_stem and target != plain:
        planned.same_stems.append((taken[plain], task.photo))
    name, image = task.name, None
    if chosen.beside_photo:
        name = Path(os.path.relpath(task.photo, target.parent)).as_posix()
    if chosen.is_dataset:
        image = out / image_place(target.relative_to(out), task.photo)
    planned.tasks.append(Task(task.photo, name, target, image))


def _refuse_to_overwrite_photos(planned: Plan) -> None:
    """Turn tasks whose result would replace a photo into failures."""
    photos = {task.photo.resolve() for task in planned.tasks}
    kept = []
    for task in planned.tasks:
        files = (task.target, task.image)
        if any(file is not None and file.resolve() in photos for file in files):
            planned.failures[task.photo] = "Its result would overwrite a photo."
        else:
            kept.append(task)
    planned.tasks = kept
