"""Make the folder of models from the weights of the line: descriptions, thresholds, figures."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import Pipeline
from training.answers import Service
from training.calibrate import Evidence, calibrate, raw_thresholds, type_accuracies
from training.cards import update_documents
from training.evaluate import Options, evaluate
from training.export import export_network, read_fields, write_fields
from training.plots import draw_curves
from training.quantise import quantise_all
from training.stages import FIGURES, WEIGHTS
from training.weights import DAMAGE, LAYOUT, PARTS, TYPES
from vision.labels import PART_NAMES
from vision.model_files import MANIFEST, MODELS

# Network of `models/` -> stage with its weights, and its options.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "parts": ("parts", PARTS),
    "types": ("types", TYPES),
    "shapes": ("layout", LAYOUT),
    "damage": ("damage", DAMAGE),
}
# Prefixes of figures about damage and about types; all others are about parts.
ABOUT_DAMAGE = ("damage", "undamaged")
ABOUT_TYPES = (
    "type", "street", "f1_", "cars_missed", "empty_told", "other_vehicles", "close_ups_typed",
    "sizes", "picture_", "both_",
)  # fmt: skip


@dataclass(frozen=True)
class Finish:
    """The folders of the last stages.

    Attributes:
        data: folder of the data sets.
        out: folder of all stages; the new models are made in its `models`.
        target: folder to which they are copied.
        threads: cores to use.
        photos: maximum number of photos of each kind that are measured; None for all.
    """

    data: Path
    out: Path
    target: Path
    threads: int = 2
    photos: int | None = None

    @property
    def models(self) -> Path:
        """The folder of the new models."""
        return self.out / "models"

    @property
    def cache(self) -> Path:
        """The folder of the label maps."""
        return self.out / "cache"

    def export(self) -> None:
        """Write weights, graphs and descriptions, without thresholds and figures."""
        shutil.rmtree(self.models, ignore_errors=True)
        self.models.mkdir(parents=True)
        for name, (stage, options) in NETWORKS.items():
            fields = read_fields(name) | {"options": options, "metrics": {}}
            fields["thresholds"] = raw_thresholds(fields["thresholds"])
            fields.pop("int8", None)
            if name == "parts":
                fields["labels"] = ["background", *PART_NAMES]
            if name == "shapes":
                text = (self.out / stage / FIGURES).read_text(encoding="utf-8")
                fields["metrics"] = json.loads(text)
            write_fields(fields, name, self.models)
            export_network(self.out / stage / WEIGHTS, fields["weights"], self.models)

    def calibrate(self) -> None:
        """Fit the thresholds to the calibration photos."""
        evidence = Evidence(self.data, self.models, self.cache, self.threads)
        for name, value in calibrate(evidence).items():
            print(f"{name} {value:.4f}", flush=True)

    def quantise(self) -> None:
        """Make the networks in 8 bits, with their thresholds."""
        for name, value in quantise_all(self.data, self.models, self.cache).items():
            print(f"{name} {value:.4f}", flush=True)

    def measure(self) -> None:
        """Measure the new models on the validation photos, through the service."""
        service = Service(Pipeline(1, self.models, calls=self.threads), self.threads)
        options = Options(report=self.out / "report", cache=self.cache, photos=self.photos)
        measured = evaluate(service, self.data, options).figures()
        looks = Evidence(self.data, self.models, self.cache, self.threads, "val").car_looks
        measured |= type_accuracies(looks, read_fields("types", self.models)["thresholds"])
        for name in ("parts", "types", "damage"):
            write_metrics(measured, name, self.models)

    def draw(self) -> None:
        """Draw the curves of all trainings into the report."""
        for log in sorted(self.out.glob("*/log.csv")):
            draw_curves(log, self.out / "report" / f"{log.parent.name}_curves.png")

    def install(self) -> None:
        """Copy the new models over the old ones, the manifest last, and tell their figures."""
        self.target.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.models.iterdir(), key=lambda path: path.name == MANIFEST):
            shutil.copy(path, self.target / path.name)
        if self.target.resolve() == MODELS:
            update_documents()

    def run(self) -> None:
        """Run the last stages that are not finished."""
        steps = (
            self.export, self.calibrate, self.quantise, self.measure, self.draw, self.install,
        )  # fmt: skip
        for step in steps:
            mark = self.out / f"{step.__name__}.done"
            if mark.exists():
                print(f"{step.__name__}: done before", flush=True)
                continue
            print(f"{step.__name__} ...", flush=True)
            step()
            mark.touch()


def write_metrics(measured: dict[str, float], name: str, folder: Path) -> None:
    """Write the figures about "parts", "types" or "damage" into that network's description."""
    metrics = {
        figure: round(value, 4)
        for figure, value in measured.items()
        if network_of(figure) == name and value == value  # JSON has no NaN
    }
    write_fields(read_fields(name, folder) | {"metrics": metrics}, name, folder)


def network_of(figure: str) -> str:
    """Return the network that a figure of `make evaluate` is about.

    Example:
        >>> network_of("undamaged_damaged"), network_of("street_ece"), network_of("miou")
        ('damage', 'types', 'parts')
    """
    if figure.startswith(ABOUT_DAMAGE):
        return "damage"
    return "types" if figure.startswith(ABOUT_TYPES) else "parts"
