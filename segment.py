"""Find the parts of cars in photos, from the command line; see `python segment.py --help`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from cli.folder_run import FolderRun
from cli.output_formats import OUTPUT_FORMATS, OutputFormat
from cli.plan import Plan, Task, name_with_prefix, plan
from cli.run_log import FolderInUseError, RunLog
from cli.segmenters import LocalSegmenter, Segmenter, ServiceError
from exports.annotation import part_names
from options import OPTION_SPECS, OptionError, Options, parse

_STOPPED = 130  # exit status after Ctrl-C, as in shells
_FLAG_TEXTS = {"damage": "examine the photos for damage, too"}  # where a flag takes no value
_PAIRS_SHOWN = 5  # of photos that differ only in their ending


def _option_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add a command-line option for each `OptionSpec` except the file name.

    The command takes that name from the photo.
    """
    for spec in reversed(OPTION_SPECS.values()):
        if spec.name == "file_name":
            continue
        kind: dict[str, Any] = {"metavar": spec.schema["type"].upper()}
        text = f"{_FLAG_TEXTS.get(spec.name, spec.description)}."
        if spec.schema.get("default"):
            text += f" Default: {spec.schema['default']}."
        if "enum" in spec.schema:
            kind = {"type": click.Choice(spec.schema["enum"])}
        elif spec.schema["type"] == "boolean":
            kind = {"is_flag": True, "flag_value": "true", "default": None}
        flag = f"--{spec.name.replace('_', '-')}"
        command = click.option(flag, spec.name, help=text, **kind)(command)
    return command


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "name",
    type=click.Choice(list(OUTPUT_FORMATS)),
    default="json",
    show_default=True,
    help="Format of the results.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results. Without it, the result of one photo goes to standard output.",
)
@click.option(
    "--server",
    metavar="URL",
    help="Send the photos to the service at this address. If it needs a key, set CARSEG_API_KEY.",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Most photos in the service at a time: more than its workers, fewer than its queue.",
)
@click.option(
    "--image-prefix",
    metavar="TEXT",
    default="",
    help="Text before the photos' names in labelstudio, such as /data/local-files/?d=photos/",
)
@click.option(
    "--anew",
    is_flag=True,
    help="Process all photos again, even if an earlier run has finished them.",
)
@click.option("--quiet", is_flag=True, help="Show failures only.")
@_option_flags
def main(
    photos: tuple[Path, ...],
    name: str,
    out: Path | None,
    server: str | None,
    at_once: int,
    image_prefix: str,
    anew: bool,
    quiet: bool,
    **values: str | None,
) -> None:
    """Find the parts of cars in PHOTOS: files, and folders of them.

    In folders it finds PNG, JPEG, WebP, HEIC, AVIF, BMP and GIF files.

    Formats that can hold many photos (coco, coco-rle, labelstudio, cvat, csv) write one file for
    all photos. If a photo fails, the others go on, and the exit status is 1. To resume a run that
    was stopped, run the same command again: results in --out are kept if neither the photo nor the
    options have changed.
    """
    chosen = OUTPUT_FORMATS[name]
    options = _options(values, chosen)
    many = len(photos) > 1 or photos[0].is_dir()
    _check_usage(photos, out, chosen, image_prefix)
    open_segmenter = partial(_open_segmenter, server, chosen, options, at_once)
    if out is None:
        task = Task(photos[0], name_with_prefix(Path(photos[0].name), image_prefix), None)
        sys.exit(_to_standard_output(task, open_segmenter))
    one_file = many and chosen.merge is not None
    planned = plan(photos, out, chosen, one_file=one_file, image_prefix=image_prefix)
    try:
        with RunLog(out, anew=anew) as run_log:
            run = FolderRun(planned.tasks, run_log, chosen, options, one_file=one_file)
            run.failures |= planned.failures
            _run(run, open_segmenter, quiet=quiet)
    except FolderInUseError:
        raise click.ClickException(f"Another run writes into {out}.") from None
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror or error}.") from None
    if not quiet:
        _report_plan(planned, chosen)
    if not quiet and (many or run.failures):
        click.echo(f"{run.done} done, {len(run.failures)} failed.", err=True)
    sys.exit(1 if run.failures else 0)


