"""Fine-tune the damage network on the user's own photos; see `training.finetune`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from analysis.damage_segments import DamageSegmenter
from training.calibrate import write_thresholds
from training.checks import Figures
from training.damage_data import DamagedPhoto, read_damage
from training.damage_fit import Look, figures_of, fit_looks, look_at_damage, without_thresholds
from training.damage_training import DamageBatches, damage_step
from training.export import export_trained, read_fields
from training.fit import Budget, FitOptions, fit
from training.own_photos import OwnDataError, OwnRun, check_coco
from training.pack import Kind, Row, Source, write_packs
from training.parts_data import read_rgb
from training.photos import read_packs
from training.precision import choose_device
from training.split import Part
from training.stages import FIGURES, WEIGHTS, write_figures
from training.weights import DAMAGE, load_weights, save_weights
from vision.labels import DAMAGE_KINDS
from vision.model_files import MODELS, ModelDescription, read_description
from vision.networks import build_network
from vision.runtimes.choose import RuntimeConfig

FEWEST = 30  # photos of damage to which thresholds are fitted; fewer are too much by chance

_NEEDED: tuple[Kind, ...] = ("damaged",)
_FLOAT = RuntimeConfig("onnx")


def own_damage(coco: Path, photos: Path, part: Part) -> list[DamagedPhoto]:
    """Return the photos of a COCO file with their damage; those without any are undamaged cars.

    Raises:
        OwnDataError: the file, or a photo that it names, cannot be used, or none shows damage.
    """
    check_coco(coco, photos, DAMAGE_KINDS, "kind")
    try:
        found = read_damage(coco, photos, lambda _: part)
    except (ValueError, KeyError, TypeError) as error:
        raise OwnDataError(f"{coco} is no COCO file with polygons: {error!r}") from error
    if part == "train" and not any(photo.kinds for photo in found):
        raise OwnDataError(f"no photo of {coco} has damage")
    return found


def finetune_damage(
    photos: Sequence[DamagedPhoto], held: Sequence[DamagedPhoto], out: Path, run: OwnRun
) -> Figures:
    """Train the damage network of `models/` on own photos, and write a models folder to `out`.

    Args:
        photos: to learn from.
        held: to measure on, and to fit thresholds to if FEWEST or more of them show damage.
        out: the folder.
        run: options.

    Returns:
        The figures on `held`, which are cross-validated if thresholds were fitted; none without
        such photos.
    """
    run.runs.mkdir(parents=True, exist_ok=True)
    write_packs([_source(photo, run.runs / "labels") for photo in photos], run.runs)
    data = read_packs(run.runs, choose_device(), needed=_NEEDED)
    network = build_network("pyramid", DAMAGE)
    load_weights(network, MODELS / read_fields("damage")["weights"])
    step = damage_step(DamageBatches(data, run.batch))
    options = FitOptions(
        run.runs, Budget(run.samples), run.rate, encoder_factor=0.4, checkpoint=run.checkpoint
    )
    network = fit(network, step, options, data.device)
    save_weights(network, run.runs / WEIGHTS)
    export_trained("damage", run.runs / WEIGHTS, out)
    figures = _measure(held, out) if held else {}
    if figures:
        write_figures(figures, run.runs / FIGURES)
    return figures


def fits_thresholds(held: Sequence[DamagedPhoto]) -> bool:
    """Return True if photos are enough to fit thresholds to them."""
    return sum(bool(photo.kinds) for photo in held) >= FEWEST


def _source(photo: DamagedPhoto, cache: Path) -> Source:
    name = f"{photo.part}/{photo.path.name}"
    if not photo.kinds:
        return Source(Row(name, "car", photo.part, "own"), photo.path)
    labels = f"labels/{photo.part}/{photo.path.stem}.png"
    row = Row(name, "damaged", photo.part, "own", labels=labels, damage=photo.kinds)
    return Source(row, photo.path, photo.write_labels(cache))


def _measure(held: Sequence[DamagedPhoto], folder: Path) -> Figures:
    """Return the figures of the network in a folder, after fitting its thresholds if possible."""
    description = read_description("damage", folder)
    if fits_thresholds(held):
        thresholds, figures = fit_looks(_look(held, without_thresholds(description), folder))
        write_thresholds("damage", folder, thresholds)
    else:
        figures = figures_of([look.answer(0.0, 0.0) for look in _look(held, description, folder)])
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def _look(held: Sequence[DamagedPhoto], description: ModelDescription, folder: Path) -> list[Look]:
    segmenter = DamageSegmenter(description, folder, _FLOAT)
    return [
        look_at_damage(segmenter, photo.key, read_rgb(photo.path), photo if photo.kinds else None)
        for photo in held
    ]
