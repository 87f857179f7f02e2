"""Find the parts of cars in photos, from the command line; see `python segment.py --help`."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from attempt import UNEXPECTED
from exports import FORMATS, Format, export
from exports.yolo import data_file
from options import KNOBS, OptionError, Options, parse
from photo_result import Result
from pipeline import ModelsError, Pipeline
from runtimes import RuntimeMissingError
from segment_interface import ImageError, decode_image
from settings import load_settings, network_threads, usable_cores

log = logging.getLogger(__name__)

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")  # of the files that are taken from a folder

_REQUESTS = 4  # photos that are sent to a service at the same time

Segment = Callable[[bytes, Options], bytes]  # a photo -> its file in the format


class PhotoError(Exception):
    """Why there is no result for one photo; the message is one sentence."""


@dataclass(frozen=True)
class Task:
    """One photo: its file, its name in formats that point to it, and the file to write, if any."""

    photo: Path
    name: str
    target: Path | None


def _knobs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each knob, but for the file name, which it knows itself."""
    for knob in reversed(KNOBS.values()):
        if knob.name == "file_name":
            continue
        kind: dict[str, Any] = {"metavar": knob.schema["type"].upper()}
        if "enum" in knob.schema:
            kind = {"type": click.Choice(knob.schema["enum"])}
        elif knob.schema["type"] == "boolean":
            kind = {"is_flag": True, "flag_value": "true", "default": None}
        flag = f"--{knob.name.replace('_', '-')}"
        command = click.option(flag, knob.name, help=f"{knob.description}.", **kind)(command)
    return command


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "name",
    type=click.Choice(list(FORMATS)),
    default="json",
    show_default=True,
    help="Format of the results.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results; without it the result of one photo goes to standard output.",
)
@click.option(
    "--server",
    metavar="URL",
    help="Let the service at this address do the work; its key, if any, is read from "
    "CARSEG_API_KEY.",
)
@_knobs
def main(
    photos: tuple[Path, ...], name: str, out: Path | None, server: str | None, **knobs: str | None
) -> None:
    """Find the parts of cars in PHOTOS: files, and folders with PNG, JPEG and WebP files.

    Formats that can hold many photos (coco, coco-rle, labelstudio, cvat) write one file for all
    photos of a folder. A photo that can't be read does not stop the others; the exit status is 1
    if there was one.
    """
    chosen = FORMATS[name]
    options = _options(knobs, chosen)
    many = len(photos) > 1 or photos[0].is_dir()
    if out is None and many:
        raise click.UsageError("Say with --out DIR where the results of several photos go.")
    one_file = many and chosen.merge is not None
    tasks, failures = plan(photos, None if one_file else out, chosen)
    with _remote(server, chosen) if server else _local(chosen) as (segment, workers):
        results = _run(tasks, segment, options, workers, failures)
    if out is None:
        sys.stdout.buffer.write(b"".join(results))
    elif one_file and chosen.merge is not None:
        _write(out / f"{chosen.name}{chosen.ending}", chosen.merge(results))
    if out is not None and chosen.name == "yolo":
        _write(out / "data.yaml", data_file())
    if many or failures:
        _summary(len(results), failures)
    sys.exit(1 if failures else 0)


def plan(
    photos: tuple[Path, ...], out: Path | None, chosen: Format
) -> tuple[list[Task], dict[Path, str]]:
    """Which photos there are and where their results go.

    Folders are searched to any depth; below `out` the results lie as the photos lie below theirs.

    Returns:
        The tasks, and for what can't be one: path -> reason.
    """
    tasks: list[Task] = []
    failures: dict[Path, str] = {}
    taken: set[Path] = set()
    for given in photos:
        found = _below(given) if given.is_dir() else [given]
        if not found:
            failures[given] = "There are no PNG, JPEG or WebP files in this folder."
        for photo in found:
            name = photo.relative_to(given) if given.is_dir() else Path(photo.name)
            target = None if out is None else _target(out / name, chosen, taken)
            if out is not None and target is None:
                failures[photo] = "Its result would overwrite that of another photo."
                continue
            if target is not None and chosen.beside_photo:
                name = Path(os.path.relpath(photo, target.parent))
            tasks.append(Task(photo, name.as_posix(), target))
    return tasks, failures


