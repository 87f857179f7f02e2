"""Requests that wait for news of a photo, and never so many that others find no thread.

Each one keeps a thread of the server while it waits. So there are few seats; who finds none is
answered at once, or sent away for a moment, and asks again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from jobs.engine import Engine
from jobs.job import PhotoStatus
from jobs.store import StoreError

LONGEST_WAIT = 30.0  # seconds that one question for the status may wait
LONGEST_STREAM = 60.0  # seconds; a browser connects again by itself
HEARTBEAT = 5.0  # seconds between signs of life, which find out who has left
RETRY_AFTER = 2  # seconds


class TooManyWaitingError(Exception):
    """As many requests wait as may."""


def seats(http_threads: int) -> int:
    """How many of the server's threads may wait: less than half, so that most answer."""
    return max(0, http_threads // 2 - 1)


class Listeners:
    """All requests that wait."""

    def __init__(self, jobs: Engine, seats: int) -> None:
        self._jobs = jobs
        self._seats = threading.Semaphore(seats)

    def wait(self, digest: str, seconds: float, owner: str = "") -> PhotoStatus | None:
        """Where a photo stands, as soon as it is Ready or Error, or when the time is over.

        At once where no seat is free.

        Args:
            digest: the photo's hash.
            seconds: longest wait.
            owner: who asks, as in `Engine.find`.

        Returns:
            As `Engine.find`.
        """
        standing = self._jobs.find(digest, owner)
        if standing is None or standing.has_ended or seconds <= 0:
            return standing
        if not self._seats.acquire(blocking=False):
            return standing
        try:
            return self._jobs.wait_for_end(digest, min(seconds, LONGEST_WAIT), owner)
        finally:
            self._seats.release()

    def stream(
        self, digest: str, encode: Callable[[PhotoStatus], str], owner: str = ""
    ) -> tuple[Iterator[str], Callable[[], None]]:
        """Server-sent events: one for where the photo stands now, one for each change.

        It ends when the photo is Ready or Error, or after LONGEST_STREAM.

        Args:
            digest: hash of a photo that is known.
            encode: the data of one event, in one line.
            owner: who listens, as in `Engine.find`.

        Returns:
            The text of the answer in pieces, and what must be called when it is sent or given up.

        Raises:
            NoSeatError: no seat is free.
        """
        if not self._seats.acquire(blocking=False):
            raise TooManyWaitingError
        once = threading.Lock()

        def leave() -> None:
            if once.acquire(blocking=False):  # however often it is called
                self._seats.release()

        return self._events(digest, encode, owner), leave

    def _events(
        self, digest: str, encode: Callable[[PhotoStatus], str], owner: str
    ) -> Iterator[str]:
        deadline = time.monotonic() + LONGEST_STREAM
        seen: PhotoStatus | None = None
        while True:
            try:
                now = self._jobs.wait(digest, seen, HEARTBEAT, owner)
            except StoreError:  # the headers are sent; a browser connects again, and is told
                return
            if now is None:
                return
            if now != seen:
                yield f"event: status\ndata: {encode(now)}\n\n"
            else:
                yield ": still there\n\n"
            if now.has_ended or self._jobs.is_closing or time.monotonic() > deadline:
                return
            seen = now
