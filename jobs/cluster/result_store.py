"""Store results in Redis, for several processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.cluster import scripts
from jobs.cluster.redis_client import FULL, RedisClient
from jobs.job import WAITING
from jobs.store import Ended, Ending, PendingJob, StoreError

PREFIX = "carseg:"

_ENDING = ("state", "message", "version")  # fields of `photo:<hash>` with its outcome


class RedisResultStore:
    """The `jobs.store.Store` in Redis. `RedisQueue` works on the same keys.

    Args:
        calls: the Redis client.
        keep_seconds: seconds after which Redis expires a photo that has ended.
    """

    lasting = True

    def __init__(self, calls: RedisClient, keep_seconds: float) -> None:
        self._calls = calls
        self.keep_seconds = max(1, int(keep_seconds))

    def add(self, digest: str, owner: str) -> int:
        return int(self._calls.run(scripts.ADD, digest, owner, WAITING))

    def share(self, digest: str, owner: str) -> bool:
        return bool(self._calls.run(scripts.SHARE, digest, owner))

    def owns(self, digest: str, owner: str) -> bool:
        key = f"{PREFIX}owners:{digest}"
        return self._calls.ask(lambda redis: bool(redis.sismember(key, owner)))

    def disown(self, digest: str, owner: str) -> int:
        return int(self._calls.run(scripts.DISOWN, digest, owner))

    def begin(self, number: int) -> None:
        self._calls.run(scripts.BEGIN, number)

    def end(self, number: int, ending: Ending, counts: Mapping[str, float] | None = None) -> bool:
        """Store the outcome of a job, as `jobs.store.Store.end` describes.

        Args:
            number: number of the job.
            ending: outcome of the job.
            counts: added to the counters of all jobs if the outcome is stored.

        Returns:
            False if the job has ended before, or its photo was deleted or posted again since.
        """
        pairs = [value for pair in (counts or {}).items() for value in pair]
        fields = (ending.state, ending.message, ending.result or b"")
        return bool(
            self._calls.run(
                scripts.END, number, *fields, self.keep_seconds, ending.model_version, *pairs
            )
        )

    def load(self, digest: str) -> Ending | None:
        def question(redis: Any) -> tuple[list[bytes | None], bytes | None]:
            with redis.pipeline(transaction=False) as pipe:
                pipe.hmget(f"{PREFIX}photo:{digest}", *_ENDING)
                pipe.get(f"{PREFIX}result:{digest}")
                fields, result = pipe.execute()
            return fields, result

        fields, result = self._calls.ask(question)
        return _ending(fields, result)

    def outcomes(
        self, digests: Sequence[str], owner: str | None = None
    ) -> dict[str, Ending | None]:
        def question(redis: Any) -> list[Any]:
            with redis.pipeline(transaction=False) as pipe:
                for digest in digests:
                    pipe.hmget(f"{PREFIX}photo:{digest}", *_ENDING)
                    pipe.sismember(f"{PREFIX}owners:{digest}", owner or "")
                return pipe.execute()  # type: ignore[no-any-return]

        answers = self._calls.ask(question)
        return {
            digest: _ending(fields)
            for digest, fields, owns in zip(digests, answers[::2], answers[1::2], strict=True)
            if fields[0] is not None and (owner is None or owns)
        }

    def drop(self, digest: str) -> None:
        self._calls.run(scripts.DROP, digest)

    def ready(self, owner: str | None = None) -> list[str]:
        every = f"{PREFIX}ready"

        def question(redis: Any) -> list[bytes]:
            if owner is None:
                return redis.zrange(every, 0, -1)  # type: ignore[no-any-return]
            return redis.zinter({every: 1, f"{PREFIX}owned:{owner}": 0})  # type: ignore[no-any-return]

        return [digest.decode() for digest in self._calls.ask(question)]

    def ended(self) -> dict[str, Ending]:
        def question(redis: Any) -> list[tuple[int, str, Ending]]:
            digests = [digest.decode() for digest in redis.zrange(f"{PREFIX}ended", 0, -1)]
            with redis.pipeline(transaction=False) as pipe:
                for digest in digests:
                    pipe.hmget(f"{PREFIX}photo:{digest}", "number", *_ENDING)
                rows = pipe.execute()
            return [
                (int(number), digest, ending)
                for digest, (number, *fields) in zip(digests, rows, strict=True)
                if (ending := _ending(fields)) is not None
            ]

        found = sorted(self._calls.ask(question), key=lambda row: row[0])
        return {digest: ending for _, digest, ending in found}

    def unfinished(self) -> list[PendingJob]:
        def question(redis: Any) -> list[PendingJob]:
            rows = redis.zrange(f"{PREFIX}unfinished", 0, -1, withscores=True)
            with redis.pipeline(transaction=False) as pipe:
                for digest, _ in rows:
                    pipe.hget(f"{PREFIX}photo:{digest.decode()}", "attempts")
                attempts = pipe.execute()
            return [
                PendingJob(digest.decode(), int(number), int(tried or 0))
                for (digest, number), tried in zip(rows, attempts, strict=True)
            ]

        return self._calls.ask(question)

    def expire(self, before: float, keep: int) -> list[str]:
        gone: list[str] = []
        while found := self._calls.run(scripts.EXPIRE, repr(before), keep):
            gone += [digest.decode() for digest in found]
        return gone

    def check(self) -> None:
        if not self._calls.run(scripts.CHECK):
            raise StoreError(FULL, full=True)

    def close(self) -> None:
        self._calls.close()


def _ending(fields: Sequence[bytes | None], result: bytes | None = None) -> Ending | None:
    """Return the outcome of a photo, or None while it has none.

    Args:
        fields: values of the fields `_ENDING`.
        result: the packed result, if it was requested.
    """
    state, message, version = fields
    if message is None or state not in (b"Ready", b"Error"):
        return None
    name: Ended = "Ready" if state == b"Ready" else "Error"
    return Ending(name, message.decode(), result, (version or b"").decode())
