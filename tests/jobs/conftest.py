"""Fixtures of an engine with threads, whose pipeline follows a script."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.sqlite_store import SqliteStore
from jobs.store import Store
from jobs.thread_engine import Tuning
from settings import Settings
from tests.jobs.thread_service import DEFAULTS, MakeService, ThreadService
from tests.support.fakes import FakePipeline


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
