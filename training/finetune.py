"""Go on with your own photos: `python -m training.finetune --coco my.json --out my_models`.

Starts from the part network in `models/`, keeps its labels, and writes a folder that can take
the place of `models/`. Categories are matched to the part names; others are left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from model_files import MANIFEST, MODELS, load_network, read_description
from training.export import export_checkpoint, read_fields, write_fields
from training.loop import Batch, LoopOptions, run
from training.parts_data import PartsSample, has_rare_part, rasterise_coco
from training.train_parts import Mix, PartsDataset, measure, parts_loss


def own_samples(coco: Path, photos: Path, cache: Path) -> list[PartsSample]:
    """The photos of a COCO file with their label maps, which are written to `cache`.

    Raises:
        FileNotFoundError: if a photo that the file names is not in `photos`.
    """
    names = [image["file_name"] for image in json.loads(coco.read_text("utf-8"))["images"]]
    missing = [name for name in names if not (photos / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} photos are not in {photos}: {missing[:3]}")
    labels = rasterise_coco(coco, cache)
    return [
        PartsSample(photos / name, path, "annotated", rare=has_rare_part(path))
        for name, path in zip(names, labels, strict=True)
    ]


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
    for file in ("types.json", "types.safetensors", MANIFEST):
        shutil.copy(MODELS / file, out / file)
    # What was measured of the old network says nothing about the new one.
    write_fields(read_fields("parts") | {"metrics": {}}, "parts", out)
    export_checkpoint(options.out / "ema.pt", description.weights, out)


def main() -> None:
    """Read the command line and train; goes on where it was stopped."""
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
    photos = arguments.photos or arguments.coco.parent
    train = own_samples(arguments.coco, photos, arguments.runs / "labels")
    val = []
    if arguments.val:
        val = own_samples(arguments.val, photos, arguments.runs / "val_labels")
    steps = max(1, 2 * len(train) // arguments.batch)
    options = LoopOptions(arguments.runs, arguments.epochs, steps, rate=arguments.rate)
    finetune(train, val, arguments.out, options, arguments.batch)
    print(f"The new network is in {arguments.out}; copy it over models/ to serve it.")


if __name__ == "__main__":
    main()
