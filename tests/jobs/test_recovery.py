"""Test jobs that fail, and the start after a crash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from jobs.messages import LOST, OUT_OF_MEMORY, STOPPED_TWICE, UNEXPECTED
from jobs.sqlite_store import SqliteStore
from jobs.store import StoredOutcome
from settings import Settings
from tests.jobs.thread_service import MakeService, uploads
from tests.support.fakes import FakePipeline
from tests.support.pictures import encoded, noise


@pytest.mark.parametrize("error", ["RuntimeError", "SystemExit", "KeyboardInterrupt"])
def test_worker_error_ends_only_its_job(
    make_service: MakeService, stages: FakePipeline, settings: Settings, error: str
) -> None:
    stages.throw(30, error)
    service = make_service()
    broken, following = service.post(30), service.post(31)
    assert service.wait(broken, "Error") == UNEXPECTED
    service.wait(following)
    assert uploads(settings) == set()
    stages.throw(30, None)
    assert service.post(30) == broken  # tried again when it is posted again
    service.wait(broken)


def test_out_of_memory_message(make_service: MakeService, stages: FakePipeline) -> None:
    stages.throw(30, "MemoryError")
    service = make_service()
    assert service.wait(service.post(30), "Error") == OUT_OF_MEMORY


def test_crashing_photo_is_tried_twice(
    make_service: MakeService, stages: FakePipeline, settings: Settings, tmp_path: Path
) -> None:
    """A crash leaves a store with one more attempt and no outcome."""
    settings.prepare_folders()
    photos = [encoded(noise(20, width)) for width in (30, 31)]
    poison, good = (hashlib.sha256(photo).hexdigest() for photo in photos)
    for digest, photo in zip((poison, good), photos, strict=True):
        (settings.uploads / f"{digest}.png").write_bytes(photo)
    store = SqliteStore(tmp_path / "results.sqlite")
    number = store.add(poison, "")
    store.count_attempt(number)
    store.count_attempt(number)
    store.count_attempt(store.add(good, ""))
    service = make_service(store)
    assert service.jobs.resume() == 1
    assert service.wait(poison, "Error") == STOPPED_TWICE
    service.wait(good)
    assert len(stages.calls()) == 1
    assert uploads(settings) == set()
    assert service.post(30) == poison  # it can be posted again
    service.wait(poison)


def test_resume_without_upload_ends_in_error(make_service: MakeService, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "results.sqlite")
    store.add("a" * 64, "")
    service = make_service(store)
    assert service.jobs.resume() == 0
    assert service.wait("a" * 64, "Error") == LOST


def test_resume_skips_finished_photo_with_leftover_upload(
    make_service: MakeService, settings: Settings, stages: FakePipeline, tmp_path: Path
) -> None:
    settings.prepare_folders()
    photo = encoded(noise(20, 30))
    digest = hashlib.sha256(photo).hexdigest()
    (settings.uploads / f"{digest}.png").write_bytes(photo)
    (settings.masks / ".masks-half").mkdir()
    store = SqliteStore(tmp_path / "results.sqlite")
    store.finish(store.add(digest, ""), StoredOutcome("Error", "broken"))
    service = make_service(store)
    assert service.jobs.resume() == 0
    assert service.wait(digest, "Error") == "broken"
    assert uploads(settings) == set()
    assert list(settings.masks.iterdir()) == []


def test_resume_with_store_in_memory(make_service: MakeService, settings: Settings) -> None:
    settings.prepare_folders()
    photo = encoded(noise(20, 30))
    (settings.uploads / f"{hashlib.sha256(photo).hexdigest()}.png").write_bytes(photo)
    service = make_service()
    assert service.jobs.resume() == 0
    assert uploads(settings) == set()
    assert service.status == {}
