"""Stand-ins for the pipeline."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from options import DEFAULT_CONFIDENCE
from photo_result import Analysis, Stage
from pipeline import Pipeline
from segment_interface import Photo
from vision.labels import label_of

ERRORS: dict[str, BaseException] = {
    "RuntimeError": RuntimeError("secret"),
    "SystemExit": SystemExit(3),
    "MemoryError": MemoryError(),
}
SURE, UNSURE = "hood", "wheel"
CONFIDENCES = {SURE: (1 + DEFAULT_CONFIDENCE) / 2, UNSURE: DEFAULT_CONFIDENCE / 2}


class Painted:
    """Each picture is one large hood; what becomes of it depends on its width.

    Args:
        folder: `hang-<width>` holds it up while it is there; `throw-<width>` names an error;
            `die-<width>` ends the process, as many times as the file has letters. `calls` has
            the width of each picture that was begun, `version` that of the models.
    """

    problem = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def analyse(
        self, photo: Photo, on_stage: Callable[[Stage], None] = lambda stage: None
    ) -> Analysis:
        """See `pipeline.Pipeline`."""
        on_stage("parts")
        width = photo.width
        with (self.folder / "calls").open("a") as file:
            file.write(f"{width}\n")
        while (self.folder / f"hang-{width}").exists():
            time.sleep(0.01)
        throws = self.folder / f"throw-{width}"
        if throws.exists():
            raise ERRORS[throws.read_text()]
        dies = self.folder / f"die-{width}"
        if dies.exists() and (left := dies.read_text()):
            dies.write_text(left[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        on_stage("type")
        labels = np.zeros(photo.size, np.uint8)
        labels[1:-1, 1:-1] = label_of("hood")
        return Analysis(None, labels, {"hood": 0.5})

    @property
    def version(self) -> str:
        """See `pipeline.Analyser`."""
        file = self.folder / "version"
        return file.read_text() if file.exists() else "painted"

    @version.setter
    def version(self, name: str) -> None:
        (self.folder / "version").write_text(name)

    # --- for tests

    def hang(self, width: int) -> None:
        """Hold up pictures of this width."""
        (self.folder / f"hang-{width}").touch()

    def go_on(self) -> None:
        """Hold up none."""
        for file in self.folder.glob("hang-*"):
            file.unlink()

    def throw(self, width: int, error: str | None) -> None:
        """Throw this error at pictures of this width; None for no more."""
        file = self.folder / f"throw-{width}"
        file.unlink() if error is None else file.write_text(error)

    def die(self, width: int, times: int) -> None:
        """End the process when it comes to a picture of this width."""
        (self.folder / f"die-{width}").write_text("x" * times)

    def calls(self) -> list[int]:
        """Widths of the pictures that were begun."""
        file = self.folder / "calls"
        return [int(line) for line in file.read_text().split()] if file.exists() else []


class Blank:
    """Finds no car in any picture, at once."""

    version = "blank"
    problem = None

    def analyse(
        self, photo: Photo, on_stage: Callable[[Stage], None] = lambda stage: None
    ) -> Analysis:
        """See `Pipeline.analyse`."""
        on_stage("parts")
        return Analysis(None, np.zeros(photo.size, np.uint8), {})


class Unsure:
    """Finds two parts in any picture, one of them with less than the default confidence.

    The photo is turned, shows other cars as well, and does not tell the type.
    """

    version = "unsure"
    problem = None

    def analyse(
        self, photo: Photo, on_stage: Callable[[Stage], None] = lambda stage: None
    ) -> Analysis:
        """See `Pipeline.analyse`. The sure part is the upper half of the picture."""
        on_stage("parts")
        labels = np.full(photo.size, label_of(UNSURE), np.uint8)
        labels[: photo.size[0] // 2] = label_of(SURE)
        return Analysis(None, labels, dict(CONFIDENCES), rotation=90, other_cars=True)


class Gate:
    """The real pipeline behind a gate that a test opens; counts the calls."""

    problem = None

    def __init__(self, pipeline: Pipeline) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.calls = 0
        self.error: Exception | None = None
        self.version = pipeline.version
        self._pipeline = pipeline
        self._lock = threading.Lock()

    def analyse(
        self, photo: Photo, on_stage: Callable[[Stage], None] = lambda stage: None
    ) -> Analysis:
        with self._lock:
            self.calls += 1
        self.entered.set()
        assert self.open.wait(60)
        if self.error:
            raise self.error
        return self._pipeline.analyse(photo, on_stage)
