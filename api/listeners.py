"""Slots for the requests that wait until the status of a photo changes.

Each one holds a thread of the server while it waits. So the slots are few, and other requests
always find a thread. Without a free slot, a status request is answered at once, and a stream is
refused with a retry time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from api.errors import ApiError
from jobs.engine import Engine, PhotoStatus
from jobs.store import StoreError

LONGEST_WAIT = 30.0  # seconds that one status request may wait
LONGEST_STREAM = 60.0  # seconds; a browser reconnects automatically
HEARTBEAT = 5.0  # seconds between keep-alive lines, which detect closed connections
RETRY_AFTER = 2  # seconds; Retry-After of a refused stream


class TooManyWaitingError(ApiError):
    """The error that all slots for waiting requests are taken."""

    def __init__(self) -> None:
        message = "Too many are listening; ask for the status instead."
        super().__init__(503, message, RETRY_AFTER)


class Listeners:
    """The requests that wait, each in a slot."""

    def __init__(self, jobs: Engine, seats: int) -> None:
        self._jobs = jobs
        self._seats = threading.Semaphore(seats)

    def wait(self, digest: str, seconds: float, owner: str = "") -> PhotoStatus | None:
        """Return the status of a photo once it is Ready or Error, or after a timeout.

        Returns at once if no slot is free.

        Args:
            digest: the photo's hash.
            seconds: longest wait.
            owner: owner that asks, as in `jobs.engine.Engine.find`.

        Returns:
            The status, or None if the photo is unknown to this owner.
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
        """Open a stream of server-sent events: one for the current status, one for each change.

        It ends when the photo is Ready or Error, or after `LONGEST_STREAM` seconds.

        Args:
            digest: hash of a known photo.
            encode: returns the data of one event, in one line.
            owner: owner that listens, as in `jobs.engine.Engine.find`.

        Returns:
            The text of the answer in pieces, and a function that frees the slot. Call it when the
            answer is sent or aborted.

        Raises:
            TooManyWaitingError: no slot is free.
        """
        if not self._seats.acquire(blocking=False):
            raise TooManyWaitingError
        once = threading.Lock()

        def leave() -> None:
            if once.acquire(blocking=False):  # further calls do nothing
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
            except StoreError:  # headers are sent; a browser reconnects and gets the error
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
