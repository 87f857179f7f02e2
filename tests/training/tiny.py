"""Make a small folder of data in the form that `training/` reads: drawn cars, no photos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.split import validation_names

SIZE = 96
# Boxes x0, y0, x1, y1 of the parts of a drawn car, in a photo of SIZE x SIZE.
BOXES = {
    "front_glass": (30, 20, 66, 38),
    "hood": (20, 38, 76, 56),
    "front_bumper": (16, 56, 80, 72),
    "front_left_light": (66, 44, 78, 54),
    "wheel": (18, 70, 34, 86),
}
VALIDATION = 2  # annotated photos that are for validation
# Numbers of photos that `split.part_of` reserves for calibration, by the start of their names.
CALIBRATION = {"drawn": 26, "train": 11, "case": 4}
DAMAGE = {1: (24, 40, 40, 52), 8: (20, 38, 76, 56)}  # boxes by kind; the scratch is in the other


def write_data(folder: Path, count: int = 8) -> Path:
    """Write `count` annotated photos, and a few of each other kind; returns `folder`."""
    rng = np.random.default_rng(0)
    _annotated(folder / "car_parts", count, rng)
    for part, numbers in (("train", (0, 1, CALIBRATION["train"])), ("val", (0,))):
        for car_type in ("sedan", "suv"):
            for number in numbers:
                place = folder / "car_types" / part / car_type
                _write(place / f"{part}{car_type}{number}.jpg", _photo(rng)[:, :, ::-1])
    doors = ["photo,make_model,side_doors", "trainsedan0,Drawn,4", "valsedan0,Drawn,2", "valsuv0,,"]
    _write_rows(folder / "car_types" / "models.csv", doors)
    rows = ["file,type,make_model,x1,y1,x2,y2,w,h"]
    for part in ("train", "val"):
        file = f"{part}/sedan/{part}sedan0.webp"
        _write(folder / "car_types_in_context" / file, _photo(rng))
        rows.append(f"{file},sedan,Drawn,14,18,82,88,{SIZE},{SIZE}")
    _write_rows(folder / "car_types_in_context" / "labels.csv", rows)
    rows = ["file,source,type,side_doors,note,split"]
    for number, row in enumerate(("suv,,,train", "coupe,2,,val", "sedan,,,val", ",,closeup,")):
        _write(folder / "street" / "images" / f"street_{number}.webp", _photo(rng))
        rows.append(f"street_{number}.webp,street,{row}")
    _write_rows(folder / "street" / "labels.csv", rows)
    _damaged(folder / "damage", rng)
    for number in range(5):
        _write(folder / "not_cars" / f"{number}.webp", _ground(rng))
    for number in range(3):
        _write(folder / "not_cars_2" / f"motorcycle_{number}.webp", _ground(rng))
    return folder


def annotated_names(count: int) -> list[str]:
    """Return the names of the annotated photos: for validation, training, and one to calibrate."""
    numbers = [*range(count - VALIDATION - 1), CALIBRATION["drawn"]]
    return validation_names()[:VALIDATION] + [f"drawn{n}.jpg" for n in numbers]


def _annotated(folder: Path, count: int, rng: np.random.Generator) -> None:
    names = list(BOXES)
    document: dict[str, list[dict[str, object]]] = {
        "images": [], "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
    }  # fmt: skip
    files = annotated_names(count)
    for number, file in enumerate(files):
        _write(folder / "images" / file, _photo(rng))
        document["images"].append({"id": number, "file_name": file, "width": SIZE, "height": SIZE})
        for category, (x0, y0, x1, y1) in enumerate(BOXES.values()):
            document["annotations"].append(
                {
                    "id": len(document["annotations"]), "image_id": number,
                    "category_id": category, "area": (x1 - x0) * (y1 - y0),
                    "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                }
            )  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    corrections = {file: {"type": "sedan", "side_doors": 4} for file in files}
    (folder / "corrections.json").write_text(json.dumps(corrections), encoding="utf-8")


def _damaged(folder: Path, rng: np.random.Generator) -> None:
    """Write two photos for training, one for validation, and one to calibrate."""
    cases = ((0, "train"), (1, "train"), (2, "val"), (CALIBRATION["case"], "train"))
    document: dict[str, list[dict[str, object]]] = {
        "images": [
            {
                "id": number, "file_name": f"{number}.webp", "width": SIZE, "height": SIZE,
                "group": case, "split": split,
            }
            for number, (case, split) in enumerate(cases)
        ],
        "annotations": [],
        "categories": [{"id": 1, "name": "scratch"}, {"id": 8, "name": "airbag"}],
    }  # fmt: skip
    for number, kinds in enumerate(((1,), (8, 1), (1,), (8,))):
        _write(folder / "images" / f"{number}.webp", _photo(rng))
        for kind in kinds:
            x0, y0, x1, y1 = DAMAGE[kind]
            document["annotations"].append(
                {
                    "image_id": number, "category_id": kind, "area": (x1 - x0) * (y1 - y0),
                    "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                }
            )  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(document), encoding="utf-8")


def _ground(rng: np.random.Generator) -> NDArray[np.uint8]:
    coarse = rng.integers(60, 200, (6, 6, 3), np.uint8)
    return cv2.resize(coarse, (SIZE, SIZE)).astype(np.uint8)


def _photo(rng: np.random.Generator) -> NDArray[np.uint8]:
    photo = _ground(rng)
    for x0, y0, x1, y1 in BOXES.values():
        photo[y0:y1, x0:x1] = rng.integers(0, 256, 3, np.uint8)
    return photo


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def _write_rows(path: Path, rows: list[str]) -> None:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
