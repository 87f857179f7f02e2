"""Test the rows of the table, on a folder of data with the service's own models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import Pipeline
from settings import REPOSITORY
from tests.support.server import clean_environment
from tests.training.tiny import write_data
from training.answers import Service
from training.evaluate import GROUPS, Evaluation, Options, evaluate


def test_each_group_has_its_rows_and_report_its_files(pipeline: Pipeline, tmp_path: Path) -> None:
    data, report = write_data(tmp_path / "data"), tmp_path / "report"
    options = Options(report=report, cache=tmp_path / "cache", rounds=5)
    rows = evaluate(Service(pipeline), data, options)
    # The networks see no cars in the drawings: there may be no share of parts that are found.
    assert {row.name for row in rows.rows} >= {
        "miou", "ap", "ap50", "swapped", "type_accuracy", "type_macro_f1", "street_accuracy",
        "street_macro_f1", "two_door_back_door", "four_door_back_door", "cars_missed",
        "type_unknown", "upright_turned", "empty_told", "other_vehicles_typed", "rotation_90",
        "rotation_180", "rotation_270", "close_ups", "sizes_agreement", "sizes_flips",
    }  # fmt: skip
    photos = {row.name: row.photos for row in rows.rows}
    assert (photos["miou"], photos["type_accuracy"], photos["street_accuracy"]) == (2, 3, 4)
    assert (photos["two_door_back_door"], photos["cars_missed"]) == (3, 7)
    table = (report / "rows.md").read_text(encoding="utf-8")
    assert all(f"| {row.title} |" in table for row in rows.rows)
    figures = json.loads((report / "figures.json").read_text(encoding="utf-8"))
    assert figures["miou_low"] <= figures["miou"] <= figures["miou_high"]
    assert (report / "parts.md").exists()


def test_group_computes_only_needed_answers(pipeline: Pipeline, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    options = Options(("empty",), cache=tmp_path / "cache")
    rows = evaluate(Service(pipeline), data, options)
    assert {row.name for row in rows.rows} == {
        "empty_told", "other_vehicles_typed", "other_vehicles_told"
    }  # fmt: skip
    assert set(Options().groups) == set(GROUPS)


def test_halves_share_no_photo(pipeline: Pipeline, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    service = Service(pipeline)
    halves = [
        Evaluation(service, data, Options(half=half, cache=tmp_path / "cache"))
        for half in ("A", "B")
    ]
    for kind in ("annotated", "cars", "street"):
        first, second = (set(getattr(half, kind)) for half in halves)
        assert first
        assert second
        assert first.isdisjoint(second)
        assert set(halves[0].sized()).isdisjoint(halves[1].sized())


def test_trial_takes_few_photos(pipeline: Pipeline, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    tried = Evaluation(Service(pipeline), data, Options(photos=1, cache=tmp_path / "cache"))
    assert len(tried.annotated) == len(tried.cars) == len(tried.street) == len(tried.empty) == 1


@pytest.mark.timeout(600)
def test_unusable_folder_is_named(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (data / "car_parts" / "corrections.json").write_text("[]", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "training.evaluate", "--data", str(data), "--only", "parts"],
        cwd=REPOSITORY, env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "corrections.json cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr
