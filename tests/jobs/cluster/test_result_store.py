"""The results of a cluster, on a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from jobs.catalog import Summary
from jobs.cluster.queue import RedisQueue
from jobs.cluster.redis_client import RedisClient
from jobs.cluster.result_store import RedisResultStore
from jobs.messages import REDIS_FULL
from jobs.store import StoredOutcome, StoreError
from photo_result import Analysis, Result
from tests.support.redis_cluster import RedisServer

READY = StoredOutcome("Ready", "1 part was found.", b"packed", "1a2b")
ERROR = StoredOutcome("Error", "broken")


class Results:
    """The store, and the queue that its photos come from."""

    def __init__(self, redis: RedisServer) -> None:
        self._client = RedisClient(redis.url)
        self.store = RedisResultStore(self._client, keep_seconds=100)
        self.queue = RedisQueue(self._client, lease=60, keep_seconds=100)

    def accept(self, name: str, owner: str = "") -> int:
        """Accept a photo, and return the number of its job."""
        assert self.queue.accept(name, owner, "1a2b", 100, 1, b"upload")
        row = self.queue.status(name, owner)
        assert row is not None
        return row.number

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def results(empty_redis: RedisServer) -> Iterator[Results]:
    made = Results(empty_redis)
    yield made
    made.close()


@pytest.mark.parametrize("outcome", [READY, ERROR])
def test_outcome_comes_back_equal(results: Results, outcome: StoredOutcome) -> None:
    number = results.accept("a")
    assert results.store.load("a") is None
    assert results.store.finish(number, outcome, {})
    assert results.store.load("a") == outcome
    assert results.store.load("b") is None


def test_late_outcome_of_earlier_job_is_ignored(results: Results) -> None:
    first = results.accept("a")
    assert results.store.finish(first, ERROR, {"jobs:error": 1})
    assert not results.store.finish(first, READY, {"jobs:ready": 1})
    second = results.accept("a")
    assert second > first
    assert not results.store.finish(first, READY, {"jobs:ready": 1})
    assert results.store.load("a") is None
    assert results.store.finish(second, READY, {"jobs:ready": 1})
    assert results.queue.counts() == {"jobs:error": 1, "jobs:ready": 1}


def test_mean_is_moving_average(results: Results) -> None:
    for name, seconds in (("a", 2.0), ("b", 4.0)):
        results.store.finish(results.accept(name), READY, {"mean": seconds})
    assert results.queue.counts()["mean"] == pytest.approx(2.2)


def test_ready_photos_are_listed_in_order_of_acceptance(results: Results) -> None:
    numbers = {name: results.accept(name, owner) for name, owner in zip("bac", "xyx", strict=True)}
    for name in "cba":
        results.store.finish(numbers[name], ERROR if name == "a" else READY, {})
    assert results.store.ready() == results.store.ready("x") == ["b", "c"]
    assert results.store.ready("y") == results.store.ready("z") == []


def test_pages_of_many_photos(results: Results) -> None:
    summary = Summary(width=4, height=3, parts=("hood", "roof"), type="van", confidence=0.5)
    digests = [f"{number:04}" for number in range(1300, 0, -1)]
    for digest in digests:
        number = results.accept(digest, "rare" if digest.endswith("77") else "many")
        results.store.finish(number, replace(READY, summary=summary.pack()), {})
    rare = [digest for digest in digests if digest.endswith("77")]
    for owner, expected in (("", digests), ("rare", rare)):
        found: list[str] = []
        after = None
        while page := results.store.catalog.page(600, after, owner):
            found += [entry.digest for entry in page.entries]
            assert {entry.summary for entry in page.entries} == {summary}
            if (after := page.next) is None:
                break
        assert found == expected


def test_summary_of_earlier_release_is_made_once(
    results: Results, empty_redis: RedisServer
) -> None:
    packed = Result.of(Analysis(None, np.zeros((3, 4), np.uint8), {}, {}), "1a2b").pack()
    results.store.finish(results.accept("a"), replace(READY, result=packed), {})
    results.store.finish(results.accept("b"), replace(READY, result=packed), {})
    summary = Summary(width=4, height=3, parts=(), type=None, confidence=None)
    for _ in range(2):
        page = results.store.catalog.page(1)
        assert page is not None
        assert [entry.summary for entry in page.entries] == [summary]
        empty_redis.client.delete("carseg:result:a")  # it is not read again
    empty_redis.client.delete("carseg:result:b")
    page = results.store.catalog.page(2)
    assert page is not None
    assert [entry.digest for entry in page.entries] == ["a"]


def test_old_and_surplus_photos_expire(results: Results) -> None:
    for name in "cab":
        results.store.finish(results.accept(name), READY, {})
        time.sleep(0.01)
    results.accept("d")
    assert results.store.expire(before=0, keep=3) == []
    assert results.store.expire(before=0, keep=2) == ["c"]
    assert results.queue.status("c", "") is None
    assert sorted(results.store.expire(before=time.time() + 1, keep=100)) == ["a", "b"]
    assert results.queue.load().waiting == 1


def test_full_redis_is_reported(results: Results, empty_redis: RedisServer) -> None:
    results.store.check()
    empty_redis.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreError, match=REDIS_FULL) as caught:
            results.store.check()
        assert caught.value.full
    finally:
        empty_redis.client.config_set("maxmemory", 0)
    results.store.check()
