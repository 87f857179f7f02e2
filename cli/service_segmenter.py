"""Let a running service segment photos for the command line. It needs the package requests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import click

from cli.output_formats import OutputFormat
from cli.plan import Task
from cli.segmenters import (
    PhotoError,
    Segmenter,
    ServiceError,
    TaskResult,
    TaskResults,
    run_in_threads,
    run_task,
    with_photo,
)
from client import CarSeg, CarSegError, Outcome
from options import Options
from settings import MOST_PIXELS

FETCHES = 4  # results that are fetched concurrently


class ServiceSegmenter(Segmenter):
    """A segmenter that sends the photos to a service."""

    def __init__(self, url: str, chosen: OutputFormat, options: Options, at_once: int) -> None:
        """Check that the service answers.

        Args:
            url: of the service.
            chosen: format of the results.
            options: options of the results.
            at_once: largest number of photos in the service concurrently.

        Raises:
            ClickException: the service does not answer.
        """
        self._chosen, self._options, self._at_once = chosen, options, at_once
        # The key is no command-line option: all users of a machine can read its command lines.
        self._service = CarSeg(url, api_key=os.environ.get("CARSEG_API_KEY") or None)
        try:
            self._service.ready()
        except CarSegError as error:
            self._service.close()
            raise click.ClickException(error.message) from None

    def segment(self, tasks: Sequence[Task]) -> TaskResults:
        """See `cli.segmenters.Segmenter`."""
        photos = (task.photo for task in tasks)
        ended = (
            (tasks[outcome.number], outcome)
            for outcome in self._service.finish_many(
                photos, at_once=self._at_once, damage=self._options.damage
            )
        )
        try:
            yield from run_in_threads(self._fetch, ended, FETCHES)
        except CarSegError as error:
            raise ServiceError(error.message) from None

    def _fetch(self, ended: tuple[Task, Outcome]) -> TaskResult:
        task, outcome = ended
        return run_task(task, partial(self._result, task, outcome))

    def _result(self, task: Task, outcome: Outcome) -> TaskResult:
        try:
            if outcome.error is not None:
                raise outcome.error
            image_hash = outcome.image_hash or ""
            options = replace(self._options, file_name=task.name)
            document = self._service.export(image_hash, self._chosen.source, options)
        except CarSegError as error:
            raise PhotoError(error.message) from None
        result = TaskResult(task, image_hash, document)
        if not self._chosen.writes_pictures:
            return result
        return with_photo(result, self._chosen, task.photo.read_bytes(), MOST_PIXELS)

    def __exit__(self, *error: object) -> None:
        self._service.close()
