"""A run over many photos whose results go into a folder, and which goes on after any stop."""

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
    """What is done of some tasks, and what is left.

    Attributes:
        total: how many photos there are.
        done: how many have a result.
        todo: the tasks without.
        failures: photo -> why it has none.
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
        """
        Args:
            tasks: all photos.
            ledger: of the folder of the results.
            chosen, options: what results look like.
            one_file: one file for all photos, for which the results of single ones are kept until
                all are there.
        """
        self._ledger, self._chosen = ledger, chosen
        self._plain = {"format": chosen.name, "models": _models()} | options.query()
        self._merged = ledger.out / f"{chosen.name}{chosen.ending}" if one_file else None
        self._tasks = _with_parts(tasks, ledger.parts) if one_file else tasks
        self._photos: dict[Path, Photo | None] = {}  # by target, as they are before they are read
        self._hashes: dict[Path, str] = {}  # of the photos that have a result, by its target
        self.failures: dict[Path, str] = {}
        self.todo = self._missing()
        self.total = len(tasks)

    @property
    def done(self) -> int:
        return len(self._hashes)

    def work(self, segment_all: SegmentAll, *, hidden: bool) -> None:
        """Do what is left. What ends is counted, and written at once.

        Args:
            segment_all: does the work.
            hidden: show no progress.

        Raises:
            ServiceError: see `segmenters.remote`.
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
        """Write what is made of all results. Raises OSError."""
        if self._chosen.name == "yolo":
            self._ledger.replace(self._ledger.out / "data.yaml", data_file())
        if self._merged is None or self._chosen.merge is None or self._is_merged():
            return
        there = [task.target for task in self._tasks if task.target in self._hashes]
        document = self._chosen.merge([part.read_bytes() for part in there if part is not None])
        if self.failures:  # the parts are needed when these are tried again
            self._ledger.replace(self._merged, document)
        else:
            self._ledger.write(self._merged, document, self._how(), self._all_photos(), None)
            self._ledger.drop_parts()

    def _missing(self) -> list[Task]:
        """The tasks without a result; all that have one are noted."""
        missing = []
        for task in self._tasks:
            assert task.target is not None  # noqa: S101 (they all have one here)
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
        """Whether the file for all photos is there, and has these photos and no others."""
        return (
            self._merged is not None
            and len(self._hashes) == len(self._tasks)
            and self._ledger.is_merged(self._merged, self._how(), self._all_photos())
        )

    def _all_photos(self) -> str:
        hashes = [self._hashes.get(task.target, "") for task in self._tasks if task.target]
        return digest([*hashes, *(task.name for task in self._tasks)])

    def _how(self, task: Task | None = None) -> str:
        """All that decides what a result looks like but the photo itself."""
        return digest(self._plain if task is None else self._plain | {"name": task.name})


def _models() -> str:
    """Return the version of the models here: results of others do not count as done."""
    try:
        return models_version()
    except ModelFileError:  # a service may do the work without them
        return ""


def _with_parts(tasks: Sequence[Task], folder: Path) -> list[Task]:
    """Tasks whose results are kept under names of no meaning, the same in each run."""
    seen: Counter[str] = Counter()
    placed = []
    for task in tasks:
        name = digest([task.name, str(seen[task.name])])
        seen[task.name] += 1
        placed.append(replace(task, target=folder / name[:2] / name))
    return placed
