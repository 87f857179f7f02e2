"""Test that a trained part network learns close-ups, keeps what it knows, and resumes."""

from __future__ import annotations

import subprocess
import sys
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from img_to_segments import PartSegmenter
from settings import REPOSITORY
from tests.support.server import clean_environment
from tests.support.waiting import wait_until
from tests.training.tiny import BOXES, SIZE, write_data
from training.close_up_crops import choose_cars, plan_close_ups
from training.close_ups import (
    CloseUpLine,
    MissingLabelsError,
    without_back_doors,
)
from training.further import FurtherOptions
from training.pack import list_sources, write_packs
from training.panel_crops import ANNOTATED, CAR, EMPTY, Crops, Views, last_blocks
from training.part_boxes import PartBoxes, annotated_parts, random_boxes
from training.photos import TrainingData, read_packs
from training.precision import CPU
from training.soft_maps import SoftMaps
from training.stages import FIGURES, WEIGHTS
from training.teacher_labels import COLUMNS, STRIDE, Found, SoftLabels
from training.train import OtherOptionsError
from training.weights import CLASSES, PARTS, load_network
from vision.labels import label_of, name_of
from vision.model_files import MODELS
from vision.networks import PartNetwork

START = MODELS / "parts.safetensors"
NOTHING = Views(0, 0, 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("data")
    write_packs(list_sources(write_data(folder / "data"), folder / "cache"), folder / "packs")
    return read_packs(folder / "packs", CPU)


def taught(data: TrainingData, folder: Path) -> SoftLabels:
    """Return labels of a teacher that sees a wheel in the first photo of a car for training."""
    side = data.cars.side // STRIDE
    maps = SoftMaps(folder, len(data.cars), side * side, CLASSES, CPU)
    labels = torch.zeros((1, CLASSES, side, side))
    labels[:, 0] = 1
    labels[:, 0, 4:8, 2:10] = 0
    labels[:, label_of("wheel"), 4:8, 2:10] = 1
    first = data.cars.of_part("train")[:1]
    maps.write(first, labels)
    table = np.zeros((len(data.cars), COLUMNS), np.float32)
    table[first, :2] = 0.9, 0.5
    return SoftLabels(maps, side, Found.of(table))


def test_boxes_of_annotated_parts_are_theirs(data: TrainingData) -> None:
    photo = data.annotated.of_part("train")[:1]
    parts = annotated_parts(data.labels, photo)
    scale = data.annotated.sizes[photo[0], 0] / SIZE
    x0, y0, x1, y1 = BOXES["front_left_light"]
    [light] = [
        box for group, box in zip(parts.groups, parts.boxes, strict=True) if group == "light"
    ]
    wanted = np.array([x0, y0, x1 - x0, y1 - y0]) * scale
    np.testing.assert_allclose(light, wanted, atol=2)
    assert set(parts.photos) == {photo[0]}


def test_rare_groups_of_parts_are_drawn_often() -> None:
    parts = PartBoxes(["mirror"] + [""] * 99, list(range(100)), [(0.0, 0.0, 1.0, 1.0)] * 100)
    rng = np.random.default_rng(0)
    drawn = [parts.draw(rng)[0] for _ in range(200)]
    assert 60 < drawn.count(0) < 140
    assert sum(parts.shares().values()) == pytest.approx(1)


def test_random_boxes_are_inside_of_photos() -> None:
    sizes = np.array([[384.0, 200.0], [90.0, 384.0]]).repeat(20, 0)
    boxes = random_boxes(sizes, np.random.default_rng(0))
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] > 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= sizes).all()


def test_plan_has_close_ups_and_whole_photos(data: TrainingData, tmp_path: Path) -> None:
    soft = taught(data, tmp_path)
    plan = plan_close_ups(data, soft, Views(20, 5, 3), Views(4, 4, 4), seed=1)
    near = ~np.isnan(plan.boxes[:, 0])
    assert near.sum() == 28
    assert len(plan.rows) == 40
    train = data.annotated.of_part("train")
    assert np.isin(plan.rows[plan.rows[:, 0] == ANNOTATED, 1], train).all()
    boxes = plan.boxes[near & (plan.rows[:, 0] == EMPTY)]
    assert (boxes[:, 2:] > 0).all()


def test_sure_parts_of_a_teacher_are_shown(data: TrainingData, tmp_path: Path) -> None:
    plan = plan_close_ups(data, taught(data, tmp_path), Views(0, 3, 0), NOTHING, seed=1)
    wheel = np.array([2, 4, 8, 4]) * STRIDE
    np.testing.assert_array_equal(plan.boxes, np.tile(wheel, (3, 1)))


