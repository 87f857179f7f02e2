"""Define the interface between the routes and the job engines.

`jobs.thread_engine.ThreadEngine` processes photos in threads of this process,
`jobs.cluster.engine.RedisEngine` with Celery workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from jobs.catalog import Catalog
from jobs.messages import queue_full
from jobs.store import State
from photo_result import Result, Stage


class ClosingError(Exception):
    """The service is stopping and accepts no more photos."""


class QueueFullError(Exception):
    """The queue is full. The message may be shown to clients.

    Attributes:
        retry_after: estimated whole seconds until half of the queue is done, 1 to 300.
    """

    def __init__(self, limit: int, retry_after: int) -> None:
        super().__init__(queue_full(limit, retry_after))
        self.retry_after = retry_after

    @classmethod
    def until_half(cls, limit: int, waiting: int, seconds: float, workers: int) -> QueueFullError:
        """Build the error, with a retry time at which half the queue should be done.

        Args:
            limit: maximum number of photos in the queue.
            waiting: number of photos in the queue now.
            seconds: mean seconds per photo.
            workers: number of photos processed concurrently.

        Returns:
            The error; its `retry_after` is between 1 and 300 seconds.
        """
        return cls(limit, min(300, max(1, math.ceil(seconds * waiting / workers / 2))))


class PhotoStatus(NamedTuple):
    """Status of one photo at the time of the call.

    A photo that is Ready and then posted for damage stays Ready, with its result, until the result
    with damage is there. Until then `damage_pending` is True. If there is none in the end,
    `damage_error` says why.
    """

    state: State
    message: str
    result: Result | None  # None unless the state is Ready
    position: int | None = None  # in the queue, only while Uploaded; 1 is next
    stage: Stage | None = None  # current stage, only while Processing
    damage_pending: bool = False  # only while Ready
    damage_error: str | None = None  # only while Ready; one sentence on the last examination

    @property
    def has_ended(self) -> bool:
        """True if the photo is Ready or Error."""
        return self.state in ("Ready", "Error")

    @property
    def is_final(self) -> bool:
        """True if the photo is Ready or Error, and no examination for damage is pending."""
        return self.has_ended and not self.damage_pending


@dataclass(frozen=True)
class EngineHealth:
    """Load and problems of the service.

    Attributes:
        waiting: number of photos in the queue.
        limit: maximum number of photos in the queue.
        running: number of photos being processed.
        stuck: number of timed-out jobs that still occupy a thread.
        problem: one sentence on why photos cannot be processed or results cannot be stored now;
            None if they can. A full queue is no problem.
        workers: number of live worker processes; None if threads of this process do the work.
    """

    waiting: int
    limit: int
    running: int
    stuck: int
    problem: str | None
    workers: int | None = None


class Engine(Protocol):
    """Job engine of the service: all its photos and the workers that process them.

    All methods are safe to call from several threads. Every method may raise
    `jobs.store.StoreError`. Calls with an `owner` only concern the photos of that owner; the
    owner "" sees all photos.
    """

    @property
    def catalog(self) -> Catalog:
        """The catalogue: file names, summaries and feedback of the photos, for their owners."""
        ...

    def accept(
        self,
        data: bytes,
        owner: str = "",
        file_name: str | None = None,
        *,
        damage: bool = False,
    ) -> tuple[str, bool]:
        """Queue a photo, unless its job is pending or its result is still valid.

        A photo is queued again if it ended in Error, or if other models than the current ones
        made its result. This applies to all its owners, and deletes the earlier result.

        With `damage` it is also queued again if its result lacks damage, or has that of another
        damage network. Then it stays Ready with the earlier result until the new one is there, and
        for good if there is none.

        Args:
            data: the image file.
            owner: owner that posts the photo.
            file_name: becomes its newest name for this owner, see
                `jobs.catalog.plain_file_name`; None to add no name.
            damage: examine the photo for damage. A pending photo is examined, too.

        Returns:
            The SHA-256 of the bytes in hex, and True if the photo is new to this owner or is
            queued again.

        Raises:
            ImageError: the bytes are not an image that the service accepts.
            QueueFullError: the queue is full.
            ClosingError: the service is stopping.
        """
        ...

    def find(self, digest: str, owner: str = "") -> PhotoStatus | None:
        """Return the status of a photo; None if this owner does not know it."""
        ...

    def find_many(self, digests: Sequence[str], owner: str = "") -> list[PhotoStatus | None]:
        """Return the statuses of many photos, in the order of `digests`.

        Each is the same as from `find`, but without the result.
        """
        ...

    def wait(
        self, digest: str, seen: PhotoStatus | None, seconds: float, owner: str = ""
    ) -> PhotoStatus | None:
        """Wait until the status of a photo differs from `seen`, and return the status.

        Return at once if the status can no longer change, and while the service stops.

        Args:
            digest: hash of the photo.
            seen: status that the caller already has.
            seconds: timeout, after which the current status is returned.
            owner: owner that asks.
        """
        ...

    def wait_for_end(self, digest: str, seconds: float, owner: str = "") -> PhotoStatus | None:
        """Wait until a photo is Ready or Error, and return its status.

        Return at once if this owner does not know the photo, and while the service stops.

        Args:
            digest: hash of the photo.
            seconds: timeout, after which the current status is returned.
            owner: owner that asks.
        """
        ...

    def ready(self, owner: str = "") -> list[str]:
        """Return the hashes of the photos that are Ready, in the order of acceptance."""
        ...

    def forget(self, digest: str, owner: str = "") -> bool:
        """Delete a photo with its result, and cancel its job.

        A photo of several owners stays with the other owners.

        Returns:
            True if this owner knew the photo.
        """
        ...

    def health(self) -> EngineHealth:
        """Return the load and the problem of the service, if any."""
        ...

    def counts(self) -> dict[str, float]:
        """Return the counters of the jobs that ended, named as in `jobs.counts`."""
        ...

    @property
    def stuck(self) -> int:
        """Number of timed-out jobs that still occupy a thread of this process."""
        ...

    @property
    def is_closing(self) -> bool:
        """True while the service is stopping."""
        ...

    def resume(self) -> int:
        """Queue the photos that an earlier run left unfinished; return their number."""
        ...

    def close(self) -> None:
        """Stop accepting photos, and wait for the running jobs of this process."""
        ...
