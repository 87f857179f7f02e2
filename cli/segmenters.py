"""Segment any number of photos for the command line, in this process.

`cli.service_segmenter` lets a running service do the same. Both take tasks as needed and yield each
result as soon as it is ready, so memory does not grow with the number of photos.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Self, TypeVar

from cli.output_formats import OutputFormat
from cli.plan import Task
from cli.yolo_dataset import image_file
from exports import FORMATS, export
from jobs.messages import UNEXPECTED
from options import OptionError, Options
from photo_result import Result
from pipeline import ModelsNotLoadedError, open_pipeline
from segment_interface import ImageError, decode_photo
from settings import load_settings

log = logging.getLogger("carseg.cli")

Item = TypeVar("Item")


class PhotoError(Exception):
    """Error for a photo without a result. The message is one sentence for users."""


class ServiceError(Exception):
    """Error for a service that is gone, or accepts no more photos. The message is for users."""


@dataclass(frozen=True)
class TaskResult:
    """The outcome of a task.

    Attributes:
        task: the task.
        image_hash: SHA-256 of the photo; "" without a result.
        document: bytes of the result in the format; None without a result.
        error: reason why there is no result, in one sentence; "" with a result.
        image: bytes for `Task.image`; None if that is None.
    """

    task: Task
    image_hash: str = ""
    document: bytes | None = None
    error: str = ""
    image: bytes | None = None


TaskResults = Generator[TaskResult, None, None]  # in order of completion


class Segmenter(ABC):
    """A way to segment photos, as a context manager."""

    @abstractmethod
    def segment(self, tasks: Sequence[Task]) -> TaskResults:
        """Segment the photos of all tasks, and yield the results in order of completion.

        Raises:
            ServiceError: the service stops answering.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:  # noqa: B027 (a hook)
        """Release what the segmenter holds, by default nothing."""


class LocalSegmenter(Segmenter):
    """A segmenter in this process, with the stages and the number of threads of the service."""

    def __init__(self, chosen: OutputFormat, options: Options) -> None:
        """Start to load the models.

        Raises:
            SettingsError: a setting can't be used, or its runtime is not installed.
        """
        self._chosen, self._options = chosen, options
        settings = load_settings()
        self._max_pixels = settings.max_pixels
        self._workers = settings.worker_count
        always = settings.damage == "always"
        self._damage = always if options.damage is None else options.damage
        self._pipeline = open_pipeline(settings, calls=self._workers)

    def segment(self, tasks: Sequence[Task]) -> TaskResults:
        """See `Segmenter`."""
        return run_in_threads(self._run, tasks, self._workers)

    def _run(self, task: Task) -> TaskResult:
        return run_task(task, partial(self._result, task))

    def _result(self, task: Task) -> TaskResult:
        data = task.photo.read_bytes()
        try:
            photo = decode_photo(data, self._max_pixels)
            analysis = self._pipeline.analyse(photo, damage=self._damage)
        except ModelsNotLoadedError as error:
            raise PhotoError(str(error)) from None
        image_hash = hashlib.sha256(data).hexdigest()
        options = replace(self._options, file_name=task.name)
        source = FORMATS[self._chosen.source]
        found = Result.of(analysis, self._pipeline.version, self._pipeline.damage_version)
        document = export(image_hash, found, source, options)
        result = TaskResult(task, image_hash, document)
        return with_photo(result, self._chosen, data, self._max_pixels)


def with_photo(
    result: TaskResult, chosen: OutputFormat, photo: bytes, max_pixels: int
) -> TaskResult:
    """Make what a format needs from a document in its source format and the photo.

    Raises:
        ImageError: the photo can't be decoded.
    """
    assert result.document is not None  # noqa: S101 (it is there without an error)
    if chosen.draw is not None:
        result = replace(result, document=chosen.draw(photo, result.document, max_pixels))
    if result.task.image is not None:
        image = image_file(photo, result.task.image.suffix, max_pixels)
        result = replace(result, image=image)
    return result


def run_task(task: Task, work: Callable[[], TaskResult]) -> TaskResult:
    """Call `work`, and return its result, or the reason why it failed."""
    try:
        return work()
    except OSError as error:
        return TaskResult(task, error=f"{error.strerror or 'It cannot be read'}.")
    except (PhotoError, OptionError, ImageError) as error:
        return TaskResult(task, error=str(error))
    except Exception:
        log.exception("%s failed", task.photo)
        return TaskResult(task, error=UNEXPECTED)


def run_in_threads(
    work: Callable[[Item], TaskResult], items: Iterable[Item], threads: int
) -> TaskResults:
    """Run `work` on all items in threads, and yield the results in order of completion.

    At most two items per thread are taken at a time.
    """
    executor = ThreadPoolExecutor(threads)
    pending: set[Future[TaskResult]] = set()
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
