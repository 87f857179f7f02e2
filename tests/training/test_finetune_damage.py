"""Users go on with their own photos of damage, and the service loads what comes out."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from analysis.damage_segments import DamageSegmenter
from pipeline import Pipeline
from settings import REPOSITORY
from tests.support.pictures import SAMPLE
from tests.support.server import clean_environment
from tests.support.waiting import wait_until
from training.finetune_damage import FEWEST, finetune_damage, own_damage
from training.own_photos import OwnDataError, OwnRun
from training.parts_data import read_rgb
from vision.model_files import read_description
from vision.runtimes.choose import RuntimeConfig

DAMAGED = REPOSITORY / "tests" / "pictures" / "damaged.jpg"
DENT, SCRATCH = [90, 110, 130, 110, 130, 140, 90, 140], [140, 112, 190, 116, 190, 124, 140, 120]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Return a COCO file of the rendered cars, made small: one with damage and one without."""
    for name, source in (("damaged.png", DAMAGED), ("whole.png", SAMPLE)):
        picture = cv2.imread(str(source))
        assert picture is not None
        assert cv2.imwrite(str(tmp_path / name), cv2.resize(picture, (256, 192)))
    outlines = {1: DENT, 2: SCRATCH, 3: [0, 0, 9, 0, 9, 9]}
    document = {
        "images": [
            {"id": 1, "file_name": "damaged.png", "width": 256, "height": 192},
            {"id": 2, "file_name": "whole.png", "width": 256, "height": 192},
        ],
        "categories": [
            {"id": 1, "name": "dent"}, {"id": 2, "name": "scratch"}, {"id": 3, "name": "rust"}
        ],
        "annotations": [
            {"image_id": 1, "category_id": kind, "area": 1000 - kind, "segmentation": [outline]}
            for kind, outline in outlines.items()
        ],
    }  # fmt: skip
    path = tmp_path / "my.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_own_photos_of_damage(coco: Path) -> None:
    damaged, whole = own_damage(coco, coco.parent, "train")
    assert (damaged.kinds, whole.kinds) == (("scratch", "dent"), ())
    assert np.unique(damaged.labels()).tolist() == [0, 1, 2]
    assert damaged.key != whole.key


@pytest.mark.timeout(900)
def test_command_resumes_after_kill(coco: Path) -> None:
    folder = coco.parent
    words = [
        sys.executable, "-m", "training.finetune", "--network", "damage", "--coco", str(coco),
        "--val", str(coco), "--out", str(folder / "my_models"), "--runs", str(folder / "runs"),
        "--epochs", "1000", "--batch", "3", "--checkpoint", "0",
    ]  # fmt: skip
    environment, last = clean_environment() | {"OMP_NUM_THREADS": "1"}, folder / "runs" / "last.pt"
    with (folder / "first.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        try:
            wait_until(lambda: last.exists() or process.poll() is not None, 600)
        finally:
            process.kill()
            process.wait()
    saved = torch.load(last, weights_only=True)
    assert 0 < saved["samples"] < 4000
    saved["samples"] = 3999  # one step is left
    torch.save(saved, last)

    ended = subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert torch.load(last, weights_only=True)["number"] == saved["number"] + 1
    assert "damage_any_f1 " in ended.stdout
    assert "Thresholds are those of models/" in ended.stdout
    check_models(folder / "my_models", folder / "damaged.png")
    figures = json.loads((folder / "runs" / "figures.json").read_text(encoding="utf-8"))
    assert 0 <= figures["damage_any_f1"] <= 1


def check_models(folder: Path, photo: Path) -> None:
    """The service loads the folder, whose damage network differs from that in `models/`."""
    fields = json.loads((folder / "damage.json").read_text(encoding="utf-8"))
    assert fields["metrics"] == {}
    assert "int8" not in fields
    before, after = read_description("damage"), read_description("damage", folder)
    assert after.thresholds == before.thresholds
    rgb, runtime = read_rgb(photo), RuntimeConfig("onnx")
    old = DamageSegmenter(before, runtime=runtime).cells(rgb).logits
    change = np.abs(DamageSegmenter(after, folder, runtime).cells(rgb).logits - old).max()
    assert 0 < change < 50
    pipeline = Pipeline(folder=folder)
    assert pipeline.analyse(rgb, damage=True).damage is not None
    assert pipeline.damage_version not in ("", Pipeline().damage_version)


def test_thresholds_are_fitted_to_enough_photos(coco: Path) -> None:
    own = own_damage(coco, coco.parent, "train")
    damaged, whole = own_damage(coco, coco.parent, "val")
    held = [replace(each, key=f"case {n}") for n in range(FEWEST) for each in (damaged, whole)]
    out = coco.parent / "my_models"
    figures = finetune_damage(own, held, out, OwnRun(coco.parent / "runs", samples=2, batch=2))
    assert {"damage_macro_f1", "undamaged_damaged", "damage_cells"} <= figures.keys()
    thresholds = read_description("damage", out).thresholds
    assert thresholds["dent_cells"] == figures["damage_cells"]
    assert thresholds.keys() >= read_description("damage").thresholds.keys()


def test_photos_of_damage_alone(coco: Path) -> None:
    damaged, _ = own_damage(coco, coco.parent, "train")
    out = coco.parent / "my_models"
    figures = finetune_damage([damaged], [], out, OwnRun(coco.parent / "runs", samples=2, batch=2))
    assert figures == {}
    assert read_description("damage", out).labels == read_description("damage").labels


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"annotations"', '"labels"', "no COCO file .* KeyError"),
        ('"width": 256', '"wide": 256', "no COCO file .* KeyError"),
        ('"category_id": 1', '"category_id": 9', "no COCO file .* KeyError"),
        ('"image_id": 1', '"image_id": 9', "no photo of .* has damage"),
        ('"whole.png"', '"other.png"', r"other\.png"),
        ('"whole.png"', '"damaged.png"', "the same name"),
    ],
)
def test_unusable_data(coco: Path, old: str, new: str, told: str) -> None:
    text = coco.read_text(encoding="utf-8")
    assert old in text
    coco.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(OwnDataError, match=told):
        own_damage(coco, coco.parent, "train")


def test_no_kind_among_categories(coco: Path) -> None:
    text = coco.read_text(encoding="utf-8")
    coco.write_text(text.replace('"dent"', '"hood"').replace('"scratch"', '"oil"'))
    with pytest.raises(OwnDataError, match=r"no category .* is a kind; .* kinds are scratch, dent"):
        own_damage(coco, coco.parent, "train")
