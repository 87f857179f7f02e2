"""Fine-tune on your own photos: `python -m training.finetune --coco my.json --out my_models`.

Training starts from the part network in `models/`, keeps its labels, and writes a folder that can
replace `models/`. Categories are matched to the part names; others are ignored.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.checks import Figures, check_parts
from training.export import export_part_network, read_fields
from training.fit import Budget, FitOptions, fit
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


class OwnDataError(Exception):
    """The user's data cannot be used for training; the message contains the reason."""


@dataclass(frozen=True)
class OwnRun:
    """The options of one run.

    Attributes:
        runs: folder of packs, checkpoint and log; an interrupted run resumes from there.
        samples: photos to train on, with repetitions.
        batch: photos per step, at least 3.
        rate: peak learning rate.
    """

    runs: Path
    samples: int
    batch: int = 8
    rate: float = 3e-4


def own_photos(coco: Path, photos: Path, cache: Path, part: Part) -> list[Source]:
    """Return the photos of a COCO file with their label maps, which are written to `cache`.

    Raises:
        OwnDataError: the file, or a photo that it names, cannot be used.
    """
    names = _checked(coco, photos)
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


def _checked(coco: Path, photos: Path) -> list[str]:
    """Return the names of the photos in a COCO file, after checking all its content."""
    try:
        document = json.loads(coco.read_text(encoding="utf-8"))
        names = [str(image["file_name"]) for image in document["images"]]
        categories = {str(category["name"]) for category in document["categories"]}
        outlines = [annotation["segmentation"] for annotation in document["annotations"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OwnDataError(f"{coco} is no COCO file with polygons: {error!r}") from error
    missing = [name for name in names if not (photos / name).is_file()]
    if not names:
        raise OwnDataError(f"{coco} names no photos")
    if missing:
        raise OwnDataError(f"{len(missing)} photos of {coco} are not in {photos}: {missing[:3]}")
    if not categories & set(PART_NAMES):
        raise OwnDataError(
            f"no category of {coco} is a part; theirs are {sorted(categories)}, "
            f"parts are {', '.join(PART_NAMES)}"
        )
    if not all(isinstance(outline, list) for outline in outlines):
        raise OwnDataError(f"{coco} has masks as run lengths; export it with polygons")
    return names


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
    options = FitOptions(run.runs, Budget(run.samples), run.rate, encoder_factor=0.4)
    network = fit(network, step, options, data.device)
    save_weights(network, run.runs / WEIGHTS)
    export_part_network(run.runs / WEIGHTS, out)
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
    parser.add_argument("--coco", type=Path, required=True, help="COCO file with polygons")
    parser.add_argument("--photos", type=Path, help="folder of the photos; default: the file's")
    parser.add_argument("--val", type=Path, help="COCO file of photos to measure on")
    parser.add_argument("--out", type=Path, default=Path("my_models"))
    parser.add_argument("--runs", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-4)
    arguments = parser.parse_args()
    try:
        figures = _train(arguments)
    except OwnDataError as error:
        sys.exit(str(error))
    for name, value in figures.items():
        print(f"{name} {value:.4f}")
    print(f"The new network is in {arguments.out}; copy it over models/ to serve it.")


def _train(arguments: argparse.Namespace) -> Figures:
    photos, runs = arguments.photos or arguments.coco.parent, arguments.runs
    own = own_photos(arguments.coco, photos, runs / "labels", "train")
    samples = 2 * arguments.epochs * len(own)
    if arguments.val:
        own += own_photos(arguments.val, photos, runs / "val_labels", "val")
    run = OwnRun(runs, samples, arguments.batch, arguments.rate)
    return finetune(own, arguments.out, run)


if __name__ == "__main__":
    main()
