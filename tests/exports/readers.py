"""Read exports with the programs they are made for; `make readers` runs it.

Needs `requirements-readers.txt`, and nothing of the service. The argument is a folder with a photo
and one folder per format, in which `segment.py` wrote. For each reader and part it prints how well
the mask that the reader draws overlaps with the exact one (from `coco-rle`); the exit status is 1
if one of a part that is not tiny is below LIMIT.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datumaro.components.dataset import Dataset
from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface
from labelme._label_file import read_label_file
from labelme.utils import shape_to_mask
from pycocotools import mask as coder
from pycocotools.coco import COCO

LIMIT = 0.95
LARGE = 500  # pixels; what is lost along the outline says nothing of the smallest parts

Masks = dict[str, Any]  # part -> (H, W) bool


def add(masks: Masks, name: str, mask: Any) -> None:
    masks[name] = masks.get(name, False) | np.asarray(mask, bool)


def from_coco(path: Path) -> Masks:
    dataset = COCO(path)
    masks: Masks = {}
    for annotation in dataset.anns.values():
        add(masks, dataset.cats[annotation["category_id"]]["name"], dataset.annToMask(annotation))
    return masks


def from_labelme(folder: Path) -> Masks:
    """Read with Labelme's loader, which opens the photo as well, and draw with Labelme."""
    (path,) = folder.glob("*.json")
    masks: Masks = {}
    size = json.loads(path.read_bytes())
    shape_of_photo = (size["imageHeight"], size["imageWidth"])
    for shape in read_label_file(str(path)).shapes:
        assert shape["shape_type"] == "polygon"
        mask = shape_to_mask(shape_of_photo, shape["points"], shape["shape_type"])
        add(masks, shape["label"], mask)
    return masks


def from_labelstudio(folder: Path) -> Masks:
    """Read with Label Studio's check of predictions, then with its converter to COCO."""
    (path,) = folder.glob("*.json")
    config = (folder / "config.xml").read_text()
    tasks = json.loads(path.read_bytes())
    interface = LabelInterface(config)
    for number, task in enumerate(tasks, start=1):
        for prediction in task["predictions"]:
            problems = interface.validate_prediction(prediction, return_errors=True)
            assert not problems, problems
        # The program's own form of a prediction that a person accepts.
        task |= {"id": number, "annotations": [{"id": 1, **task["predictions"][0]}]}
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "in"), Path(place, "out")
        source.mkdir()
        (source / "tasks.json").write_text(json.dumps(tasks))
        converter = Converter(config, project_dir=None, download_resources=False)
        converter.convert_to_coco(str(source), str(target), is_dir=True)
        return from_coco(target / "result.json")


def _no_folders(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_dir()]


def from_cvat(folder: Path) -> Masks:
    """Read with Datumaro, which CVAT uses."""
    (path,) = folder.glob("*.xml")
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(path, Path(place, "annotations.xml"))
        shutil.copytree(folder.parent, Path(place, "images"), ignore=_no_folders)
        dataset = Dataset.import_from(place, "cvat")
        names = [label.name for label in next(iter(dataset.categories().values()))]
        masks: Masks = {}
        for item in dataset:
            height, width = item.media.size
            for shape in item.annotations:
                if shape.type.name == "mask":
                    mask = shape.image
                else:
                    codes = coder.frPyObjects([shape.points], height, width)
                    mask = coder.decode(coder.merge(codes))
                add(masks, names[shape.label], mask)
        return masks


READERS: dict[str, Callable[[Path], Masks]] = {
    "labelme": from_labelme,
    "labelstudio": from_labelstudio,
    "cvat": from_cvat,
}


def main(folder: Path) -> int:
    """Read all formats, print the table, and return the exit status."""
    exact = from_coco(next((folder / "coco-rle").glob("*.json")))
    worst = 1.0
    print(f"{'part':18}{'pixels':>9}" + "".join(f"{name:>13}" for name in READERS))
    drawn = {name: read(folder / name) for name, read in READERS.items()}
    for part, mask in exact.items():
        row = f"{part:18}{np.count_nonzero(mask):9}"
        for masks in drawn.values():
            other = masks[part]
            overlap = np.count_nonzero(mask & other) / np.count_nonzero(mask | other)
            if np.count_nonzero(mask) >= LARGE:
                worst = min(worst, overlap)
            row += f"{overlap:13.4f}"
        print(row)
    assert all(list(masks) == list(exact) for masks in drawn.values())
    return 0 if worst >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
