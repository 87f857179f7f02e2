"""From data to models in one command, which goes on after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from settings import REPOSITORY
from tests.support.server import clean_environment
from tests.support.waiting import wait_until
from tests.training.tiny import write_data
from training.everything import RUNS, Knobs, OtherKnobsError, plan, run_plan
from vision.model_files import read_description
from vision.runtimes.choose import RuntimeConfig


def command(data: Path, folder: Path) -> list[str]:
    return [
        sys.executable, "-m", "training.everything", "--data", str(data),
        "--out", str(folder / "out"), "--models", str(folder / "models"),
        "--scale", "0", "--batch", "2", "--threads", "1",
    ]  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    def is_written() -> bool:
        assert process.poll() is None, "it ended before"
        return path.exists()

    wait_until(is_written, 900)


@pytest.mark.timeout(1800)  # half a minute of work, but the machine may have other work, too
def test_resume_after_kill(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    words, environment = command(data, tmp_path), clean_environment()
    with (tmp_path / "first.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        try:  # in the middle of the second training: after one of its two epochs
            wait_for(out / "parts2" / "last.pt", process)
        finally:
            process.kill()
            process.wait()
    assert not (out / "parts2.done").exists()
    labelled = (out / "labels1" / "index.json").stat().st_mtime_ns

    ended = subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "labels1: done before" in ended.stdout
    assert "parts2 ..." in ended.stdout
    assert (out / "labels1" / "index.json").stat().st_mtime_ns == labelled
    for run in RUNS:
        lines = (out / run / "log.csv").read_text(encoding="utf-8").splitlines()
        assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1"], run
        assert (out / "report" / f"{run}_curves.png").stat().st_size > 0
    check_models(tmp_path / "models")
    check_report(out / "report")


def check_models(folder: Path) -> None:
    for name in ("parts", "types", "shapes"):
        for runtime in ("onnx", "torch"):
            RuntimeConfig(runtime).load(
                read_description(name, folder), folder
            )  # checks the manifest
    for name, figure in (("parts", "miou"), ("types", "type_accuracy")):
        metrics = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["metrics"]
        assert 0 <= metrics[figure] <= 1


def check_report(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "figures.json", "parts.md", "parts_confusion.png", "parts_confusion.csv",
        "types_confusion.png", "types_confusion.csv", "parts_reliability.png",
        "types_reliability.png", "worst_parts.jpg",
    }  # fmt: skip


def test_folder_of_other_options_is_left_alone(tmp_path: Path) -> None:
    knobs = Knobs(tmp_path / "data", tmp_path / "out", tmp_path / "models", scale=0.5)
    knobs.out.mkdir()
    for stage in plan(knobs):
        (knobs.out / f"{stage.name}.done").touch()
    run_plan(knobs)  # nothing is left to do
    with pytest.raises(OtherKnobsError, match="other options"):
        run_plan(Knobs(tmp_path / "data", knobs.out, knobs.models, scale=1.0))
