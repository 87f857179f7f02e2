"""Fixtures of engines whose pipeline follows a script: with threads, and with Celery workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobs.cluster.engine import open_redis_engine
from jobs.engine import Engine
from jobs.sqlite_store import SqliteStore
from jobs.store import Store
from jobs.thread_engine import ThreadEngine, Tuning
from settings import Settings
from tests.jobs.engine_bench import JOB_SECONDS, LEASE, Bench
from tests.jobs.thread_service import DEFAULTS, MakeService, ThreadService
from tests.support.fakes import FakePipeline
from tests.support.redis_cluster import RedisServer, Worker


@pytest.fixture
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakePipeline]:
    made = FakePipeline(tmp_path_factory.mktemp("script"))
    yield made
    made.go_on()


@pytest.fixture
def make_service(settings: Settings, stages: FakePipeline) -> Iterator[MakeService]:
    made: list[ThreadService] = []

    def make(
        store: Store | None = None, tuning: Tuning = DEFAULTS, **limits: float
    ) -> ThreadService:
        made.append(ThreadService(settings, stages, store or SqliteStore(None), tuning, **limits))
        return made[-1]

    yield make
    stages.go_on()
    for service in made:
        service.close()


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> FakePipeline:
    return FakePipeline(tmp_path_factory.mktemp("fake"))


@pytest.fixture(scope="module")
def worker(
    redis_server: RedisServer, fake: FakePipeline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """Yield one worker with one process for all tests here."""
    worker = Worker(
        tmp_path_factory.mktemp("worker") / "log",
        "tests.support.fake_worker",
        FAKE_FOLDER=str(fake.folder),
        CARSEG_BROKER_URL=redis_server.url,
        CARSEG_WORKERS="1",
        CARSEG_JOB_SECONDS=str(JOB_SECONDS),
        CARSEG_LEASE_SECONDS=str(LEASE),
    )
    yield worker
    assert worker.stop() == 0, worker.log.read_text()[-3000:]


@pytest.fixture(params=["threads", "celery"])
def bench(
    request: pytest.FixtureRequest,
    settings: Settings,
    fake: FakePipeline,
) -> Iterator[Bench]:
    fake.clear()

    def threads(limits: dict[str, Any]) -> Engine:
        settings.prepare_folders()
        return ThreadEngine(
            fake,
            SqliteStore(settings.results),
            settings.model_copy(update=limits),
            processing_status={},
            processed_segments={},
            tuning=Tuning(maintenance_seconds=0.05, recent_jobs=1),
        )

    def celery(limits: dict[str, Any]) -> Engine:
        config = settings.model_copy(
            update={
                "broker_url": Settings(broker_url=redis.url).broker_url,  # type: ignore[arg-type]
                "lease_seconds": LEASE,
                **limits,
            }
        )
        return open_redis_engine(config, fake.version, fake.damage_version)

    if request.param == "celery":
        redis: RedisServer = request.getfixturevalue("empty_redis")
        request.getfixturevalue("worker")
    made = Bench(threads if request.param == "threads" else celery, fake)
    yield made
    made.close()
