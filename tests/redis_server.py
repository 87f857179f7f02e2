"""Fixtures of a cluster: a real Redis, and real Celery workers on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.cluster_parts import RedisServer, Worker

StartWorker = Callable[..., Worker]


@pytest.fixture(scope="session")
def make_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Start a Redis, with options."""
    if shutil.which("redis-server") is None:
        reason = "redis-server is not installed"
        pytest.fail(reason) if os.environ.get("REQUIRE_REDIS") else pytest.skip(reason)
    made: list[RedisServer] = []

    def make(*options: str) -> RedisServer:
        made.append(RedisServer(tmp_path_factory.mktemp("redis"), *options))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture(scope="session")
def redis_server(make_redis: Callable[..., RedisServer]) -> RedisServer:
    """One Redis for all tests that do it no harm."""
    return make_redis()


@pytest.fixture
def empty_redis(redis_server: RedisServer) -> RedisServer:
    """The same, without photos."""
    redis_server.forget()
    return redis_server


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start workers that are killed at the end of the test."""
    made: list[Worker] = []

    def start(app: str = "celery_app", **environment: str) -> Worker:
        made.append(Worker(tmp_path / f"worker-{len(made)}.log", app, **environment))
        return made[-1]

    yield start
    for worker in made:
        worker.kill()
