"""Process many photos into a folder of results; a stopped run can be resumed."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from cli.output_formats import OutputFormat
from cli.plan import Task
from cli.run_log import FileStamp, RunLog, digest
from cli.segmenters import Segmenter, TaskResult
from cli.yolo_dataset import lists
from exports.yolo import data_file, shows_damage
from options import Options
from settings import load_settings
from vision.model_files import ModelFileError, damage_version, models_version


class FolderRun:
    """The progress of a run over many photos.

    Attributes:
        total: number of photos.
        todo: tasks without a result.
        failures: photo -> reason why it has no result.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        run_log: RunLog,
        chosen: OutputFormat,
        options: Options,
        *,
        one_file: bool,
    ) -> None:
        """Read from the run log which tasks are done.

        Args:
            tasks: all photos.
            run_log: log of the folder of results.
            chosen: format of the results.
            options: options of the results.
            one_file: merge all results into one file. The results of single photos are kept until
                all photos have one.
        """
        self._log, self._chosen = run_log, chosen
        precision = load_settings().precision
        models = partial(models_version, precision=precision)
        self._fixed = {"format": chosen.name, "models": _version(models)} | options.query()
        if options.damage:
            self._fixed["damage_network"] = _version(partial(damage_version, precision=precision))
        self._merged = run_log.out / f"{chosen.name}{chosen.ending}" if one_file else None
        self._tasks = _with_partial_targets(tasks, run_log.parts) if one_file else tasks
        self._stamps: dict[Path, FileStamp | None] = {}  # by target, from before the photo is read
        self._hashes: dict[Path, str] = {}  # of photos with a result, by target
        self.failures: dict[Path, str] = {}
        self.todo = self._missing()
        self.total = len(tasks)

    @property
    def done(self) -> int:
        """Return the number of photos with a result."""
        return len(self._hashes)

    def work(self, segmenter: Segmenter, *, hidden: bool) -> None:
        """Process the remaining tasks, and write each result at once.

        Args:
            segmenter: processes the tasks.
            hidden: show no progress bar.

        Raises:
            ServiceError: the service stops answering.
            OSError: the folder can't be written.
        """
        start = time.monotonic()
        count = 0

        def rate(_: object) -> str:
            return f"{count / max(time.monotonic() - start, 1e-9):.1f}/s"

        with (
            click.progressbar(
                length=len(self.todo),
                label="Photos",
                file=sys.stderr,
                hidden=hidden,
                show_pos=True,
                item_show_func=rate,
            ) as bar,
            closing(segmenter.segment(self.todo)) as results,
        ):
            for result in results:
                self._store(result)
                count += 1
                bar.update(1, count)

    def _store(self, result: TaskResult) -> None:
        task = result.task
        if result.document is None or task.target is None:
            self.failures[task.photo] = result.error
            return
        if task.image is not None and result.image is not None:
            self._log.replace(task.image, result.image)
        self._log.write(
            task.target,
            result.document,
            self._options_digest(task),
            result.image_hash,
            self._stamps[task.target],
        )
        self._hashes[task.target] = result.image_hash

    def finish(self) -> None:
        """Write the files that need all results. Raises OSError."""
        if self._chosen.name == "yolo":
            document = data_file(damage=self._shows_damage())
            self._log.replace(self._log.out / "data.yaml", document)
        if self._chosen.is_dataset:
            damage = self._shows_damage()
            for name, document in lists(self._images(), damage=damage).items():
                self._log.replace(self._log.out / name, document)
        if self._merged is None or self._chosen.merge is None or self._is_merged():
            return
        there = [task.target for task in self._tasks if task.target in self._hashes]
        document = self._chosen.merge([part.read_bytes() for part in there if part is not None])
        if self.failures:  # a retry of the failed photos needs the single results
            self._log.replace(self._merged, document)
        else:
            self._log.write(
                self._merged, document, self._options_digest(), self._all_photos(), None
            )
            self._log.drop_parts()

    def _shows_damage(self) -> bool:
        """Return True if damage was asked for, or if a label file for YOLO shows some.

        A service may examine all photos, even if damage is not asked for here.
        """
        if self._fixed.get("damage") == "true":
            return True
        targets = [task.target for task in self._tasks if task.target in self._hashes]
        return any(shows_damage(target.read_bytes()) for target in targets if target is not None)

    def _images(self) -> list[Path]:
        """Return the images with a result, relative to the folder."""
        return [
            task.image.relative_to(self._log.out)
            for task in self._tasks
            if task.image is not None and task.target in self._hashes
        ]

    def _missing(self) -> list[Task]:
        """Return the tasks without a result, and note the photo hashes of the others."""
        missing = []
        for task in self._tasks:
            assert task.target is not None  # noqa: S101 (each task has one here)
            stamp = self._stamps[task.target] = FileStamp.of(task.photo)
            known = self._log.hash_if_done(stamp, task.target, self._options_digest(task))
            if known is not None:
                self._hashes[task.target] = known
        if self._is_merged():
            return []
        for task in self._tasks:
            if task.target is not None and not (
                self._log.is_there(task.target) and (task.image is None or task.image.is_file())
            ):
                self._hashes.pop(task.target, None)
            if task.target not in self._hashes:
                missing.append(task)
        return missing

    def _is_merged(self) -> bool:
        """Return whether the merged file is there and holds exactly these photos."""
        return (
            self._merged is not None
            and len(self._hashes) == len(self._tasks)
            and self._log.is_merged(self._merged, self._options_digest(), self._all_photos())
        )

    def _all_photos(self) -> str:
        hashes = [self._hashes.get(task.target, "") for task in self._tasks if task.target]
        return digest([*hashes, *(task.name for task in self._tasks)])

    def _options_digest(self, task: Task | None = None) -> str:
        """Return a digest of everything except the photo that affects a result."""
        return digest(self._fixed if task is None else self._fixed | {"name": task.name})


def _version(read: Callable[[], str]) -> str:
    """Return a version of the models here, or "" without models.

    Results of other versions do not count as done.
    """
    try:
        return read()
    except ModelFileError:  # a service may do the work instead
        return ""


def _with_partial_targets(tasks: Sequence[Task], folder: Path) -> list[Task]:
    """Return the tasks with stable hashed file names for their partial results."""
    seen: Counter[str] = Counter()
    placed = []
    for task in tasks:
        name = digest([task.name, str(seen[task.name])])
        seen[task.name] += 1
        placed.append(replace(task, target=folder / name[:2] / name))
    return placed
