"""Find the parts of cars in photos, from the command line; see `python segment.py --help`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from cli import segmenters
from cli.folder_run import FolderRun
from cli.run_log import FolderInUseError, RunLog
from cli.segmenters import SegmentAll, ServiceError, Task
from exports import FORMATS, Format
from options import OPTION_SPECS, OptionError, Options, parse

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")  # of files that are searched in folders

_STOPPED = 130  # exit status after Ctrl-C, as in shells


def _knobs(command: Callable[..., None]) -> Callable[..., None]:
    """Add a command-line option for each `OptionSpec` except the file name.

    The command takes that name from the photo.
    """
    for knob in reversed(OPTION_SPECS.values()):
        if knob.name == "file_name":
            continue
        kind: dict[str, Any] = {"metavar": knob.schema["type"].upper()}
        text = f"{knob.description}."
        if knob.schema.get("default"):
            text += f" Default: {knob.schema['default']}."
        if "enum" in knob.schema:
            kind = {"type": click.Choice(knob.schema["enum"])}
        elif knob.schema["type"] == "boolean":
            kind = {"is_flag": True, "flag_value": "true", "default": None}
        flag = f"--{knob.name.replace('_', '-')}"
        command = click.option(flag, knob.name, help=text, **kind)(command)
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
@click.option(
    "--at-once",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Photos that the service has at once: more than its workers, fewer than its queue.",
)
@click.option("--anew", is_flag=True, help="Do also what an earlier run has done.")
@click.option("--quiet", is_flag=True, help="Show failures only.")
@_knobs
def main(
    photos: tuple[Path, ...],
    name: str,
    out: Path | None,
    server: str | None,
    at_once: int,
    anew: bool,
    quiet: bool,
    **knobs: str | None,
) -> None:
    """Find the parts of cars in PHOTOS: files, and folders with PNG, JPEG and WebP files.

    Formats that can hold many photos (coco, coco-rle, labelstudio, cvat) write one file for all
    photos of a folder. A photo that can't be read does not stop the others; the exit status is 1
    if there was one. The same command goes on after a stop of any kind: what is in --out already,
    of photos and options that have not changed, is not done again.
    """
    chosen = FORMATS[name]
    options = _options(knobs, chosen)
    many = len(photos) > 1 or photos[0].is_dir()
    if out is None and many:
        raise click.UsageError("Say with --out DIR where the results of several photos go.")
    segmenter = (
        segmenters.remote(server, chosen, options, at_once)
        if server
        else segmenters.local(chosen, options)
    )
    if out is None:
        sys.exit(_to_standard_output(photos[0], segmenter))
    one_file = many and chosen.merge is not None
    tasks, failures = plan(photos, out, chosen, one_file=one_file)
    try:
        with RunLog(out, anew=anew) as ledger:
            run = FolderRun(tasks, ledger, chosen, options, one_file=one_file)
            run.failures |= failures
            _run(run, segmenter, quiet=quiet)
    except FolderInUseError:
        raise click.ClickException(f"Another run writes into {out}.") from None
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror or error}.") from None
    if not quiet and (many or run.failures):
        click.echo(f"{run.done} done, {len(run.failures)} failed.", err=True)
    sys.exit(1 if run.failures else 0)


def _run(run: FolderRun, segmenter: AbstractContextManager[SegmentAll], *, quiet: bool) -> None:
    """Process the remaining photos, and report failures. Exit if the run is stopped."""
    if run.done and not quiet:
        click.echo(f"{run.done} of {run.total} were done before.", err=True)
    status: int | None = None
    if run.todo:
        with segmenter as segment_all:
            try:
                run.work(segment_all, hidden=quiet or not sys.stderr.isatty())
            except KeyboardInterrupt:
                click.echo("Stopped.", err=True)
                status = _STOPPED
            except ServiceError as error:
                click.echo(f"Error: {error}", err=True)
                status = 1
    for path, reason in run.failures.items():
        click.echo(f"{click.format_filename(path)}: {reason}", err=True)
    if status is not None:
        click.echo(f"{run.done} of {run.total} are done; the same command goes on.", err=True)
        sys.exit(status)
    run.finish()


def _to_standard_output(photo: Path, segmenter: AbstractContextManager[SegmentAll]) -> int:
    """Write the result of one photo to standard output, and return the exit status."""
    with segmenter as segment_all:
        try:
            (ended,) = segment_all([Task(photo, photo.name, None)])
        except ServiceError as error:
            raise click.ClickException(str(error)) from None
    if ended.document is None:
        click.echo(f"{click.format_filename(photo)}: {ended.error}", err=True)
        click.echo("0 done, 1 failed.", err=True)
        return 1
    sys.stdout.buffer.write(ended.document)
    return 0


def plan(
    photos: tuple[Path, ...], out: Path, chosen: Format, *, one_file: bool
) -> tuple[list[Task], dict[Path, str]]:
    """Find the photos, and choose the files for their results.

    Folders are searched to any depth. The results below `out` keep the folders of their photos.
    With `one_file` no photo gets a result file.

    Returns:
        The tasks; and path -> reason for each path that can't be a task.
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
            target = None if one_file else _target(out / name, chosen, taken)
            if not one_file and target is None:
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
    """Return `car.json` for `car.jpg`, or `car.jpg.json` if that is taken; None if both are."""
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


if __name__ == "__main__":
    main()
