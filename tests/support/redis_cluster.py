"""A cluster of real processes: Redis, Celery workers, a TCP proxy; and fixtures that run them."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from settings import REPOSITORY
from tests.support.server import clean_environment

WORKER = ("worker", "--without-gossip", "--without-mingle")  # as in docs/cluster.md


class RedisServer:
    """A `redis-server` on a free port, with an append-only file in a separate folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._folder, self._options = folder, options
        password = options[options.index("--requirepass") + 1] if options else None
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        self.client = Redis(port=self.port, password=password)
        self.start()

    def start(self) -> None:
        """Start the server with the data in its folder, and wait until it answers."""
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
        """Kill the server with `kill -9`."""
        self.process.kill()
        self.process.wait()

    def forget(self) -> None:
        """Remove all photos, but keep the workers and their queue."""
        for key in self.client.scan_iter("carseg:*", count=1000):
            if key != b"carseg:workers" and not key.startswith(b"carseg:celery:_kombu"):
                self.client.delete(key)

    def close(self) -> None:
        """End the server."""
        self.client.close()
        self.kill()


class Worker:
    """A `celery -A ... worker` in a separate process group."""

    def __init__(self, log: Path, app: str = "celery_app", **environment: str) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", app, *WORKER],
                cwd=REPOSITORY,
                env={**clean_environment(), **environment},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def children(self) -> list[int]:
        """Return the ids of the worker's child processes."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(child) for child in path.read_text().split()]

    def kill(self) -> None:
        """Kill the parent and all its processes with `kill -9`."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Let the worker finish its task, and return its exit status."""
        self.process.terminate()
        return self.process.wait(60)


class Cable:
    """A TCP proxy to a port of this machine, which can be cut.

    A cut cable passes no data in either direction and closes no connection, like a failed network.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Stop all traffic."""
        self._whole.clear()

    def mend(self) -> None:
        """Resume all traffic, including the data sent during the cut."""
        self._whole.set()

    def close(self) -> None:
        """Stop accepting connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(near,), daemon=True).start()

    def _forward(self, near: socket.socket) -> None:
        self._whole.wait()
        with near, contextlib.suppress(OSError):
            far = socket.create_connection(("127.0.0.1", self._target))
            with far:
                other = {near: far, far: near}
                while True:
                    for end in select.select([near, far], [], [])[0]:
                        data = end.recv(1 << 16)
                        self._whole.wait()
                        if not data:
                            return
                        other[end].sendall(data)


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
    """Return one Redis for all tests that leave it running."""
    return make_redis()


@pytest.fixture
def empty_redis(redis_server: RedisServer) -> RedisServer:
    """Return the same Redis, without photos."""
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
