"""Process many photos into a folder of results; a stopped run can be resumed."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import click

from cli.run_log import Photo, RunLog, digest
from cli.segmenters import SegmentAll, Segmented, Task
from exports import Format
from exports.yolo import data_file
from options import Options
from vision.model_files import ModelFileError, models_version


class FolderRun:
    """The progress of a run over many photos.

    Attributes:
        total: number of photos.
        done: number of photos with a result.
        todo: tasks without a result.
        failures: photo -> reason why it has no result.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        ledger: RunLog,
        chosen: Format,
        options: Options,
        *,
        one_file: bool,
    ) -> None:
        """Read from the run log which tasks are done.

        Args:
            tasks: all photos.
            ledger: run log of the folder of results.
            chosen: format of the results.
            options: options of the results.
            one_file: merge all results into one file. The results of single photos are kept until
                all photos have one.
        """
        self._ledger, self._chosen = ledger, chosen
        self._plain = {"format": chosen.name, "models": _models()} | options.query()
        self._merged = ledger.out / f"{chosen.name}{chosen.ending}" if one_file else None
        self._tasks = _with_parts(tasks, ledger.parts) if one_file else tasks
        self._photos: dict[Path, Photo | None] = {}  # by target; looked at before they are read
        self._hashes: dict[Path, str] = {}  # of photos with a result, by target
        self.failures: dict[Path, str] = {}
        self.todo = self._missing()
        self.total = len(tasks)

    @property
    def done(self) -> int:
        return len(self._hashes)

    def work(self, segment_all: SegmentAll, *, hidden: bool) -> None:
        """Process the remaining tasks, and write each result at once.

        Args:
            segment_all: processes the tasks.
            hidden: show no progress bar.

        Raises:
            ServiceError: see `cli.segmenters.remote`.
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
            closing(segment_all(self.todo)) as ended,
        ):
            for segmented in ended:
                self._keep(segmented)
                count += 1
                bar.update(1, count)

    def _keep(self, segmented: Segmented) -> None:
        task = segmented.task
        if segmented.document is None or task.target is None:
            self.failures[task.photo] = segmented.error
            return
        self._ledger.write(
            task.target,
            segmented.document,
            self._how(task),
            segmented.image_hash,
            self._photos[task.target],
        )
        self._hashes[task.target] = segmented.image_hash

    def finish(self) -> None:
        """Write the files that need all results. Raises OSError."""
        if self._chosen.name == "yolo":
            self._ledger.replace(self._ledger.out / "data.yaml", data_file())
        if self._merged is None or self._chosen.merge is None or self._is_merged():
            return
        there = [task.target for task in self._tasks if task.target in self._hashes]
        document = self._chosen.merge([part.read_bytes() for part in there if part is not None])
        if self.failures:  # a retry of the failed photos needs the single results
            self._ledger.replace(self._merged, document)
        else:
            self._ledger.write(self._merged, document, self._how(), self._all_photos(), None)
            self._ledger.drop_parts()

    def _missing(self) -> list[Task]:
        """Return the tasks without a result, and note the photo hashes of the others."""
        missing = []
        for task in self._tasks:
            assert task.target is not None  # noqa: S101 (each task has one here)
            photo = self._photos[task.target] = Photo.of(task.photo)
            known = self._ledger.hash_if_done(photo, task.target, self._how(task))
            if known is not None:
                self._hashes[task.target] = known
        if self._is_merged():
            return []
        for task in self._tasks:
            if task.target is not None and not self._ledger.is_there(task.target):
                self._hashes.pop(task.target, None)
            if task.target not in self._hashes:
                missing.append(task)
        return missing

    def _is_merged(self) -> bool:
        """Return whether the merged file is there and holds exactly these photos."""
        return (
            self._merged is not None
            and len(self._hashes) == len(self._tasks)
            and self._ledger.is_merged(self._merged, self._how(), self._all_photos())
        )

    def _all_photos(self) -> str:
        hashes = [self._hashes.get(task.target, "") for task in self._tasks if task.target]
        return digest([*hashes, *(task.name for task in self._tasks)])

    def _how(self, task: Task | None = None) -> str:
        """Return a digest of everything except the photo that affects a result."""
        return digest(self._plain if task is None else self._plain | {"name": task.name})


def _models() -> str:
    """Return the version of the models here, or "" without models.

    Results of other versions do not count as done.
    """
    try:
        return models_version()
    except ModelFileError:  # a service may do the work instead
        return ""


def _with_parts(tasks: Sequence[Task], folder: Path) -> list[Task]:
    """Return the tasks with stable hashed file names for their partial results."""
    seen: Counter[str] = Counter()
    placed = []
    for task in tasks:
        name = digest([task.name, str(seen[task.name])])
        seen[task.name] += 1
        placed.append(replace(task, target=folder / name[:2] / name))
    return placed
