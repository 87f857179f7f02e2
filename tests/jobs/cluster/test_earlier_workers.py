"""Photos posted for damage stay whole while workers of a release without damage still run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.cluster.engine import RedisEngine, open_redis_engine
from jobs.cluster.queue import Claim, RedisQueue
from jobs.cluster.redis_client import RedisClient
from jobs.cluster.result_store import RedisResultStore
from jobs.engine import PhotoStatus
from jobs.outcome import to_store
from photo_result import Result
from segment_interface import decode_photo
from settings import Settings
from tests.support.fakes import paint_hood
from tests.support.pictures import encoded, noise
from tests.support.redis_cluster import RedisServer

PHOTO, OTHER, LAST = (encoded(noise(20, width)) for width in (30, 31, 32))
# The claim of releases without damage, but for photos without an upload.
EARLIER_CLAIM = """
local P = 'carseg:'
local digest = redis.call('ZRANGE', P .. 'waiting', 0, 0)[1]
if not digest then return nil end
redis.call('ZREM', P .. 'waiting', digest)
redis.call('HSET', P .. 'photo:' .. digest, 'state', 'Processing', 'claim', ARGV[1])
redis.call('ZADD', P .. 'running', ARGV[2], digest)
return {digest, redis.call('HGET', P .. 'photo:' .. digest, 'number')}
"""


class Cluster:
    """A web process, and workers of both releases, step by step."""

    def __init__(self, redis: RedisServer) -> None:
        self._redis = redis.client
        self._client = RedisClient(redis.url)
        self.queue = RedisQueue(self._client, lease=60, keep_seconds=100)
        self._store = RedisResultStore(self._client, keep_seconds=100)
        settings = Settings(broker_url=redis.url)  # type: ignore[arg-type]
        self.engine: RedisEngine = open_redis_engine(settings, "models", "damage")

    def post(self, photo: bytes, *, damage: bool) -> str:
        return self.engine.accept(photo, damage=damage)[0]

    def find(self, digest: str) -> PhotoStatus:
        status = self.engine.find(digest)
        assert status is not None
        return status

    def claim(self, name: str) -> Claim:
        claim, _ = self.queue.claim(name)
        assert claim is not None
        return claim

    def end(self, claim: Claim) -> None:
        """Store the result of a worker, with damage if the claim says so."""
        analysis = paint_hood(decode_photo(claim.upload, 10_000))
        result = Result.of(analysis, "models", "damage")
        if claim.damage:
            result = Result(**(vars(result) | {"damages": [], "damage_version": "damage"}))
        assert self._store.finish(claim.number, to_store(result.message(), result), {})

    def claim_as_earlier(self) -> Claim | None:
        found: Any = self._redis.eval(EARLIER_CLAIM, 0, "earlier", "4000000000")
        if found is None:
            return None
        digest, number = found
        return Claim("earlier", digest.decode(), int(number), 0.0, PHOTO)

    def leave_wish(self, digest: str) -> None:
        """Leave a photo that is Ready as an earlier worker does: its end removes no wish."""
        self._redis.hset(f"carseg:photo:{digest}", "examine", "1")

    def close(self) -> None:
        self.engine.close()
        self._client.close()


@pytest.fixture
def cluster(empty_redis: RedisServer) -> Iterator[Cluster]:
    made = Cluster(empty_redis)
    yield made
    made.close()


def test_earlier_worker_sees_no_photo_posted_for_damage(cluster: Cluster) -> None:
    digest = cluster.post(PHOTO, damage=True)
    assert cluster.claim_as_earlier() is None
    cluster.end(cluster.claim("new"))
    status = cluster.find(digest)
    assert status.result is not None
    assert status.result.damages == []


def test_earlier_worker_sees_no_examination(cluster: Cluster) -> None:
    digest = cluster.post(PHOTO, damage=False)
    cluster.end(cluster.claim("first"))
    cluster.post(PHOTO, damage=True)
    assert cluster.claim_as_earlier() is None
    assert cluster.find(digest).state == "Ready"
    assert cluster.find(digest).damage_pending
    cluster.end(cluster.claim("second"))
    assert cluster.find(digest).is_final
    assert cluster.claim_as_earlier() is None


def test_waiting_photo_asked_for_damage_moves(cluster: Cluster) -> None:
    digest = cluster.post(PHOTO, damage=False)
    other = cluster.post(OTHER, damage=False)
    cluster.post(PHOTO, damage=True)
    last = cluster.post(LAST, damage=True)
    assert [cluster.find(d).position for d in (digest, other, last)] == [1, 2, 3]
    assert cluster.engine.health().waiting == 3
    claimed = cluster.claim_as_earlier()
    assert claimed is not None
    assert claimed.digest == other
    assert [cluster.find(d).position for d in (digest, last)] == [1, 2]
    assert [cluster.claim(f"new {n}").digest for n in range(2)] == [digest, last]


def test_wish_that_an_earlier_worker_left(cluster: Cluster) -> None:
    """Post for damage again, after a worker without damage ended a photo that was to have it."""
    digest = cluster.post(PHOTO, damage=False)
    cluster.end(cluster.claim("new"))
    cluster.leave_wish(digest)
    assert cluster.find(digest).is_final
    assert cluster.post(PHOTO, damage=True) == digest
    assert cluster.find(digest).damage_pending
    cluster.end(cluster.claim("newer"))
    result = cluster.find(digest).result
    assert result is not None
    assert result.damages == []


def test_lapsed_photo_waits_in_its_place(cluster: Cluster) -> None:
    digest = cluster.post(PHOTO, damage=True)
    cluster.post(OTHER, damage=True)
    claim = cluster.claim("new")
    assert not cluster.queue.give_back(claim)
    assert cluster.claim_as_earlier() is None
    assert cluster.find(digest).position == 1
    assert cluster.engine.forget(digest)
    assert cluster.find(hashlib.sha256(OTHER).hexdigest()).position == 1
