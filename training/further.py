"""Share the command line and the files of the programs that train a finished part network further.

They are `training.panels` and `training.close_ups`. Each goes on after any stop, even a kill, if
its command is given again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.pack import list_sources, write_packs
from training.photos import TrainingData, read_packs
from training.train import OtherOptionsError
from vision.labels import PART_NAMES

BATCH = 8


@dataclass(frozen=True)
class FurtherOptions:
    """The options of the command line.

    Attributes:
        data: folder of the data sets.
        start: weights of the old network.
        out: folder of all intermediate files; git ignores it.
        models: folder to which the finished models are written; None for `out / "models"`.
        scale: factor on the numbers of photos, crops and steps.
        photos: maximum number of photos of each kind; None for all.
        batch: inputs per step.
    """

    data: Path
    start: Path
    out: Path
    models: Path | None = None
    scale: float = 1.0
    photos: int | None = None
    batch: int = BATCH

    @property
    def target(self) -> Path:
        """The folder of the finished models."""
        return self.models or self.out / "models"

    def remember(self, decisive: Mapping[str, Any]) -> None:
        """Write what decides on the result, or compare it with an earlier beginning.

        Args:
            decisive: what decides, except these options.

        Raises:
            OtherOptionsError: `out` was begun with other options.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        facts = {
            "start": digest(self.start),
            "parts": PART_NAMES,
            "scale": [self.scale, self.photos, self.batch],
        }
        begun, now = self.out / "options.json", json.dumps({**facts, **decisive}, indent=2)
        if begun.exists() and begun.read_text(encoding="utf-8") != now:
            raise OtherOptionsError(
                f"{self.out} was begun with other options (see {begun}); "
                "give the same ones, or another --out"
            )
        begun.write_text(now, encoding="utf-8")

    def read_photos(self, device: torch.device) -> TrainingData:
        """Return all photos, which are packed the first time.

        Raises:
            DataError: the data can't be used.
        """
        packs, packed = self.out / "packs", self.out / "packs.done"
        if not packed.exists():
            print("packs ...", flush=True)
            write_packs(list_sources(self.data, self.out / "cache"), packs)
            packed.touch()
        return read_packs(packs, device, self.photos)


def digest(weights: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def read_command_line(description: str | None, out: Path) -> FurtherOptions:
    """Read the command line, and set the number of torch's threads.

    Args:
        description: of the program.
        out: default of `FurtherOptions.out`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    parser.add_argument("--start", type=Path, required=True, help="weights of the old network")
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--models", type=Path, help="folder of the result; default: OUT/models")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on photos and steps")
    parser.add_argument("--photos", type=int, help="most photos of each kind, to try it")
    parser.add_argument("--batch", type=int, default=BATCH, help="inputs per step")
    parser.add_argument("--threads", type=int, default=2)
    given = vars(parser.parse_args())
    torch.set_num_threads(given.pop("threads"))
    return FurtherOptions(**given)
