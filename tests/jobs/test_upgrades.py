"""A service with other models than the ones that made its results."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from api.service import service_of
from app import create_app
from jobs.folders import Masks
from jobs.sqlite_store import SqliteStore
from jobs.store import StoredOutcome, StoreError
from photo_result import Segments
from pipeline import Pipeline
from settings import Settings
from tests.jobs.test_store import FIRST_SCHEMA
from tests.support.fakes import FakePipeline
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise
from tests.test_old_results import body_type, drawn, stored
from vision.model_files import models_version

PHOTO = encoded(noise(20, 30))
HASH = hashlib.sha256(PHOTO).hexdigest()


class Service:
    """One service after the other on the same folder, each with models of another version."""

    def __init__(self, settings: Settings, stages: FakePipeline) -> None:
        self.settings, self.stages = settings, stages
        self.status: dict[str, str] = {}
        self.segments: dict[str, Segments] = {}
        self.client = self._start()

    def _start(self) -> FlaskClient:
        self.status, self.segments = {}, {}
        app = create_app(
            self.settings, pipeline=self.stages, status=self.status, segments=self.segments
        )
        self.jobs = service_of(app).engine
        return app.test_client()

    def upgrade(self, version: str, **settings: Any) -> None:
        """Stop, and start with models of this version."""
        self.jobs.close()
        self.stages.version = version
        self.settings = self.settings.model_copy(update=settings)
        self.client = self._start()

    def result(self) -> dict[str, Any]:
        answer = self.client.get(f"/{HASH}/segments")
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.get_json()
        return result

    def masks(self) -> set[str]:
        """Return the names of the files that the photo has in the folder of the masks."""
        return {path.name for path in (self.settings.masks / HASH).glob("*")}


@pytest.fixture
def stages(tmp_path: Path) -> FakePipeline:
    folder = tmp_path / "fake"
    folder.mkdir()
    return FakePipeline(folder)


@pytest.fixture
def service(settings: Settings, stages: FakePipeline) -> Iterator[Service]:
    made = Service(settings.model_copy(update={"write_masks": True}), stages)
    yield made
    stages.go_on()
    made.jobs.close()


def test_earlier_result_is_gone_during_repost(service: Service) -> None:
    assert post(service.client, PHOTO) == HASH
    wait(service.client, HASH)
    old = service.result()
    assert old["model_version"] == "fake"
    assert service.masks() == {"hood.png"}
    service.upgrade("newer")
    assert service.result() == old
    assert service.masks() == {"hood.png"}
    assert (service.status, service.segments) == ({HASH: "Ready"}, {})

    service.stages.hang(30)
    answer = service.client.post("/", json=body(PHOTO)).get_json()
    assert answer == {"message": "The photo was accepted.", "image_hash": HASH}
    wait(service.client, HASH, "Processing")
    assert service.masks() == set()
    assert (service.status, service.segments) == ({HASH: "Processing"}, {})
    assert service.client.get("/").get_json() == []
    refused = service.client.get(f"/{HASH}/segments")
    assert refused.status_code == 400
    assert "Processing" in refused.get_json()["error"]
    assert service.client.get(f"/{HASH}/mask.png").status_code == 400
    answer = service.client.post("/", json=body(PHOTO)).get_json()
    assert answer == {"message": "The photo is already known.", "image_hash": HASH}

    service.stages.go_on()
    wait(service.client, HASH)
    new = service.result()
    assert new == old | {"model_version": "newer"}
    assert service.masks() == {"hood.png"}
    assert (service.status, service.segments) == ({HASH: "Ready"}, {HASH: new["segments"]})
    assert service.client.get("/").get_json() == [HASH]
    assert service.stages.calls() == [30, 30]


def test_old_masks_are_removed_with_result(service: Service) -> None:
    post(service.client, PHOTO)
    wait(service.client, HASH)
    service.upgrade("newer", write_masks=False)
    assert service.masks() == {"hood.png"}
    post(service.client, PHOTO)
    wait(service.client, HASH)
    assert service.masks() == set()


def test_stop_during_repost_loses_no_photo(service: Service) -> None:
    """Start as after a kill: the photo waits in the store, and its earlier masks are there."""
    post(service.client, PHOTO)
    wait(service.client, HASH)
    service.jobs.close()
    store = SqliteStore(service.settings.results)
    store.add(HASH, "")
    store.close()
    (service.settings.uploads / f"{HASH}.png").write_bytes(PHOTO)
    service.stages.hang(30)
    service.upgrade("newer")
    wait(service.client, HASH, "Processing")
    assert service.masks() == set()
    service.stages.go_on()
    wait(service.client, HASH)
    assert service.result()["model_version"] == "newer"
    assert service.masks() == {"hood.png"}


def test_failed_store_keeps_earlier_result(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(service.client, PHOTO)
    wait(service.client, HASH)
    old = service.result()
    service.upgrade("newer")

    def refuse(*arguments: object, **options: object) -> None:
        raise StoreError("full", full=True)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "add", refuse)
        assert service.client.post("/", json=body(PHOTO)).status_code == 507
    assert list(service.settings.uploads.iterdir()) == []
    assert service.result() == old
    assert service.masks() == {"hood.png"}
    assert service.client.get("/").get_json() == [HASH]
    post(service.client, PHOTO)
    wait(service.client, HASH)
    assert service.result()["model_version"] == "newer"


def test_kill_before_deletion_keeps_earlier_result(service: Service) -> None:
    post(service.client, PHOTO)
    wait(service.client, HASH)
    old = service.result()
    service.jobs.close()
    (service.settings.uploads / f"{HASH}.png").write_bytes(PHOTO)
    service.upgrade("newer")
    assert service.result() == old
    assert list(service.settings.uploads.iterdir()) == []
    assert service.stages.calls() == [30]


def test_masks_of_failed_photo_are_removed(service: Service) -> None:
    service.jobs.close()
    store = SqliteStore(service.settings.results)
    store.add(HASH, "")
    store.close()
    Masks(service.settings.masks).write(HASH, np.ones((2, 3), np.uint8))
    service.upgrade("newer")
    assert "lost" in wait(service.client, HASH, "Error")["message"]
    assert service.masks() == set()


def test_earlier_result_stays_without_models(settings: Settings, tmp_path: Path) -> None:
    settings.prepare_folders()
    store = SqliteStore(settings.results)
    data = stored(drawn("trunk"), body_type("sedan"))
    store.finish(store.add(HASH, ""), StoredOutcome("Ready", "3 parts were found.", data, "older"))
    store.close()
    (tmp_path / "models").mkdir()
    pipeline = Pipeline(folder=tmp_path / "models")
    app = create_app(settings, pipeline=pipeline, status={}, segments={})
    client = app.test_client()
    post(client, PHOTO)
    assert client.get(f"/{HASH}/segments").status_code == 200
    other = post(client, encoded(noise(20, 31)))
    assert "could not load its models" in wait(client, other, "Error")["message"]
    service_of(app).engine.close()


def test_results_before_name_change(settings: Settings, pipeline: Pipeline, sample: bytes) -> None:
    """A file of the first version is served with today's names, until a photo is posted again."""
    other = hashlib.sha256(sample).hexdigest()
    settings.prepare_folders()
    with sqlite3.connect(settings.results) as db:
        db.executescript(FIRST_SCHEMA)
        for digest, name, lid in ((other, "sedan", "tailgate"), (HASH, "suv", "trunk")):
            data = stored(drawn(lid), body_type(name))
            fields = (digest, "Ready", time.time(), "3 parts were found.", data)
            db.execute(
                "INSERT INTO photos (digest, state, ended, message, result) VALUES (?, ?, ?, ?, ?)",
                fields,
            )
    db.close()
    app = create_app(settings, pipeline=pipeline, status={}, segments={})
    client = app.test_client()
    assert client.get("/").get_json() == [other, HASH]
    for digest, lid in ((other, "trunk"), (HASH, "tailgate")):
        result = client.get(f"/{digest}/segments").get_json()
        assert result["model_version"] == "1"
        assert list(result["segments"]) == ["hood", lid, "wheel"]
        assert client.get(f"/{digest}/masks/{lid}.png").status_code == 200
    listed = client.get("/?details=true").get_json()
    assert [entry["image_hash"] for entry in listed["photos"]] == [other, HASH]
    assert [entry["type"]["name"] for entry in listed["photos"]] == ["sedan", "suv"]
    for entry in listed["photos"]:
        assert (entry["parts"], entry["width"], entry["height"]) == (3, 80, 60)
        assert entry["file_names"] == []
    assert client.get("/?details=true").get_json() == listed
    assert post(client, sample) == other
    wait(client, other)
    result = client.get(f"/{other}/segments").get_json()
    assert result["model_version"] == pipeline.version == models_version()
    assert (result["width"], result["height"]) != (80, 60)
    assert client.get(f"/{HASH}/segments").get_json()["model_version"] == "1"
    service_of(app).engine.close()
