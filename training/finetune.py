"""Fine-tune on your own photos: `python -m training.finetune --coco my.json --out my_models`.

Training starts from the part network in `models/`, or with `--network damage` from the damage
network, keeps its labels, and writes a folder that can replace `models/`. Categories are matched to
the names of parts, or of kinds of damage; others are ignored.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from training.checks import Figures, check_parts
from training.export import export_trained, read_fields
from training.finetune_damage import FEWEST, finetune_damage, fits_thresholds, own_damage
from training.fit import Budget, FitOptions, fit
from training.own_photos import OwnDataError, OwnRun, check_coco
from training.pack import SIDES, Row, Source, write_packs
from training.parts_data import has_rare_part, rasterise_coco
from training.parts_training import PartsBatches, PartsMix, parts_step
from training.photos import read_packs
from training.precision import choose_device
from training.split import Part
from training.stages import FIGURES, WEIGHTS, write_figures
from training.warps import NATURAL
from training.weights import PARTS, load_weights, save_weights
from vision.labels import PART_NAMES
from vision.model_files import MODELS
from vision.networks import build_network


def own_photos(coco: Path, photos: Path, cache: Path, part: Part) -> list[Source]:
    """Return the photos of a COCO file with their label maps, which are written to `cache`.

    Raises:
        OwnDataError: the file, or a photo that it names, cannot be used.
    """
    names = check_coco(coco, photos, PART_NAMES, "part")
    labels = rasterise_coco(coco, cache)
    return [
        Source(
            Row(
                f"{part}/{name}",
                "annotated",
                part,
                "own",
                labels=f"labels/{part}/{path.name}",
                rare=has_rare_part(path),
            ),
            photos / name,
            path,
        )
        for name, path in zip(names, labels, strict=True)
    ]


def finetune(photos: list[Source], out: Path, run: OwnRun) -> Figures:
    """Train the network of `models/` on own photos, and write a models folder to `out`.

    Returns:
        The figures on the photos of "val"; none without such photos.
    """
    run.runs.mkdir(parents=True, exist_ok=True)
    write_packs([*photos, _grey(run.runs)], run.runs)
    data = read_packs(run.runs, choose_device())
    fields = read_fields("parts")
    network = build_network("pyramid", PARTS)
    load_weights(network, MODELS / fields["weights"])
    mix = PartsMix(run.batch, annotated=NATURAL)
    step = parts_step(PartsBatches(data, data.labels, None, mix))
    options = FitOptions(
        run.runs, Budget(run.samples), run.rate, encoder_factor=0.4, checkpoint=run.checkpoint
    )
    network = fit(network, step, options, data.device)
    save_weights(network, run.runs / WEIGHTS)
    export_trained("parts", run.runs / WEIGHTS, out)
    figures: Figures = {}
    if len(data.annotated.of_part("val")):
        figures = check_parts(data, network, "val", run.batch)
        write_figures(figures, run.runs / FIGURES)
    return figures


def _grey(folder: Path) -> Source:
    """Write a grey photo, which stands for those without a car."""
    path = folder / "grey.png"
    cv2.imwrite(str(path), np.full((SIDES["empty"], SIDES["empty"], 3), 127, np.uint8))
    return Source(Row(path.name, "empty", "train", "own"), path)


def main() -> None:
    """Read the command line and train, resuming an interrupted run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("parts", "damage"), default="parts")
    parser.add_argument("--coco", type=Path, required=True, help="COCO file with polygons")
    parser.add_argument("--photos", type=Path, help="folder of the photos; default: the file's")
    parser.add_argument("--val", type=Path, help="COCO file of photos to measure on")
    parser.add_argument("--out", type=Path, default=Path("my_models"))
    parser.add_argument("--runs", type=Path, help="default: runs/finetune, or runs/finetune_damage")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--checkpoint", type=float, default=120.0, help="seconds between two")
    arguments = parser.parse_args()
    arguments.photos = arguments.photos or arguments.coco.parent
    try:
        figures = (_train_damage if arguments.network == "damage" else _train_parts)(arguments)
    except OwnDataError as error:
        sys.exit(str(error))
    for name, value in figures.items():
        print(f"{name} {value:.4f}")
    print(f"The new network is in {arguments.out}; copy it over models/ to serve it.")


def _train_parts(arguments: argparse.Namespace) -> Figures:
    run = _run(arguments, "runs/finetune")
    own = own_photos(arguments.coco, arguments.photos, run.runs / "labels", "train")
    run = replace(run, samples=2 * arguments.epochs * len(own))
    if arguments.val:
        own += own_photos(arguments.val, arguments.photos, run.runs / "val_labels", "val")
    return finetune(own, arguments.out, run)


def _train_damage(arguments: argparse.Namespace) -> Figures:
    own = own_damage(arguments.coco, arguments.photos, "train")
    held = own_damage(arguments.val, arguments.photos, "val") if arguments.val else []
    run = _run(arguments, "runs/finetune_damage")
    figures = finetune_damage(
        own, held, arguments.out, replace(run, samples=2 * arguments.epochs * len(own))
    )
    if fits_thresholds(held):
        print(f"Thresholds are fitted to the {len(held)} photos of {arguments.val}.")
    else:
        print(f"Thresholds are those of models/: {FEWEST} photos of damage are needed to fit them.")
    return figures


def _run(arguments: argparse.Namespace, folder: str) -> OwnRun:
    """Return the options of a run without its length; `folder` is the default for its files."""
    runs = arguments.runs or Path(folder)
    return OwnRun(runs, 0, arguments.batch, arguments.rate, arguments.checkpoint)


if __name__ == "__main__":
    main()
