"""Store results in Redis, for several processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.cluster import scripts
from jobs.cluster.catalog import RedisCatalog
from jobs.cluster.redis_client import KEY_PREFIX, RedisClient
from jobs.messages import REDIS_FULL
from jobs.store import FinalState, StoredOutcome, StoreError

_OUTCOME = ("state", "message", "version")  # fields of `photo:<hash>` with its outcome


class RedisResultStore:
    """Results of a cluster, under the keys of `jobs.cluster.queue.RedisQueue`.

    Every method may raise `jobs.store.StoreError`.

    Args:
        redis: the Redis client.
        keep_seconds: seconds after which Redis expires a photo that has ended.

    Attributes:
        catalog: what is kept about the photos for their owners.
    """

    def __init__(self, redis: RedisClient, keep_seconds: float) -> None:
        self._redis = redis
        self._keep_seconds = max(1, int(keep_seconds))
        self.catalog = RedisCatalog(redis)

    def finish(self, number: int, outcome: StoredOutcome, counts: Mapping[str, float]) -> bool:
        """Store the outcome of a job.

        Args:
            number: number of the job.
            outcome: outcome of the job.
            counts: added to the counters of all jobs if the outcome is stored.

        Returns:
            False if the job has ended before, or its photo was deleted or posted again since.
        """
        pairs = [value for pair in counts.items() for value in pair]
        fields = (outcome.state, outcome.message, outcome.result or b"")
        damage = ("", "") if outcome.damage_version is None else ("damage", outcome.damage_version)
        about = (self._keep_seconds, outcome.model_version, outcome.summary, *damage)
        return bool(self._redis.run_script(scripts.FINISH, number, *fields, *about, *pairs))

    def load(self, digest: str) -> StoredOutcome | None:
        """Return the outcome of a photo; None if it is unknown or has not ended."""

        def read(redis: Any) -> tuple[list[bytes | None], bytes | None]:
            with redis.pipeline(transaction=False) as pipe:
                pipe.hmget(f"{KEY_PREFIX}photo:{digest}", *_OUTCOME)
                pipe.get(f"{KEY_PREFIX}result:{digest}")
                fields, result = pipe.execute()
            return fields, result

        (state, message, version), result = self._redis.call(read)
        if message is None or state not in (b"Ready", b"Error"):
            return None
        name: FinalState = "Ready" if state == b"Ready" else "Error"
        return StoredOutcome(name, message.decode(), result, (version or b"").decode())

    def ready(self, owner: str | None = None) -> list[str]:
        """Return the hashes of the photos that are Ready, in the order of acceptance.

        Args:
            owner: return only the photos of this owner; None for all photos.
        """
        every = f"{KEY_PREFIX}ready"

        def read(redis: Any) -> list[bytes]:
            if owner is None:
                return redis.zrange(every, 0, -1)  # type: ignore[no-any-return]
            return redis.zinter({every: 1, f"{KEY_PREFIX}owned:{owner}": 0})  # type: ignore[no-any-return]

        return [digest.decode() for digest in self._redis.call(read)]

    def expire(self, before: float, keep: int) -> list[str]:
        """Delete old outcomes together with their photos, as `jobs.store.Store.expire` does."""
        gone: list[str] = []
        while found := self._redis.run_script(scripts.EXPIRE, repr(before), keep):
            gone += [digest.decode() for digest in found]
        return gone

    def check(self) -> None:
        """Raise StoreError if Redis has no memory for photos now."""
        if not self._redis.run_script(scripts.CHECK):
            raise StoreError(REDIS_FULL, full=True)
