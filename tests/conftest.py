"""Fixtures: the real models, loaded once for all tests; an app on a folder of its own; a server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from helpers import REPOSITORY, SAMPLE, Server, clean_environment

from api.openapi import OpenApiApp
from app import create_app
from photo_result import Analysis, Stage
from pipeline import Analyser, Pipeline
from segment_interface import Photo
from settings import Settings, network_threads, usable_cores

pytest_plugins = ["browser", "redis_server"]  # the fixtures of tests/page, and of a cluster

WORKERS = min(2, usable_cores())


class Gate:
    """The real pipeline behind a gate that a test opens; counts the calls."""

    problem = None

    def __init__(self, pipeline: Pipeline) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.calls = 0
        self.error: Exception | None = None
        self.version = pipeline.version
        self._pipeline = pipeline
        self._lock = threading.Lock()

    def analyse(
        self, photo: Photo, on_stage: Callable[[Stage], None] = lambda stage: None
    ) -> Analysis:
        with self._lock:
            self.calls += 1
        self.entered.set()
        assert self.open.wait(60)
        if self.error:
            raise self.error
        return self._pipeline.analyse(photo, on_stage)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of whoever runs the tests must not change them."""
    for name in [name for name in os.environ if name.startswith("CARSEG_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    return Pipeline(threads=network_threads())


@pytest.fixture
def gate(pipeline: Pipeline) -> Iterator[Gate]:
    gate = Gate(pipeline)
    yield gate
    gate.open.set()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, workers=WORKERS)


@pytest.fixture
def make_app(settings: Settings, pipeline: Pipeline) -> Iterator[Callable[..., OpenApiApp]]:
    apps = []

    def make(config: Settings = settings, stages: Analyser = pipeline) -> OpenApiApp:
        app = create_app(config, pipeline=stages, status={}, segments={})
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.extensions["jobs"].close()


@pytest.fixture
def app(make_app: Callable[..., OpenApiApp]) -> OpenApiApp:
    return make_app()


@pytest.fixture
def client(app: OpenApiApp) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="session")
def sample() -> bytes:
    return SAMPLE.read_bytes()


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[..., Server]]:
    """Start `python app.py` as a user does, on a free port."""
    processes = []

    def start(data_dir: Path, **environment: str) -> Server:
        with (data_dir.parent / f"{data_dir.name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, REPOSITORY / "app.py"],
                env={
                    **clean_environment(),
                    "CARSEG_PORT": "0",
                    "CARSEG_DATA_DIR": str(data_dir),
                    "CARSEG_WORKERS": str(WORKERS),
                    **environment,
                },
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[\d.]+:\d+", line)
        assert found, f"the service did not start: {line!r}"
        return Server(found.group(), process)

    yield start
    for process in processes:  # those of tests that failed
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def server(
    start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One running service for all tests that only ask it things."""
    server = start_server(tmp_path_factory.mktemp("server"))
    yield server
    assert server.stop(signal.SIGTERM) == 0
