"""Test the choice of parts: by the option `parts` and by its setting."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.service import service_of
from app import create_app
from pipeline import Pipeline
from settings import Settings
from tests.support.http import post, wait
from vision.labels import BASIC_PARTS, PANELS, label_of


def names(client: FlaskClient, photo: str, query: str = "") -> set[str]:
    answer = client.get(f"/{photo}/segments{query}").get_json()
    found = {part["name"] for part in answer["parts"]}
    assert set(answer["segments"]) == found
    assert answer["message"].startswith(f"{len(found)} parts were found.")
    return found


def numbers(client: FlaskClient, photo: str, query: str = "") -> set[int]:
    picture = Image.open(BytesIO(client.get(f"/{photo}/mask.png{query}").data))
    return set(np.unique(np.asarray(picture)).tolist()) - {0}


@pytest.mark.parametrize("setting", ["all", "basic"])
def test_parts_by_option_and_setting(
    pipeline: Pipeline, sample: bytes, tmp_path: Path, setting: str
) -> None:
    segments: dict[str, dict[str, list[list[list[float]]]]] = {}
    settings = Settings(data_dir=tmp_path, parts=(setting,), write_masks=True)
    app = create_app(settings, pipeline=pipeline, status={}, segments=segments)
    client = app.test_client()
    photo = post(client, sample)
    status = wait(client, photo)
    every = names(client, photo, "?parts=all")
    basic, panels = every & set(BASIC_PARTS), every & set(PANELS)
    assert {"roof", "left_fender", "left_quarter_panel", "left_rocker_panel"} == panels
    assert names(client, photo, "?parts=basic") == basic
    assert names(client, photo, "?parts=panels") == panels
    assert names(client, photo, "?parts=hood,roof") == {"hood", "roof"}
    assert numbers(client, photo, "?parts=roof") == {label_of("roof")}
    assert client.get(f"/{photo}/masks/roof.png?parts=basic").status_code == 404
    assert client.get(f"/{photo}/masks/roof.png?parts=roof").status_code == 200

    default = every if setting == "all" else basic
    assert names(client, photo) == default
    assert numbers(client, photo) == set(map(label_of, default))
    assert set(segments[photo]) == default
    assert {path.stem for path in (settings.masks / photo).iterdir()} == default
    assert status["message"].startswith(f"{len(default)} parts were found.")
    service_of(app).engine.close()


@pytest.mark.parametrize("address", ["segments", "mask.png", "overlay.png", "masks/hood.png"])
def test_parts_unknown_name(client: FlaskClient, sample: bytes, address: str) -> None:
    photo = post(client, sample)
    wait(client, photo)
    answer = client.get(f"/{photo}/{address}?parts=hood,sunroof")
    assert answer.status_code == 400
    assert answer.get_json()["error"].startswith(
        "There is no part 'sunroof'; the nearest is roof. The names are all, basic"
    )


def test_parts_unknown_name_before_upload(client: FlaskClient, sample: bytes) -> None:
    answer = client.post(
        "/?wait=5&parts=sunroof", data=sample, content_type="application/octet-stream"
    )
    assert answer.status_code == 400
    assert client.get("/").get_json() == []


def test_listed_parts_follow_setting(pipeline: Pipeline, sample: bytes, tmp_path: Path) -> None:
    app = create_app(
        Settings(data_dir=tmp_path, parts=("hood", "roof")),
        pipeline=pipeline,
        status={},
        segments={},
    )
    client = app.test_client()
    photo = post(client, sample)
    wait(client, photo)
    (entry,) = client.get("/?details=1").get_json()["photos"]
    assert entry["parts"] == len(names(client, photo)) == 2
    service_of(app).engine.close()