def _below(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file()
    )


def _target(path: Path, chosen: Format, taken: set[Path]) -> Path | None:
    """`car.json` for `car.jpg`, or `car.jpg.json` if that is taken; None if both are."""
    for target in (path.with_suffix(chosen.ending), path.with_name(path.name + chosen.ending)):
        if target not in taken:
            taken.add(target)
            return target
    return None


def _options(knobs: dict[str, str | None], chosen: Format) -> Options:
    try:
        options = parse({name: [text] for name, text in knobs.items() if text is not None})
        chosen.check(options)
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    return options


@contextmanager
def _local(chosen: Format) -> Iterator[tuple[Segment, int]]:
    """Do the work here, as the service does it: same stages, same number of threads."""
    settings = load_settings()
    workers = min(settings.workers, usable_cores())
    try:
        pipeline = Pipeline(network_threads(), runtime=settings.runtime, calls=workers)
    except RuntimeMissingError as error:
        raise click.ClickException(f"CARSEG_RUNTIME={settings.runtime}: {error}.") from None

    def segment(data: bytes, options: Options) -> bytes:
        try:
            result = Result.of(pipeline.analyse(decode_image(data, settings.max_pixels)))
        except (ImageError, ModelsError) as error:
            raise PhotoError(str(error)) from None
        return export(hashlib.sha256(data).hexdigest(), result, chosen, options)

    yield segment, workers


@contextmanager
def _remote(url: str, chosen: Format) -> Iterator[tuple[Segment, int]]:
    """Let a service do the work. Raises ClickException if there is none."""
    try:
        from client import CarSeg, CarSegError
    except ImportError:
        raise click.ClickException(
            "--server needs one more package: pip install requests"
        ) from None
    # Not an option: everybody on the machine can read the command lines of others.
    with CarSeg(url, api_key=os.environ.get("CARSEG_API_KEY") or None) as service:
        try:
            service.ready()
        except CarSegError as error:
            raise click.ClickException(error.message) from None

        def segment(data: bytes, options: Options) -> bytes:
            try:
                image_hash = service.submit(data)
                service.wait(image_hash)
                return service.export(image_hash, chosen.name, options)
            except CarSegError as error:
                raise PhotoError(error.message) from None

        yield segment, _REQUESTS


def _run(
    tasks: list[Task], segment: Segment, options: Options, workers: int, failures: dict[Path, str]
) -> list[bytes]:
    """Work on all photos and write their files; gives the files in order, notes failures."""

    def work(task: Task) -> bytes:
        document = segment(task.photo.read_bytes(), replace(options, file_name=task.name))
        if task.target is not None:
            _write(task.target, document)
        return document

    with ThreadPoolExecutor(workers) as executor:
        futures = [executor.submit(work, task) for task in tasks]
        try:
            with click.progressbar(
                as_completed(futures), len(tasks), "Photos", file=sys.stderr, hidden=len(tasks) < 2
            ) as finished:
                for _ in finished:
                    pass
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
    documents = []
    for task, future in zip(tasks, futures, strict=True):
        try:
            documents.append(future.result())
        except OSError as error:
            failures[task.photo] = f"{error.strerror or 'It can not be read'}."
        except (PhotoError, OptionError) as error:
            failures[task.photo] = str(error)
        except Exception:
            log.exception("%s failed", task.photo)
            failures[task.photo] = UNEXPECTED
    return documents


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _summary(done: int, failures: dict[Path, str]) -> None:
    for path, reason in failures.items():
        click.echo(f"{click.format_filename(path)}: {reason}", err=True)
    click.echo(f"{done} done, {len(failures)} failed.", err=True)


if __name__ == "__main__":
    main()
