"""Train all models from the data: `python -m training.everything --data DATA`.

The stages of `plan` run one after the other. A finished stage leaves a mark. An interrupted stage
resumes from its checkpoint. So the same command resumes after any stop, even a kill.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import Pipeline
from training import lighten, pseudo_labels, train_parts, train_shapes, train_types
from training.answers import Service
from training.calibrate import Evidence, calibrate, raw_thresholds
from training.evaluate import Options, evaluate
from training.export import export_checkpoint, read_fields, write_fields
from training.plots import draw_curves
from vision.model_files import MANIFEST, MODELS

ABOUT_TYPES = (  # prefixes of figures about types; all others are about parts
    "type", "street", "f1_", "cars_missed", "empty_told", "other_vehicles", "close_ups_typed",
    "sizes",
)  # fmt: skip
RUNS = ("parts1", "parts2", "parts3", "light", "types", "shapes")
LOOKS = (512,)  # longest sides of the 4:3 photo, and of its mirror image, that a teacher sees


@dataclass(frozen=True)
class Knobs:
    """The options of the command line.

    Attributes:
        data: folder of the data sets.
        out: folder of all intermediate files; git ignores it.
        models: folder to which the finished models are written.
        scale: factor on the epochs and photos of `plan`; small values are for tests.
        batch: photos per step of the part network; the type network uses four times as many.
        threads: cores to use.
    """

    data: Path
    out: Path = Path("runs/train")
    models: Path = MODELS
    scale: float = 1.0
    batch: int = 8
    threads: int = 2

    def epochs(self, count: int) -> int:
        """Return the number of epochs at this scale, at least two."""
        return max(2, round(count * self.scale))

    def photos(self, count: int, batch: int) -> int:
        """Return the photos per epoch, or to label, at this scale, at least two batches."""
        return max(2 * batch, round(count * self.scale))


class OtherKnobsError(Exception):
    """The folder holds stages of a plan with other options; the message is for people."""


@dataclass(frozen=True)
class Stage:
    """A stage of the plan; `run` can be interrupted and called again."""

    name: str
    run: Callable[[], None]


def plan(knobs: Knobs) -> list[Stage]:
    """Return the stages in order, with the lengths of training/EXPERIMENTS.md."""
    out = knobs.out
    return [
        Stage("parts1", lambda: parts(knobs, "parts1", 40, 400, 1.5e-3)),
        Stage("teacher1", lambda: teacher(out, "parts1", "teacher1")),
        Stage("labels1", lambda: labels(knobs, "teacher1", "labels1")),
        Stage("parts2", lambda: parts(knobs, "parts2", 22, 720, 1.5e-3, pseudo="labels1")),
        Stage("teacher2", lambda: teacher(out, "parts2", "teacher2")),
        Stage("labels2", lambda: labels(knobs, "teacher2", "labels2")),
        Stage(
            "parts3",
            lambda: parts(knobs, "parts3", 26, 720, 7e-4, pseudo="labels2", start="parts2"),
        ),
        Stage("light", lambda: light(knobs)),
        Stage("types", lambda: types(knobs)),
        Stage("teacher3", lambda: teacher(out, "light", "teacher3", train_parts.LIGHT)),
        Stage("shapes", lambda: shapes(knobs)),
        Stage("models", lambda: models(out)),
        Stage("calibration", lambda: calibration(knobs)),
        Stage("figures", lambda: figures(knobs)),
        Stage("curves", lambda: curves(out)),
        Stage("install", lambda: install(out / "models", knobs.models)),
    ]


def parts(
    knobs: Knobs,
    name: str,
    epochs: int,
    photos: int,
    rate: float,
    pseudo: str | None = None,
    start: str | None = None,
) -> None:
    """Train the part network on the labels of stage `pseudo`, from the weights of `start`."""
    train_parts.train(
        train_parts.PartsRun(
            knobs.data,
            knobs.out / name,
            pseudo=knobs.out / pseudo if pseudo else None,
            weights=knobs.out / start / "ema.pt" if start else None,
            epochs=knobs.epochs(epochs),
            photos=knobs.photos(photos, knobs.batch),
            batch=knobs.batch,
            rate=rate,
            cache=knobs.out / "cache",
            threads=knobs.threads,
        )
    )


def light(knobs: Knobs) -> None:
    """Train the lighter variant of the last part network."""
    lighten.lighten(
        lighten.LightRun(
            knobs.data,
            knobs.out / "parts3" / "ema.pt",
            knobs.out / "light",
            epochs=knobs.epochs(20),
            photos=knobs.photos(720, knobs.batch),
            batch=knobs.batch,
            cache=knobs.out / "cache",
            threads=knobs.threads,
        )
    )


def teacher(out: Path, run: str, name: str, options: dict[str, Any] = train_parts.OPTIONS) -> None:
    """Write a models folder with the part network of `run`."""
    (out / name).mkdir(exist_ok=True)
    _describe("parts", out / name, options)
    export_checkpoint(out / run / "ema.pt", "parts.safetensors", out / name)


def labels(knobs: Knobs, teacher: str, name: str) -> None:
    """Label the car type photos with a teacher."""
    pseudo_labels.label_photos(
        pseudo_labels.LabelRun(
            knobs.data,
            knobs.out / name,
            [knobs.out / teacher],
            LOOKS,
            # A scale below 1 reduces the number of photos.
            limit=knobs.photos(8000, knobs.batch) if knobs.scale < 1 else None,
            threads=knobs.threads,
        )
    )


def types(knobs: Knobs) -> None:
    """Train the type network."""
    batch = 4 * knobs.batch
    train_types.train(
        train_types.TypesRun(
            knobs.data,
            knobs.out / "types",
            epochs=knobs.epochs(6),
            photos=knobs.photos(7648, batch),
            batch=batch,
            cache=knobs.out / "cache",
            threads=knobs.threads,
        )
    )


def shapes(knobs: Knobs) -> None:
    """Train the shape network on the output of the last part network."""
    batch = 8 * knobs.batch
    train_shapes.train(
        train_shapes.ShapesRun(
            knobs.data,
            knobs.out / "shapes",
            models=knobs.out / "teacher3",
            epochs=knobs.epochs(30),
            photos=knobs.photos(7616, batch),
            batch=batch,
            limit=knobs.photos(8000, batch) if knobs.scale < 1 else None,
            cache=knobs.out / "cache",
            threads=knobs.threads,
        )
    )


def models(out: Path) -> None:
    """Write the folder of all networks and their descriptions, without figures."""
    shutil.rmtree(out / "models", ignore_errors=True)
    teacher(out, "light", "models", train_parts.LIGHT)
    _describe("types", out / "models", train_types.OPTIONS)
    export_checkpoint(out / "types" / "ema.pt", "types.safetensors", out / "models")
    _describe("shapes", out / "models", train_shapes.OPTIONS)
    export_checkpoint(out / "shapes" / "ema.pt", "shapes.safetensors", out / "models")


def _describe(name: str, folder: Path, options: dict[str, Any]) -> None:
    """Write the description of a new network: that of `models/` without its measured values."""
    fields = read_fields(name) | {"options": options, "metrics": {}}
    fields["thresholds"] = raw_thresholds(fields["thresholds"])
    write_fields(fields, name, folder)


def calibration(knobs: Knobs) -> None:
    """Fit the confidences to the validation photos."""
    evidence = Evidence(knobs.data, knobs.out / "models", knobs.out / "cache", knobs.threads)
    figures = calibrate(evidence)
    print("\n".join(f"{name} {value:.4f}" for name, value in figures.items()))


def figures(knobs: Knobs) -> None:
    """Measure the new models through the service, and write the figures to their folder."""
    folder = knobs.out / "models"
    service = Service(Pipeline(1, folder, calls=knobs.threads), knobs.threads)
    options = Options(report=knobs.out / "report", cache=knobs.out / "cache")
    measured = evaluate(service, knobs.data, options).figures()
    for name in ("parts", "types"):
        write_metrics(measured, name, folder)


def write_metrics(measured: dict[str, float], name: str, folder: Path) -> None:
    """Write the figures about "parts" or "types" into the description of that network."""
    metrics = {
        figure: round(value, 4)
        for figure, value in measured.items()
        if figure.startswith(ABOUT_TYPES) == (name == "types") and value == value  # JSON has no NaN
    }
    write_fields(read_fields(name, folder) | {"metrics": metrics}, name, folder)


def curves(out: Path) -> None:
    """Draw the curves of all training runs into the report."""
    for name in RUNS:
        draw_curves(out / name / "log.csv", out / "report" / f"{name}_curves.png")


def install(source: Path, target: Path) -> None:
    """Copy the new models over the old ones, the manifest last."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name == MANIFEST):
        shutil.copy(path, target / path.name)