def test_photos_of_damage_are_not_shown(data: TrainingData) -> None:
    chosen = choose_cars(data, 1000, seed=1)
    assert {data.cars.rows[index].part for index in chosen.tolist()} == {"train"}
    assert "damage" not in {data.cars.rows[index].source for index in chosen.tolist()}
    assert len(chosen)


def test_two_door_cars_have_quarter_panels_for_back_doors() -> None:
    logits = torch.randn((2, CLASSES, 3, 4), generator=torch.Generator().manual_seed(1))
    before, after = (
        each.softmax(1) for each in (logits, without_back_doors(logits, np.array([True, False])))
    )
    for side in ("left", "right"):
        door, panel = label_of(f"back_{side}_door"), label_of(f"{side}_quarter_panel")
        assert not after[0, door].any()
        torch.testing.assert_close(after[0, panel], before[0, panel] + before[0, door])
    others = [
        label
        for label in range(CLASSES)
        if label == 0 or not name_of(label).endswith(("quarter_panel", "door"))
    ]
    torch.testing.assert_close(after[0, others], before[0, others])
    torch.testing.assert_close(after[1], before[1])


def test_crops_know_the_doors_of_their_cars(data: TrainingData, tmp_path: Path) -> None:
    network = load_network("pyramid", PARTS, START, CPU)
    assert isinstance(network, PartNetwork)
    photos = data.cars.of_part("train")[:3].tolist()
    cars = copy(data.cars)
    cars.rows = list(cars.rows)
    for photo, doors in zip(photos, (2, 4, None), strict=True):
        cars.rows[photo] = replace(cars.rows[photo], doors=doors)
    known = replace(data, cars=cars)
    crops = Crops(tmp_path, known, network, np.array([(CAR, each) for each in photos]), "", 1)
    crops.make(3)
    assert crops.read(np.arange(3)).two_doors.tolist() == [True, False, False]


def command(data: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "training.close_ups", "--data", str(data), "--start", str(START),
        "--out", str(out), "--scale", "0.004", "--batch", "2", "--threads", "1",
    ]  # fmt: skip


@pytest.mark.timeout(1800)  # a minute of work, but the machine may have other work, too
def test_resume_after_kill(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    words, environment = command(data, out), clean_environment()
    with (tmp_path / "first.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)

        def is_cropping() -> bool:
            assert process.poll() is None, (tmp_path / "first.log").read_text(encoding="utf-8")
            return (out / "crops" / "progress.json").exists()

        try:
            wait_until(is_cropping, 900)
        finally:
            process.kill()
            process.wait()
    assert not (out / "blend" / FIGURES).exists()
    ended = subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert not list(out.glob("*/last.pt"))
    check_result(out)


def check_result(out: Path) -> None:
    """The last stage of the encoder has learned, the earlier ones have not; it is served."""
    new, old = (
        load_network("pyramid", PARTS, path, CPU) for path in (out / "blend" / WEIGHTS, START)
    )
    assert isinstance(new, PartNetwork)
    assert isinstance(old, PartNetwork)
    last = {id(p) for block in last_blocks(new) for p in block.parameters()}
    before = dict(old.encoder.named_parameters())
    moved = set()
    for name, parameter in new.encoder.named_parameters():
        if id(parameter) in last:
            moved.add(bool((parameter != before[name]).any()))
        else:
            torch.testing.assert_close(parameter, before[name], rtol=0, atol=0)
    assert True in moved
    grey = np.full((384, 512, 3), 127, np.uint8)
    assert CLASSES in PartSegmenter(folder=out / "models").logits(grey).shape


def test_network_without_panels_is_refused(tmp_path: Path) -> None:
    state = load_file(START)
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][:19].contiguous()
    save_file(state, tmp_path / "old.safetensors")
    with pytest.raises(MissingLabelsError, match="does not know"):
        CloseUpLine(FurtherOptions(tmp_path, tmp_path / "old.safetensors", tmp_path / "out"))


def test_folder_of_other_options_is_refused(tmp_path: Path) -> None:
    CloseUpLine(FurtherOptions(tmp_path, START, tmp_path / "out", scale=0.5))
    with pytest.raises(OtherOptionsError, match="other options"):
        CloseUpLine(FurtherOptions(tmp_path, START, tmp_path / "out", scale=1.0))
