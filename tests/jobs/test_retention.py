"""Test how long and how many results are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from api.openapi import OpenApiApp
from jobs.sqlite_store import SqliteStore
from jobs.thread_engine import Tuning
from settings import Settings
from tests.jobs.thread_service import MakeService
from tests.support.http import post
from tests.support.pictures import encoded, noise
from tests.support.waiting import wait_until


def test_surplus_results_are_deleted(make_service: MakeService) -> None:
    service = make_service(tuning=Tuning(maintenance_seconds=0.02), keep_results=3)
    digests = [service.post(width) for width in range(30, 36)]
    for digest in digests[-3:]:
        service.wait(digest)
    wait_until(lambda: len(service.status) <= 3)
    assert service.jobs.ready() == digests[-3:]
    assert service.jobs.find(digests[0]) is None
    assert set(service.segments) == set(digests[-3:])


def test_old_results_are_deleted(make_app: Callable[..., OpenApiApp], settings: Settings) -> None:
    second = 1 / 86_400
    config = settings.model_copy(update={"keep_days": second, "write_masks": True})
    client = make_app(config).test_client()
    image_hash = post(client, encoded(noise(30, 40)))
    wait_until(lambda: client.get(f"/{image_hash}/status").status_code == 404)
    assert client.get("/").get_json() == []
    assert list(settings.masks.iterdir()) == []


def test_results_in_memory_are_limited(make_service: MakeService, tmp_path: Path) -> None:
    service = make_service(SqliteStore(tmp_path / "results.sqlite"), tuning=Tuning(recent_jobs=2))
    digests = [service.post(width) for width in range(30, 36)]
    service.wait(digests[-1])
    assert set(service.segments) == set(digests[-2:])
    assert set(service.status) == set(digests)
    for width, digest in zip(range(30, 36), digests, strict=True):
        standing = service.jobs.find(digest)
        assert standing is not None
        assert standing.result is not None
        assert (standing.state, standing.message) == ("Ready", standing.result.message())
        assert standing.result.width == width
        assert service.jobs.wait(digest, None, 3600) == standing  # at once
        assert service.jobs.wait_for_end(digest, 3600) == standing
