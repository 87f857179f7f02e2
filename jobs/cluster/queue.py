"""Queue photos in Redis, and lease each one to the worker that claims it.

Every method may raise `jobs.store.StoreError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jobs.catalog import MOST_NAMES
from jobs.cluster import scripts
from jobs.cluster.redis_client import KEY_PREFIX, RedisClient
from jobs.engine import QueueFullError
from jobs.job import ATTEMPTS
from jobs.messages import LOST, REDIS_FULL, RUNNING, STOPPED_TWICE, WAITING
from jobs.store import State, StoreError
from photo_result import Stage


class PhotoRow(NamedTuple):
    """The status of a photo; `stage` to `damage_error` as in `jobs.engine.PhotoStatus`.

    `damage_version` is that of its result; "" without damage.
    """

    number: int
    state: State
    message: str
    stage: Stage | None
    position: int | None
    damage_pending: bool = False
    damage_error: str | None = None
    damage_version: str = ""


class Claim(NamedTuple):
    """An attempt at a job. Its worker may process the photo until the lease lapses.

    Attributes:
        name: name of the attempt.
        digest: hash of the photo.
        number: number of the job in the store.
        waited: seconds from the acceptance of the photo to the claim.
        upload: the file; empty if it was not requested.
        damage: True if the photo is to be examined for damage.
    """

    name: str
    digest: str
    number: int
    waited: float
    upload: bytes = b""
    damage: bool = False


class Cancelled(NamedTuple):
    """The seconds of waiting and of work on a photo that was deleted before it ended."""

    waited: float
    worked: float


class SweepReport(NamedTuple):
    """The result of a sweep over all leases.

    Attributes:
        missing: number of waiting photos that have no task.
        lapsed: hashes of photos whose lease has lapsed; they wait again.
        given_up: hashes of photos whose lease has lapsed at the last attempt; they are in Error.
    """

    missing: int
    lapsed: list[str]
    given_up: list[str]


class QueueLoad(NamedTuple):
    """The numbers of waiting photos, of running photos and of workers seen lately."""

    waiting: int
    running: int
    workers: int


class RedisQueue:
    """The photos of a cluster from their acceptance to their outcome.

    Args:
        redis: the Redis client.
        lease: seconds after which a claim lapses unless it is renewed.
        keep_seconds: seconds after which Redis expires a photo that has ended.
    """

    def __init__(self, redis: RedisClient, lease: float, keep_seconds: float) -> None:
        self._redis, self.lease = redis, lease
        self._keep_seconds = max(1, int(keep_seconds))

    def accept(
        self,
        digest: str,
        owner: str,
        model_version: str,
        limit: int,
        workers: int,
        upload: bytes = b"",
        file_name: str | None = None,
        damage_version: str = "",
    ) -> bool | None:
        """Queue a photo, unless it is known and need not be processed again.

        A photo is processed again if it ended in Error, or if another version of the models made
        its result.

        Args:
            digest: hash of the photo.
            owner: owner of the photo; "" if all clients see all photos.
            model_version: version of the models in use now.
            limit: largest number of waiting photos.
            workers: number of workers to assume for the retry time if no photo is running.
            upload: the file; if it is empty, the photo is only looked up, not queued.
            file_name: name to add for this owner if the photo is known or queued.
            damage_version: version of the damage network in use now; "" if damage is not asked for.
                A Ready photo that lacks damage of this version is processed again, and keeps its
                result meanwhile.

        Returns:
            True if the photo is new to this owner, else False; None if the photo would be queued
            but `upload` is empty.

        Raises:
            QueueFullError: `limit` photos wait already.
        """
        became, *figures = self._redis.run_script(
            scripts.ACCEPT,
            digest,
            owner,
            limit,
            WAITING,
            model_version,
            upload,
            file_name or "",
            MOST_NAMES,
            damage_version,
        )
        if became == b"crowded":
            waiting, running, seconds = int(figures[0]), int(figures[1]), float(figures[2])
            raise QueueFullError.until_half(limit, waiting, seconds, running or workers)
        if became == b"full":
            raise StoreError(REDIS_FULL, full=True)
        if became == b"open":
            return None
        return became == b"taken" or bool(figures[0])

    def status(self, digest: str, owner: str) -> PhotoRow | None:
        """Return the status of a photo, or None if it is unknown to this owner."""
        return self.statuses([digest], owner)[0]

    def statuses(self, digests: Sequence[str], owner: str) -> list[PhotoRow | None]:
        """Return the statuses of photos at one moment, None for each unknown to this owner."""
        return [_row(found) for found in self._redis.run_script(scripts.STATUSES, owner, *digests)]

    def forget(self, digest: str, owner: str) -> bool | Cancelled:
        """Remove an owner from a photo, and delete the photo with its last owner.

        Returns:
            False if the photo was unknown to this owner; a `Cancelled` if it was deleted before
            it ended; else True.
        """
        done, *seconds = self._redis.run_script(scripts.FORGET, owner, digest)
        return Cancelled(*map(float, seconds)) if seconds else bool(done)

    def claim(self, name: str) -> tuple[Claim | None, list[str]]:
        """Claim the photo that has waited longest.

        Args:
            name: name of the attempt; it must never have been used before.

        Returns:
            The claim, or None if no photo waits; and the hashes of photos that ended in Error
            because their uploads were gone.
        """
        lost, *found = self._redis.run_script(
            scripts.CLAIM, name, self.lease, RUNNING, LOST, self._keep_seconds
        )
        gone = [digest.decode() for digest in lost]
        if not found:
            return None, gone
        digest, number, waited, upload, damage = found
        claim = Claim(name, digest.decode(), int(number), float(waited), upload, bool(damage))
        return claim, gone

    def renew(self, claim: Claim) -> bool:
        """Renew the lease. Return False if it has lapsed or the photo was deleted."""
        return bool(self._redis.run_script(scripts.RENEW, claim.digest, claim.name, self.lease))

    def advance(self, claim: Claim, stage: Stage) -> bool:
        """Record the current stage. Return False if the result is no longer wanted."""
        return bool(self._redis.run_script(scripts.ADVANCE, claim.number, claim.name, stage))

    def find_claim(self, beginning: str) -> Claim | None:
        """Return the running claim whose name starts with `beginning`, without its upload."""
        found = self._redis.run_script(scripts.FIND_CLAIM, beginning)
        if not found:
            return None
        name, digest, number, waited = found
        return Claim(name.decode(), digest.decode(), int(number), float(waited))

    def give_back(self, claim: Claim) -> bool:
        """Requeue a photo at once. Return True if it ended in Error after too many attempts."""
        arguments = (ATTEMPTS, WAITING, STOPPED_TWICE, self._keep_seconds)
        return bool(self._redis.run_script(scripts.GIVE_BACK, claim.digest, claim.name, *arguments))

    def sweep(self, pause: float) -> SweepReport | None:
        """Requeue the photos whose leases have lapsed.

        Args:
            pause: seconds between two sweeps, counted over all processes.

        Returns:
            The result of the sweep; None if the last sweep of any process is too recent.
        """
        arguments = (pause, self.lease, ATTEMPTS, WAITING, STOPPED_TWICE, self._keep_seconds)
        done, missing, lapsed, given_up = self._redis.run_script(scripts.SWEEP, *arguments)
        if not done:
            return None
        return SweepReport(missing, [d.decode() for d in lapsed], [d.decode() for d in given_up])

    def heartbeat(self, worker: str) -> None:
        """Record a heartbeat of a worker."""
        self._redis.run_script(scripts.HEARTBEAT, worker)

    def leave(self, worker: str) -> None:
        """Remove a worker from the list of workers."""
        self._redis.call(lambda redis: redis.zrem(f"{KEY_PREFIX}workers", worker))

    def load(self) -> QueueLoad:
        """Return the numbers of waiting photos, running photos and workers."""
        return QueueLoad(*self._redis.run_script(scripts.LOAD, self.lease))

    def counts(self) -> dict[str, float]:
        """Return the counters of ended jobs that `RedisResultStore.finish` has added up."""
        found = self._redis.call(lambda redis: redis.hgetall(f"{KEY_PREFIX}counts"))
        return {name.decode(): float(value) for name, value in found.items()}  # type: ignore[union-attr]


def _row(found: list[Any] | None) -> PhotoRow | None:
    if not found:
        return None
    number, state, message, stage, position, examine, damage_version, damage_error = found
    is_ready = state == b"Ready"
    return PhotoRow(
        int(number),
        state.decode(),
        message.decode(),
        None if is_ready else stage.decode() or None,
        position or None,
        is_ready and bool(examine),
        damage_error.decode() or None,
        damage_version.decode(),
    )
