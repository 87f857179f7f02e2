"""One task, several photos: what a worker process does in its turn, on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.cluster.queue import RedisQueue
from jobs.cluster.redis_client import RedisClient
from jobs.cluster.result_store import RedisResultStore
from jobs.cluster.runner import ParentMonitor, RedisJobRunner
from jobs.messages import WAITING
from jobs.outcome import Ended
from photo_result import Result
from settings import Settings
from tests.support.fakes import FakePipeline, KilledError
from tests.support.job_log import JobLog
from tests.support.pictures import encoded, noise
from tests.support.redis_cluster import RedisServer

VERSION = FakePipeline().version


class Turns:
    """A worker process and its parent, without Celery."""

    def __init__(self, redis: RedisServer, settings: Settings, folder: Path) -> None:
        self.stages = FakePipeline(folder)
        calls = RedisClient(redis.url)
        self.store, self.queue = RedisResultStore(calls, 60), RedisQueue(calls, 60.0, 60)
        self.redis: Any = redis.client
        self.log = JobLog()
        self.work = RedisJobRunner(self.stages, self.store, self.queue, settings)
        self.monitor = ParentMonitor(self.store, self.queue, settings)

    def post(self, *widths: int) -> list[str]:
        """Queue photos, and return names that serve as their hashes."""
        names = [f"photo {width}" for width in widths]
        for name, width in zip(names, widths, strict=True):
            assert self.accept(name, VERSION, encoded(noise(20, width)))
        return names

    def accept(self, name: str, version: str, upload: bytes = b"") -> bool | None:
        """Post to a web process whose models have this version."""
        return self.queue.accept(name, "", version, 100, 1, upload)

    def turn(self, name: str, seconds: float = 60, stopping: bool = False) -> None:
        self.work.run(name, seconds, lambda: stopping)

    def dies_at(self, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin a turn in which the process ends when it comes to a photo."""

        with monkeypatch.context() as patch:
            patch.setattr(
                "jobs.cluster.runner.run_guarded",
                lambda digest, work, names: Ended("ready", "", work()),
            )
            self.stages.throw(width, "KilledError")
            with pytest.raises(KilledError):
                self.turn("first/")
            self.stages.throw(width, None)

    def ended(self) -> list[tuple[str, str]]:
        """Return hash and outcome of each ended photo, in order."""
        return self.log.outcomes()


@pytest.fixture
def turns(empty_redis: RedisServer, settings: Settings, tmp_path: Path) -> Iterator[Turns]:
    made = Turns(empty_redis, settings.model_copy(update={"job_seconds": 4.0}), tmp_path)
    yield made
    made.log.close()


def test_one_turn_processes_all_waiting_photos(turns: Turns) -> None:
    names = turns.post(30, 31, 32)
    turns.turn("first/")
    assert turns.ended() == [(name, "ready") for name in names]
    assert turns.store.ready() == names
    turns.turn("second/")  # finds nothing to do
    assert len(turns.ended()) == 3


@pytest.mark.parametrize("options", [{"seconds": 0}, {"stopping": True}])
def test_ended_turn_begins_no_photo(turns: Turns, options: dict[str, Any]) -> None:
    names = turns.post(30, 31)
    turns.turn("first/", **options)
    assert turns.ended() == [(names[0], "ready")]
    assert turns.queue.load()[:2] == (1, 0)


def test_tasks_are_removed_only_from_empty_queue(turns: Turns) -> None:
    turns.post(30, 31)
    turns.redis.lpush("carseg:celery:photos", "task", "task")
    turns.turn("first/", seconds=0)
    assert turns.redis.llen("carseg:celery:photos") == 2
    turns.turn("second/")
    assert turns.redis.llen("carseg:celery:photos") == 0


def test_killed_process_returns_only_its_current_photo(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = turns.post(30, 31, 32)
    turns.dies_at(31, monkeypatch)
    turns.monitor.requeue("other/")
    assert turns.queue.load()[:2] == (1, 1)
    turns.monitor.requeue("first/")
    row = turns.queue.status(names[1], "")
    assert row is not None
    assert (row.state, row.message, row.position) == ("Uploaded", WAITING, 1)
    turns.turn("second/")
    assert turns.ended() == [(name, "ready") for name in names]


def test_overrun_ends_only_current_photo(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    names = turns.post(30, 31, 32)
    turns.dies_at(31, monkeypatch)
    turns.monitor.expire("first/")
    turns.turn("second/")
    outcomes = [(names[0], "ready"), (names[1], "timeout"), (names[2], "ready")]
    assert turns.ended() == outcomes
    outcome = turns.store.load(names[1])
    assert outcome is not None
    assert "longer than 4 seconds" in outcome.message


def test_worker_of_another_version(turns: Turns) -> None:
    (name,) = turns.post(30)
    turns.turn("first/")
    outcome = turns.store.load(name)
    assert outcome is not None
    assert outcome.model_version == VERSION
    assert outcome.result is not None
    assert Result.unpack(outcome.result).model_version == VERSION
    assert turns.accept(name, VERSION) is False
    assert turns.accept(name, "newer") is None  # it would be taken
    assert turns.store.load(name) == outcome
    assert turns.accept(name, "newer", encoded(noise(20, 30)))
    assert turns.store.load(name) is None
    assert turns.store.ready() == []
    turns.turn("second/")
    assert turns.ended() == [(name, "ready")] * 2


def test_unfinished_photo_is_not_restarted_by_another_version(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = turns.post(30, 31)
    turns.dies_at(30, monkeypatch)
    rows = [turns.queue.status(name, "") for name in names]
    assert [row and row.state for row in rows] == ["Processing", "Uploaded"]
    for name in names:
        assert turns.accept(name, "newer", encoded(noise(20, 30))) is False
    assert [turns.queue.status(name, "") for name in names] == rows


def test_result_without_version_is_made_again(turns: Turns) -> None:
    """Earlier releases stored photos in Redis without a version."""
    (name,) = turns.post(30)
    turns.turn("first/")
    turns.redis.hdel(f"carseg:photo:{name}", "version")
    outcome = turns.store.load(name)
    assert outcome is not None
    assert (outcome.state, outcome.model_version) == ("Ready", "")
    assert turns.accept(name, VERSION) is None
