"""A store that several processes share, in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster import scripts
from cluster.calls import FULL, RedisCalls
from job import WAITING
from store import Ended, Ending, StoreError, Unfinished

PREFIX = "carseg:"


class RedisStore:
    """A `store.Store` in Redis; what else is known of a photo there is in `queue`.

    Args:
        calls: the Redis.
        keep_seconds: after which Redis itself forgets what has ended.
    """

    lasting = True

    def __init__(self, calls: RedisCalls, keep_seconds: float) -> None:
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
        """See `store.Store.end`; False also where the try has ended before.

        Args:
            number, ending: as there.
            counts: added to what is counted of all jobs, if the ending is taken.
        """
        pairs = [value for pair in (counts or {}).items() for value in pair]
        result = ending.result or b""
        return bool(
            self._calls.run(
                scripts.END, number, ending.state, ending.message, result, self.keep_seconds, *pairs
            )
        )

    def load(self, digest: str) -> Ending | None:
        def question(redis: Any) -> tuple[list[bytes | None], bytes | None]:
            with redis.pipeline(transaction=False) as pipe:
                pipe.hmget(f"{PREFIX}photo:{digest}", "state", "message")
                pipe.get(f"{PREFIX}result:{digest}")
                fields, result = pipe.execute()
            return fields, result

        (state, message), result = self._calls.ask(question)
        return _ending(state, message, result)

    def outcomes(
        self, digests: Sequence[str], owner: str | None = None
    ) -> dict[str, Ending | None]:
        def question(redis: Any) -> list[Any]:
            with redis.pipeline(transaction=False) as pipe:
                for digest in digests:
                    pipe.hmget(f"{PREFIX}photo:{digest}", "state", "message")
                    pipe.sismember(f"{PREFIX}owners:{digest}", owner or "")
                return pipe.execute()  # type: ignore[no-any-return]

        answers = self._calls.ask(question)
        return {
            digest: _ending(state, message, None)
            for digest, (state, message), owns in zip(
                digests, answers[::2], answers[1::2], strict=True
            )
            if state is not None and (owner is None or owns)
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

    def ended(self) -> dict[str, Ended]:
        def question(redis: Any) -> list[tuple[int, str, Ended]]:
            digests = [digest.decode() for digest in redis.zrange(f"{PREFIX}ended", 0, -1)]
            with redis.pipeline(transaction=False) as pipe:
                for digest in digests:
                    pipe.hmget(f"{PREFIX}photo:{digest}", "number", "state")
                rows = pipe.execute()
            return sorted(
                (int(number), digest, state.decode())
                for digest, (number, state) in zip(digests, rows, strict=True)
                if number is not None
            )

        return {digest: state for _, digest, state in self._calls.ask(question)}

    def unfinished(self) -> list[Unfinished]:
        def question(redis: Any) -> list[Unfinished]:
            rows = redis.zrange(f"{PREFIX}unfinished", 0, -1, withscores=True)
            with redis.pipeline(transaction=False) as pipe:
                for digest, _ in rows:
                    pipe.hget(f"{PREFIX}photo:{digest.decode()}", "attempts")
                attempts = pipe.execute()
            return [
                Unfinished(digest.decode(), int(number), int(tried or 0))
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


def _ending(state: bytes | None, message: bytes | None, result: bytes | None) -> Ending | None:
    """How a photo ended, out of its fields; None while it has not."""
    if message is None or state not in (b"Ready", b"Error"):
        return None
    return Ending("Ready" if state == b"Ready" else "Error", message.decode(), result)
