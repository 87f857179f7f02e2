"""Stand-ins for the pipeline: one without networks, and two that hold up the real one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.damage_segments import DamageMap, Piece
from options import DEFAULT_CONFIDENCE
from photo_result import Analysis, Stage
from pipeline import Pipeline
from poligons_from_seg import label_map_to_outlines
from segment_interface import Photo
from vision.labels import label_of

PATIENCE = 300  # seconds after which a picture that hangs fails

SURE, UNSURE = "hood", "wheel"
CONFIDENCES = {SURE: (1 + DEFAULT_CONFIDENCE) / 2, UNSURE: DEFAULT_CONFIDENCE / 2}


class KilledError(BaseException):
    """End a process immediately, as `kill -9` does, without an end of the test."""


ERRORS = {
    kind.__name__: kind
    for kind in (RuntimeError, SystemExit, MemoryError, KeyboardInterrupt, KilledError)
}


def _silent(stage: Stage) -> None:
    pass


def paint_hood(photo: Photo) -> Analysis:
    """Return one large hood."""
    labels = np.zeros(photo.size, np.uint8)
    labels[1:-1, 1:-1] = label_of("hood")
    return Analysis(None, labels, {"hood": 0.5}, label_map_to_outlines(labels))


def paint_nothing(photo: Photo) -> Analysis:
    """Return no car."""
    return Analysis(None, np.zeros(photo.size, np.uint8), {}, {})


def paint_unsure(photo: Photo) -> Analysis:
    """Return two parts, SURE above UNSURE, one with less than the default confidence.

    The photo is turned, shows other cars as well, and has no type.
    """
    labels = np.full(photo.size, label_of(UNSURE), np.uint8)
    labels[: photo.size[0] // 2] = label_of(SURE)
    outlines = label_map_to_outlines(labels)
    return Analysis(None, labels, dict(CONFIDENCES), outlines, rotation=90, other_cars=True)


class FakePipeline:
    """An analyser without networks, which follows a script of files.

    The script is kept in a folder, so that it holds for all processes with the same folder. Its
    lines are for pictures of one width.

    Args:
        folder: `hang-<width>` holds a picture up while it exists; `throw-<width>` names an error;
            `die-<width>` kills the process, as many times as the file has letters. `calls` has
            the width of each picture that was begun, `version` that of the models. Without a
            folder there is no script, and nothing is counted.
        paint: returns the analysis of a picture.
        seconds: that each picture takes.
    """

    problem = None
    damage_version = "fake damage"

    def __init__(
        self,
        folder: Path | None = None,
        paint: Callable[[Photo], Analysis] = paint_hood,
        seconds: float = 0.0,
    ) -> None:
        self._folder, self._paint, self._seconds = folder, paint, seconds

    def analyse(
        self,
        photo: Photo,
        on_stage: Callable[[Stage], None] = _silent,
        *,
        damage: bool = False,
    ) -> Analysis:
        """See `pipeline.Pipeline`; damage is a scratch on the whole photo."""
        on_stage("parts")
        if self._folder is not None:
            self._follow_script(photo.width)
        time.sleep(self._seconds)
        on_stage("type")
        analysis = self._paint(photo)
        if damage:
            on_stage("damage")
            scratch = DamageMap(np.ones(photo.size, np.uint8), [Piece("scratch", 0.5, 1)])
            analysis = replace(analysis, damage=scratch)
        on_stage("polygons")
        return analysis

    def _follow_script(self, width: int) -> None:
        with (self.folder / "calls").open("a") as file:
            file.write(f"{width}\n")
        deadline = time.monotonic() + PATIENCE
        while (self.folder / f"hang-{width}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        throws = self.folder / f"throw-{width}"
        if throws.exists():
            raise ERRORS[throws.read_text()]("secret")
        dies = self.folder / f"die-{width}"
        if dies.exists() and (left := dies.read_text()):
            dies.write_text(left[1:])
            os.kill(os.getpid(), signal.SIGKILL)

    @property
    def folder(self) -> Path:
        """The folder of the script."""
        assert self._folder is not None
        return self._folder

    @property
    def version(self) -> str:
        """See `pipeline.Analyser`."""
        file = self._folder / "version" if self._folder else None
        return file.read_text() if file and file.exists() else "fake"

    @version.setter
    def version(self, name: str) -> None:
        (self.folder / "version").write_text(name)

    # --- the script

    def hang(self, *widths: int) -> None:
        """Hold up pictures of these widths."""
        for width in widths:
            (self.folder / f"hang-{width}").touch()

    def go_on(self) -> None:
        """Hold up none."""
        for file in self.folder.glob("hang-*"):
            file.unlink()

    def throw(self, width: int, error: str | None) -> None:
        """Throw an error of ERRORS at pictures of this width; None for no more."""
        file = self.folder / f"throw-{width}"
        file.unlink() if error is None else file.write_text(error)

    def die(self, width: int, times: int) -> None:
        """Kill the process when it comes to a picture of this width."""
        (self.folder / f"die-{width}").write_text("x" * times)

    def calls(self) -> list[int]:
        """Return the widths of the pictures that were begun."""
        file = self.folder / "calls"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def clear(self) -> None:
        """Remove the script and the calls."""
        for file in self.folder.iterdir():
            file.unlink()


class Gate:
    """The real pipeline behind a gate that a test opens; counts the calls."""

    problem = None

    def __init__(self, pipeline: Pipeline) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.calls = 0
        self.error: Exception | None = None
        self.version, self.damage_version = pipeline.version, pipeline.damage_version
        self._pipeline = pipeline
        self._lock = threading.Lock()

    def analyse(
        self,
        photo: Photo,
        on_stage: Callable[[Stage], None] = _silent,
        *,
        damage: bool = False,
    ) -> Analysis:
        """See `pipeline.Pipeline`."""
        with self._lock:
            self.calls += 1
        self.entered.set()
        assert self.open.wait(60)
        if self.error:
            raise self.error
        return self._pipeline.analyse(photo, on_stage, damage=damage)


class Steps:
    """The real pipeline, stopped at the beginning of each stage until a test lets it go on."""

    problem = None

    def __init__(self, pipeline: Pipeline) -> None:
        self.reached: list[Stage] = []
        self.go = threading.Semaphore(0)
        self.version, self.damage_version = pipeline.version, pipeline.damage_version
        self._pipeline = pipeline

    def analyse(
        self,
        photo: Photo,
        on_stage: Callable[[Stage], None] = _silent,
        *,
        damage: bool = False,
    ) -> Analysis:
        """See `pipeline.Pipeline`."""

        def stop(stage: Stage) -> None:
            on_stage(stage)
            self.reached.append(stage)
            assert self.go.acquire(timeout=60)

        return self._pipeline.analyse(photo, stop, damage=damage)
