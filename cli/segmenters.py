"""Segment any number of photos for the command line, in this process or by a running service.

Both ways take tasks as needed and yield each result as soon as it is ready, so memory does not
grow with the number of photos.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import click

from exports import Format, export
from jobs.outcome import UNEXPECTED
from options import OptionError, Options
from photo_result import Result
from pipeline import ModelsNotLoadedError, open_pipeline
from segment_interface import ImageError, decode_photo
from settings import SettingsError, load_settings

log = logging.getLogger("carseg.cli")

FETCHES = 4  # results fetched from a service concurrently

Item = TypeVar("Item")


class PhotoError(Exception):
    """One photo has no result. The message is one sentence."""


class ServiceError(Exception):
    """The service is gone, or accepts no more photos. The message is one sentence."""


@dataclass(frozen=True)
class Task:
    """One photo: its file, its name in formats that point to it, and its result file, if any."""

    photo: Path
    name: str
    target: Path | None


@dataclass(frozen=True)
class Segmented:
    """The outcome of a task.

    Attributes:
        task: the task.
        image_hash: SHA-256 of the photo; "" without a result.
        document: bytes of the result in the format; None without a result.
        error: reason why there is no result, in one sentence; "" with a result.
    """

    task: Task
    image_hash: str = ""
    document: bytes | None = None
    error: str = ""


Ending = Generator[Segmented, None, None]
SegmentAll = Callable[[Sequence[Task]], Ending]  # in order of completion


@contextmanager
def local(chosen: Format, options: Options) -> Iterator[SegmentAll]:
    """Provide a function that segments photos in this process.

    It uses the same stages and the same number of threads as the service.
    """
    settings = load_settings()
    workers = settings.worker_count
    try:
        pipeline = open_pipeline(settings, calls=workers)
    except SettingsError as error:
        raise click.ClickException(error.message) from None

    def segment(task: Task) -> Segmented:
        def work() -> tuple[str, bytes]:
            data = task.photo.read_bytes()
            try:
                analysis = pipeline.analyse(decode_photo(data, settings.max_pixels))
                result = Result.of(analysis, pipeline.version)
            except (ImageError, ModelsNotLoadedError) as error:
                raise PhotoError(str(error)) from None
            image_hash = hashlib.sha256(data).hexdigest()
            named = replace(options, file_name=task.name)
            return image_hash, export(image_hash, result, chosen, named)

        return _attempt(task, work)

    yield lambda tasks: _unordered(segment, tasks, workers)


@contextmanager
def remote(url: str, chosen: Format, options: Options, at_once: int) -> Iterator[SegmentAll]:
    """Provide a function that lets a service segment photos.

    The function raises ServiceError if the service stops answering.

    Raises:
        ClickException: the service does not answer.
    """
    try:
        from client import CarSeg, CarSegError, Outcome
    except ImportError:
        raise click.ClickException(
            "--server needs one more package: pip install requests"
        ) from None
    # The key is no command-line option: all users of a machine can read its command lines.
    with CarSeg(url, api_key=os.environ.get("CARSEG_API_KEY") or None) as service:
        try:
            service.ready()
        except CarSegError as error:
            raise click.ClickException(error.message) from None

        def fetch(ended: tuple[Task, Outcome]) -> Segmented:
            task, outcome = ended

            def work() -> tuple[str, bytes]:
                try:
                    if outcome.error is not None:
                        raise outcome.error
                    image_hash = outcome.image_hash or ""
                    named = replace(options, file_name=task.name)
                    return image_hash, service.export(image_hash, chosen.name, named)
                except CarSegError as error:
                    raise PhotoError(error.message) from None

            return _attempt(task, work)

        def segment_all(tasks: Sequence[Task]) -> Ending:
            photos = (task.photo for task in tasks)
            ended = (
                (tasks[outcome.number], outcome)
                for outcome in service.finish_many(photos, at_once=at_once)
            )
            try:
                yield from _unordered(fetch, ended, FETCHES)
            except CarSegError as error:
                raise ServiceError(error.message) from None

        yield segment_all


def _attempt(task: Task, work: Callable[[], tuple[str, bytes]]) -> Segmented:
    """Call `work`, and return its hash and document, or the reason why it failed."""
    try:
        return Segmented(task, *work())
    except OSError as error:
        return Segmented(task, error=f"{error.strerror or 'It can not be read'}.")
    except (PhotoError, OptionError) as error:
        return Segmented(task, error=str(error))
    except Exception:
        log.exception("%s failed", task.photo)
        return Segmented(task, error=UNEXPECTED)


def _unordered(work: Callable[[Item], Segmented], items: Iterable[Item], threads: int) -> Ending:
    """Run `work` on all items in threads, and yield the results as they end.

    At most two items per thread are taken at a time.
    """
    executor = ThreadPoolExecutor(threads)
    pending: set[Future[Segmented]] = set()
    try:
        for item in items:
            pending.add(executor.submit(work, item))
            full = len(pending) >= 2 * threads
            done, pending = wait(pending, None if full else 0, FIRST_COMPLETED)
            yield from (future.result() for future in done)
        while pending:
            done, pending = wait(pending, None, FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        executor.shutdown(cancel_futures=True)
