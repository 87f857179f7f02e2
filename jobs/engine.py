"""Define the interface between the routes and the job engines.

`jobs.thread_engine.ThreadEngine` processes photos in threads of this process,
`jobs.cluster.engine.RedisEngine` with Celery workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jobs.job import EngineHealth, PhotoStatus


class Engine(Protocol):
    """Job engine of the service: all its photos and the workers that process them.

    All methods are safe to call from several threads. Every method may raise
    `jobs.store.StoreError`. Calls with an `owner` only concern the photos of that owner; the
    owner "" sees all photos.
    """

    def accept(self, data: bytes, owner: str = "") -> tuple[str, bool]:
        """Queue a photo, unless its job is pending or its result is still valid.

        A photo is queued again if it ended in Error, or if other models than the current ones
        made its result. This applies to all its owners, and deletes the earlier result.

        Args:
            data: the image file.
            owner: owner that posts the photo.

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
        """Return the load and the problems of the service."""
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