def _check_usage(
    photos: tuple[Path, ...], out: Path | None, chosen: OutputFormat, image_prefix: str
) -> None:
    """Raise UsageError if the arguments do not fit together."""
    if image_prefix and chosen.name != "labelstudio":
        raise click.UsageError("--image-prefix works only with --format labelstudio.")
    if not image_prefix.isprintable():
        raise click.UsageError("--image-prefix must be printable text.")
    if out is None:
        if chosen.is_dataset:
            raise click.UsageError(f"{chosen.name} is a folder: use --out DIR.")
        if len(photos) > 1 or photos[0].is_dir():
            raise click.UsageError("Several photos need a folder for their results: use --out DIR.")
    elif chosen.writes_pictures:
        folders = (photo if photo.is_dir() else photo.parent for photo in photos)
        if any(folder.resolve() == out.resolve() for folder in folders):
            raise click.UsageError(
                f"{chosen.name} writes pictures: use another --out DIR than that of the photos."
            )


def _open_segmenter(
    server: str | None, chosen: OutputFormat, options: Options, at_once: int
) -> Segmenter:
    """Return a segmenter in this process, or one that uses the service at the address `server`.

    Raises:
        ClickException: the segmenter can't work.
    """
    if not server:
        return LocalSegmenter(chosen, options)
    try:
        from cli.service_segmenter import ServiceSegmenter
    except ImportError:
        raise click.ClickException(
            "--server needs one more package: pip install requests"
        ) from None
    return ServiceSegmenter(server, chosen, options, at_once)


def _run(run: FolderRun, open_segmenter: Callable[[], Segmenter], *, quiet: bool) -> None:
    """Process the remaining photos, and report failures. Exit if the run is stopped."""
    if run.done and not quiet:
        verb = "was" if run.done == 1 else "were"
        click.echo(f"{run.done} of {run.total} {verb} done before.", err=True)
    status: int | None = None
    if run.todo:
        with open_segmenter() as segmenter:
            try:
                run.work(segmenter, hidden=quiet or not sys.stderr.isatty())
            except KeyboardInterrupt:
                click.echo("Stopped.", err=True)
                status = _STOPPED
            except ServiceError as error:
                click.echo(f"Error: {error}", err=True)
                status = 1
    for path, reason in run.failures.items():
        click.echo(f"{click.format_filename(path)}: {reason}", err=True)
    if status is not None:
        verb = "is" if run.done == 1 else "are"
        click.echo(
            f"{run.done} of {run.total} {verb} done. Run the same command again to continue.",
            err=True,
        )
        sys.exit(status)
    run.finish()


def _report_plan(planned: Plan, chosen: OutputFormat) -> None:
    """Print which files were left out, and which results programs will not find."""
    for first, second in planned.same_stems[:_PAIRS_SHOWN]:
        click.echo(
            f"Warning: {click.format_filename(first)} and {click.format_filename(second)} differ "
            f"only in their ending. {chosen.name} pairs files by the name before it; rename one"
            f"{', or use yolo-dataset' if chosen.name == 'yolo' else ''}.",
            err=True,
        )
    if len(planned.same_stems) > _PAIRS_SHOWN:
        more = len(planned.same_stems) - _PAIRS_SHOWN
        pairs = "1 more pair differs" if more == 1 else f"{more} more pairs differ"
        click.echo(f"Warning: {pairs} only in their ending.", err=True)
    if planned.left_out:
        counts = (f"{count} {kind}" for kind, count in planned.left_out.most_common())
        click.echo(f"Left out: {', '.join(counts)}.", err=True)


def _to_standard_output(task: Task, open_segmenter: Callable[[], Segmenter]) -> int:
    """Write the result of one photo to standard output, and return the exit status."""
    with open_segmenter() as segmenter:
        try:
            (result,) = segmenter.segment([task])
        except ServiceError as error:
            raise click.ClickException(str(error)) from None
    if result.document is None:
        click.echo(f"{click.format_filename(task.photo)}: {result.error}", err=True)
        click.echo("0 done, 1 failed.", err=True)
        return 1
    sys.stdout.buffer.write(result.document)
    return 0


def _options(values: dict[str, str | None], chosen: OutputFormat) -> Options:
    try:
        options = parse({name: [text] for name, text in values.items() if text is not None})
        chosen.check(options)
        part_names(options)  # a service would refuse a wrong name for each photo
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    return options


if __name__ == "__main__":
    main()
