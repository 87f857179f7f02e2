"""Stages that need no network, told by files what to do: the same in threads and in workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from photo_result import Analysis, Stage
from segment_interface import Photo
from vision.labels import label_of

ERRORS: dict[str, BaseException] = {
    "RuntimeError": RuntimeError("secret"),
    "SystemExit": SystemExit(3),
    "MemoryError": MemoryError(),
}


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
