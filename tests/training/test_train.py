"""Test the whole line, from data to models in one command, which goes on after a kill."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from settings import REPOSITORY
from tests.support.server import clean_environment
from tests.support.waiting import wait_until
from tests.training.short_line import SHORT
from tests.training.tiny import write_data
from training.choose import best_of
from training.corrections import DataError
from training.plan import (
    IMAGENET,
    PLAN,
    ChooseStage,
    DamageStage,
    LayoutStage,
    PartsStage,
    TypesStage,
)
from training.stages import FIGURES, WEIGHTS, Scale
from training.train import OtherOptionsError, TrainOptions, train
from vision.labels import PART_NAMES
from vision.model_files import read_description
from vision.runtimes.choose import RuntimeConfig


def command(data: Path, folder: Path) -> list[str]:
    return [
        sys.executable, "-m", "tests.training.short_line", "--data", str(data),
        "--packs", str(folder / "packs"), "--out", str(folder / "out"),
        "--models", str(folder / "models"), "--scale", "0.00001", "--batch", "3",
        "--photos", "1", "--threads", "1",
    ]  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    def is_written() -> bool:
        assert process.poll() is None, "it ended before"
        return path.exists()

    wait_until(is_written, 900)


@pytest.mark.timeout(1800)  # a minute of work, but the machine may have other work, too
def test_resume_after_kill(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    shutil.rmtree(data / "car_types_in_context")  # it may be missing
    words, environment = command(data, tmp_path), clean_environment()
    with (tmp_path / "first.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        try:  # in the student's stage, after its photos are labelled
            wait_for(out / "labels" / "progress.json", process)
        finally:
            process.kill()
            process.wait()
    assert not (out / "student" / FIGURES).exists()
    taught = (out / "teacher" / WEIGHTS).stat().st_mtime_ns
    packed = (tmp_path / "packs" / "pack0.zip").stat().st_mtime_ns

    ended = subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "teacher: done before" in ended.stdout
    assert "layout ..." in ended.stdout
    assert (out / "teacher" / WEIGHTS).stat().st_mtime_ns == taught
    assert (tmp_path / "packs" / "pack0.zip").stat().st_mtime_ns == packed
    for stage in SHORT:
        assert (out / stage.name / WEIGHTS).stat().st_size > 0
    assert (out / "damage" / "mined" / "mined.npz").exists()
    assert not list(out.glob("*/last.pt"))  # checkpoints of finished stages are large
    check_models(tmp_path / "models")
    check_report(out / "report")


def check_models(folder: Path) -> None:
    """The service loads the folder in both runtimes."""
    for name in ("parts", "types", "shapes", "damage"):
        description = read_description(name, folder)
        for runtime in ("onnx", "torch"):
            RuntimeConfig(runtime).load(description, folder)  # checks the manifest
    assert read_description("parts", folder).labels == ("background", *PART_NAMES)
    for name, figures in (
        ("parts", {"miou"}), ("types", {"type_accuracy"}), ("shapes", set()),
        ("damage", {"damage_macro_f1", "damage_iou"}),
    ):  # fmt: skip
        metrics = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["metrics"]
        assert figures <= metrics.keys()
        assert all(0 <= metrics[figure] <= 1 for figure in figures)


def check_report(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "figures.json", "parts.md", "parts_confusion.png", "parts_confusion.csv",
        "types_confusion.png", "types_confusion.csv", "parts_reliability.png",
        "types_reliability.png", "worst_parts.jpg",
    }  # fmt: skip


def test_folder_of_other_options_is_refused(tmp_path: Path) -> None:
    options = TrainOptions(None, tmp_path / "packs", tmp_path / "out", scale=Scale(0.5))
    for stage in PLAN:
        (options.out / stage.name).mkdir(parents=True)
        (options.out / stage.name / FIGURES).touch()
    train(options)  # nothing is left to do
    with pytest.raises(OtherOptionsError, match="other options"):
        train(TrainOptions(None, options.packs, options.out, scale=Scale(1.0)))


def test_missing_damage_is_said_at_once(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    shutil.rmtree(data / "damage")
    options = TrainOptions(data, tmp_path / "packs", tmp_path / "out", scale=Scale(0.00001))
    with pytest.raises(DataError, match="the damage network learns from it"):
        train(options, SHORT)
    assert not (tmp_path / "packs").exists()


def test_stages_need_earlier_ones_only() -> None:
    done = {IMAGENET}
    for stage in PLAN:
        if isinstance(stage, PartsStage):
            needed = {stage.start, *stage.teachers}
        elif isinstance(stage, TypesStage):
            needed = {stage.start, stage.parts} | ({stage.teacher} if stage.teacher else set())
        elif isinstance(stage, LayoutStage):
            needed = {stage.parts}
        elif isinstance(stage, DamageStage):
            needed = {stage.start}
        else:
            needed = set(stage.candidates)
        assert needed <= done, stage.name
        done.add(stage.name)
    assert done >= {"parts", "types", "layout", "damage"}


def test_plan_takes_quarter_of_hour() -> None:
    assert sum(stage.seconds for stage in PLAN if not isinstance(stage, ChooseStage)) < 15 * 60


def test_best_of_equal_networks_is_last() -> None:
    nothing = float("nan")
    assert best_of({"a": 0.5, "b": 0.4}) == "a"
    assert best_of({"a": 0.5, "b": 0.5}) == "b"
    assert best_of({"a": nothing, "b": 0.1}) == "b"
    assert best_of({"a": 0.1, "b": nothing}) == "a"
