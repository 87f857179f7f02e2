"""Fine-tune on your own photos: `python -m training.finetune --coco my.json --out my_models`.

Training starts from the part network in `models/`, keeps its labels, and writes a folder that can
replace `models/`. Categories are matched to the part names; others are ignored.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from img_to_segments import PART_NAMES
from training.export import export_checkpoint, read_fields, write_fields
from training.loop import Batch, LoopOptions, run
from training.parts_data import PartsSample, has_rare_part, rasterise_coco
from training.train_parts import Mix, PartsDataset, measure, parts_loss
from vision.model_files import MANIFEST, MODELS, read_description
from vision.runtimes.torch_runtime import load_network


class OwnDataError(Exception):
    """The user's data cannot be used for training; the message contains the reason."""


def own_samples(coco: Path, photos: Path, cache: Path) -> list[PartsSample]:
    """Return the photos of a COCO file with their label maps, which are written to `cache`.

    Raises:
        OwnDataError: the file, or a photo that it names, cannot be used.
    """
    names = _checked(coco, photos)
    labels = rasterise_coco(coco, cache)
    return [
        PartsSample(photos / name, path, "annotated", rare=has_rare_part(path))
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


def finetune(
    train: list[PartsSample], val: list[PartsSample], out: Path, options: LoopOptions, batch: int
) -> None:
    """Train the network of `models/` on `train`, and write a models folder to `out`."""
    description = read_description("parts")
    network = load_network(description).requires_grad_(True)
    area = int(description.input["area"])
    width = int((area * 4 / 3) ** 0.5) // 32 * 32
    size = (area // width // 32 * 32, width)

    def batches(epoch: int) -> Iterable[Batch]:
        dataset = PartsDataset(train, size, options.steps * batch, epoch, Mix())
        return DataLoader(dataset, batch_size=batch)

    def evaluate(net: torch.nn.Module) -> dict[str, float]:
        return measure(net, val, area)

    run(network, batches, parts_loss, evaluate if val else None, options)
    out.mkdir(parents=True, exist_ok=True)
    for file in (*MODELS.glob("types.*"), *MODELS.glob("shapes.*"), MODELS / MANIFEST):
        shutil.copy(file, out / file.name)
    # The figures of the old network do not apply to the new one.
    write_fields(read_fields("parts") | {"metrics": {}}, "parts", out)
    export_checkpoint(options.out / "ema.pt", description.weights, out)


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
        _train(arguments)
    except OwnDataError as error:
        sys.exit(str(error))
    print(f"The new network is in {arguments.out}; copy it over models/ to serve it.")


def _train(arguments: argparse.Namespace) -> None:
    photos = arguments.photos or arguments.coco.parent
    train = own_samples(arguments.coco, photos, arguments.runs / "labels")
    val = []
    if arguments.val:
        val = own_samples(arguments.val, photos, arguments.runs / "val_labels")
    steps = max(1, 2 * len(train) // arguments.batch)
    options = LoopOptions(arguments.runs, arguments.epochs, steps, rate=arguments.rate)
    finetune(train, val, arguments.out, options, arguments.batch)


if __name__ == "__main__":
    main()
