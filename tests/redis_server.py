"""A real Redis for tests, and real Celery workers on it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import REPOSITORY, clean_environment
from redis import Redis
from redis.exceptions import RedisError


class RedisServer:
    """`redis-server` on a free port, with an append-only file in a folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder, self._options = folder, options
        self.client = Redis(port=self.port)
        self.start()

    def start(self) -> None:
        """Start it, with whatever its folder holds, and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--dir", str(self._folder)]
        command += ["--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]
        self.process = subprocess.Popen(
            [*command, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.client.ping()
                return
            except RedisError:
                assert self.process.poll() is None, "redis-server has ended"
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()

    def forget(self) -> None:
        """Remove all photos, not what is known of workers and their queue."""
        for key in self.client.scan_iter("carseg:*", count=1000):
            if key != b"carseg:workers" and not key.startswith(b"carseg:celery:_kombu"):
                self.client.delete(key)

    def close(self) -> None:
        """End it."""
        self.client.close()
        self.kill()


class Worker:
    """`celery -A ... worker` in a process group of its own."""

    def __init__(self, log: Path, app: str = "celery_app", **environment: str) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", app, "worker"],
                cwd=REPOSITORY,
                env={**clean_environment(), "PYTHONPATH": str(REPOSITORY / "tests"), **environment},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def children(self) -> list[int]:
        """The processes that work."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(child) for child in path.read_text().split()]

    def kill(self) -> None:
        """`kill -9` of the parent and all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Let it finish what it does; gives its exit status."""
        self.process.terminate()
        return self.process.wait(60)


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
