"""Fixtures: the real models, loaded once for all tests; apps on new folders; a server."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.openapi import OpenApiApp
from api.service import service_of
from app import create_app
from pipeline import Analyser, Pipeline
from settings import Settings, network_threads, usable_cores
from tests.support.fakes import Gate
from tests.support.pictures import SAMPLE
from tests.support.server import Server

pytest_plugins = ["tests.support.browser", "tests.support.redis_cluster"]

WORKERS = min(2, usable_cores())


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the environment, which would change the tests."""
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
        service_of(app).engine.close()


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
    made: list[Server] = []

    def start(data_dir: Path, **environment: str) -> Server:
        made.append(Server.start(data_dir, **{"CARSEG_WORKERS": str(WORKERS), **environment}))
        assert made[-1].url
        return made[-1]

    yield start
    for server in made:  # those of tests that failed
        server.kill()


@pytest.fixture(scope="session")
def server(
    start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Yield one running service for all tests that change none of its settings."""
    server = start_server(tmp_path_factory.mktemp("server"))
    yield server
    assert server.stop(signal.SIGTERM) == 0
