"""What the routes need of whatever takes photos and has them worked on.

`jobs.Jobs` does it in threads of this process, `cluster.ClusterJobs` with Celery workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jobs.job import EngineHealth, PhotoStatus


class Engine(Protocol):
    """All photos that a service knows, and those who work on them. Safe for several threads.

    Every method may raise `store.StoreError`. An `owner` is whose photos a call is about; "" where
    all see everything.
    """

    def accept(self, data: bytes, owner: str = "") -> tuple[str, bool]:
        """Take a photo, unless it is known and need not be worked on anew.

        One that ended in Error is, and one whose result was made by other models than those in
        use now: it waits again for all its owners, and the earlier result is gone.

        Args:
            data: the file.
            owner: whose photo it is.

        Returns:
            The SHA-256 of the bytes in hex, and whether it is new to this owner.

        Raises:
            ImageError: the bytes are no picture that we take.
            QueueFullError: too many wait.
            ClosingError: the service is stopping.
        """
        ...

    def find(self, digest: str, owner: str = "") -> PhotoStatus | None:
        """Where a photo stands, None if it is unknown to this owner."""
        ...

    def find_many(self, digests: Sequence[str], owner: str = "") -> list[PhotoStatus | None]:
        """Where many photos stand, each as `find` tells it, but without results."""
        ...

    def wait(
        self, digest: str, seen: PhotoStatus | None, seconds: float, owner: str = ""
    ) -> PhotoStatus | None:
        """Where a photo stands, as soon as that is not `seen`, or when the time is over.

        Returns at once where nothing more will happen to it, and while the service stops.
        """
        ...

    def wait_for_end(self, digest: str, seconds: float, owner: str = "") -> PhotoStatus | None:
        """Where a photo stands, as soon as it is Ready or Error, or when the time is over.

        Returns at once where it is unknown to this owner, and while the service stops.
        """
        ...

    def ready(self, owner: str = "") -> list[str]:
        """Hashes of the photos that are Ready, in the order in which they were taken."""
        ...

    def forget(self, digest: str, owner: str = "") -> bool:
        """Cancel a photo that waits or is worked on, and forget what is known of it.

        What several owners have posted stays with the others.

        Returns:
            Whether it was known to this owner.
        """
        ...

    def health(self) -> EngineHealth:
        """How full and how well the service is."""
        ...

    @property
    def stuck(self) -> int:
        """Jobs that were given up and still hold a thread of this process."""
        ...

    @property
    def is_closing(self) -> bool:
        """Whether the service is stopping."""
        ...

    def resume(self) -> int:
        """Take up the photos that an earlier run of the service left; returns how many."""
        ...

    def close(self) -> None:
        """Take no more photos, and wait for those that this process works on."""
        ...
