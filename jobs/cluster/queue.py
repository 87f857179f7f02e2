"""The photos that wait or are worked on, in Redis: who takes one, has it until a lease lapses.

Every method may raise StoreError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jobs.cluster import scripts
from jobs.cluster.redis_client import FULL, RedisClient
from jobs.cluster.result_store import PREFIX
from jobs.job import ATTEMPTS, LOST, RUNNING, TWICE, WAITING, QueueFullError
from jobs.store import State, StoreError
from photo_result import Stage


class Row(NamedTuple):
    """Where a photo stands; `stage` and `position` as in `job.Standing`."""

    number: int
    state: State
    message: str
    stage: Stage | None
    position: int | None


class Claim(NamedTuple):
    """An attempt at a photo: who has it may work on it, until the lease lapses.

    Attributes:
        name: of the attempt.
        number: of the try in the store.
        waited: seconds since the photo was accepted.
        upload: the file; empty where it was not asked for.
    """

    name: str
    digest: str
    number: int
    waited: float
    upload: bytes = b""


class Forgotten(NamedTuple):
    """A photo that was forgotten before it had ended, after so many seconds."""

    waited: float
    worked: float


class Swept(NamedTuple):
    """What a look at all leases has found.

    Attributes:
        missing: how many more photos wait than there are tasks for them.
        lapsed: those that nobody worked on any more, which wait again.
        given_up: the same, at their last attempt: they are in Error.
    """

    missing: int
    lapsed: list[str]
    given_up: list[str]


class Load(NamedTuple):
    """How many photos wait and are worked on, and how many workers were there lately."""

    waiting: int
    running: int
    workers: int


class RedisQueue:
    """All that is done with a photo between its acceptance and its end.

    Args:
        calls: the Redis.
        lease: seconds for which a worker that is not heard of has its photo.
        keep_seconds: after which Redis forgets what has ended.
    """

    def __init__(self, calls: RedisClient, lease: float, keep_seconds: float) -> None:
        self._calls, self.lease = calls, lease
        self._keep_seconds = max(1, int(keep_seconds))

    def accept(
        self,
        digest: str,
        owner: str,
        model_version: str,
        limit: int,
        workers: int,
        upload: bytes = b"",
    ) -> bool | None:
        """Let a photo wait, unless it is known and need not be worked on anew.

        One that ended in Error is worked on anew, and one that is Ready with another version.

        Args:
            digest: its hash.
            owner: whose it is; "" where all see everything.
            model_version: of the models in use now.
            limit: how many may wait.
            workers: that are likely to work, if none does now.
            upload: the file; without it nothing is done but a look.

        Returns:
            Whether the photo is new to this owner; None where it would be taken, but there is no
            upload.

        Raises:
            QueueFullError: too many wait.
        """
        became, *figures = self._calls.run(
            scripts.ACCEPT, digest, owner, limit, WAITING, model_version, upload
        )
        if became == b"crowded":
            waiting, running, seconds = int(figures[0]), int(figures[1]), float(figures[2])
            raise QueueFullError.until_half(limit, waiting, seconds, running or workers)
        if became == b"full":
            raise StoreError(FULL, full=True)
        if became == b"open":
            return None
        return became == b"taken" or bool(figures[0])

    def standing(self, digest: str, owner: str) -> Row | None:
        """Where a photo stands; None if it is unknown to this owner."""
        return self.standings([digest], owner)[0]

    def standings(self, digests: Sequence[str], owner: str) -> list[Row | None]:
        """Where many photos stand at one moment; None for those unknown to this owner."""
        return [_row(found) for found in self._calls.run(scripts.STANDINGS, owner, *digests)]

    def forget(self, digest: str, owner: str) -> bool | Forgotten:
        """Take a photo from an owner, and forget it with the last one; False if it was unknown."""
        done, *seconds = self._calls.run(scripts.FORGET, owner, digest)
        return Forgotten(*map(float, seconds)) if seconds else bool(done)

    def claim(self, name: str) -> tuple[Claim | None, list[str]]:
        """Take the photo that waits for longest.

        Args:
            name: of the attempt; nobody may have used it before.

        Returns:
            The photo, None if none waits; and hashes of photos that ended in Error because their
            uploads were gone.
        """
        lost, *found = self._calls.run(
            scripts.CLAIM, name, self.lease, RUNNING, LOST, self._keep_seconds
        )
        gone = [digest.decode() for digest in lost]
        if not found:
            return None, gone
        digest, number, waited, upload = found
        return Claim(name, digest.decode(), int(number), float(waited), upload), gone

    def renew(self, claim: Claim) -> bool:
        """Begin the lease anew; False where it has lapsed or the photo was forgotten."""
        return bool(self._calls.run(scripts.RENEW, claim.digest, claim.name, self.lease))

    def stage(self, claim: Claim, stage: Stage) -> bool:
        """Tell what is being done; False where nobody wants the result any more."""
        return bool(self._calls.run(scripts.STAGE, claim.number, claim.name, stage))

    def claimed(self, beginning: str) -> Claim | None:
        """The photo that is worked on under a name that begins like this."""
        found = self._calls.run(scripts.CLAIMED, beginning)
        if not found:
            return None
        name, digest, number, waited = found
        return Claim(name.decode(), digest.decode(), int(number), float(waited))

    def give_back(self, claim: Claim) -> bool:
        """Let a photo wait again at once; True where it was tried too often and ends in Error."""
        arguments = (ATTEMPTS, WAITING, TWICE, self._keep_seconds)
        return bool(self._calls.run(scripts.GIVE_BACK, claim.digest, claim.name, *arguments))

    def sweep(self, pause: float) -> Swept | None:
        """Let photos wait again whose leases have lapsed.

        Args:
            pause: seconds between two sweeps, whoever does them; None is returned if the last one
                is not that old.
        """
        arguments = (pause, self.lease, ATTEMPTS, WAITING, TWICE, self._keep_seconds)
        done, missing, lapsed, given_up = self._calls.run(scripts.SWEEP, *arguments)
        if not done:
            return None
        return Swept(missing, [d.decode() for d in lapsed], [d.decode() for d in given_up])

    def beat(self, worker: str) -> None:
        """Say that a worker is there."""
        self._calls.run(scripts.BEAT, worker)

    def leave(self, worker: str) -> None:
        """Say that a worker is there no more."""
        self._calls.ask(lambda redis: redis.zrem(f"{PREFIX}workers", worker))

    def load(self) -> Load:
        """How much is there to do, and how many do it."""
        return Load(*self._calls.run(scripts.HEALTH, self.lease))

    def counts(self) -> dict[str, float]:
        """What was counted of the jobs that ended, as `RedisResultStore.end` was told."""
        found = self._calls.ask(lambda redis: redis.hgetall(f"{PREFIX}counts"))
        return {name.decode(): float(value) for name, value in found.items()}  # type: ignore[union-attr]


def _row(found: list[Any] | None) -> Row | None:
    if not found:
        return None
    number, state, message, stage, position = found
    return Row(
        int(number), state.decode(), message.decode(), stage.decode() or None, position or None
    )