def run_plan(knobs: Knobs) -> None:
    """Run all stages that are not finished.

    Raises:
        OtherKnobsError: `knobs.out` was started with other options.
    """
    knobs.out.mkdir(parents=True, exist_ok=True)
    begun, now = knobs.out / "knobs.json", json.dumps(asdict(knobs), default=str, indent=2)
    if begun.exists() and begun.read_text(encoding="utf-8") != now:
        raise OtherKnobsError(
            f"{knobs.out} was begun with other options (see {begun}); "
            "give the same ones, or another --out"
        )
    begun.write_text(now, encoding="utf-8")
    for stage in plan(knobs):
        mark = knobs.out / f"{stage.name}.done"
        if mark.exists():
            print(f"{stage.name}: done before", flush=True)
            continue
        print(f"{stage.name} ...", flush=True)
        stage.run()
        mark.touch()


def main() -> None:
    """Read the command line and run the plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Knobs.out)
    parser.add_argument("--models", type=Path, default=Knobs.models)
    parser.add_argument("--scale", type=float, default=Knobs.scale, help="less than 1 to try it")
    parser.add_argument("--batch", type=int, default=Knobs.batch)
    parser.add_argument("--threads", type=int, default=Knobs.threads)
    knobs = Knobs(**vars(parser.parse_args()))
    try:
        run_plan(knobs)
    except OtherKnobsError as error:
        sys.exit(str(error))
    print(f"Done: {knobs.models} and {knobs.out / 'report'}. The model cards want the new figures.")


if __name__ == "__main__":
    main()
