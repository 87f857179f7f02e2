"""What the service remembers of each photo: the interface, and the store that keeps it in memory.

`sqlite_store.py` has the one that survives the process. A store knows photos by their hash and
each try of a photo by its number: who still works on an earlier try changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

State = Literal["Uploaded", "Processing", "Ready", "Error"]
Ended = Literal["Ready", "Error"]

AWAY = "The service can't reach Redis at the moment; try again in a few seconds."


class StoreError(Exception):
    """The store can't do what it was asked to; the message is safe to show.

    Attributes:
        full: there is no room on its disk.
        away: it can't be reached now; it is worth trying again.
    """

    def __init__(self, message: str, *, full: bool = False, away: bool = False) -> None:
        super().__init__(message)
        self.full = full
        self.away = away


@dataclass(frozen=True)
class Ending:
    """How a photo ended: Ready with its packed result, or Error without one.

    Attributes:
        result: None also where it was not asked for.
        model_version: of the models that made the result; "" for an Error, and for a result from
            before results had one.
    """

    state: Ended
    message: str
    result: bytes | None = field(default=None, repr=False)
    model_version: str = ""


@dataclass(frozen=True)
class PendingJob:
    """A photo that was accepted and has not ended.

    Attributes:
        number: of its try.
        attempts: how often work on it has begun.
    """

    digest: str
    number: int
    attempts: int


class Store(Protocol):
    """Safe to call from several threads. Each method is done as a whole or not at all.

    Every method may raise StoreError. An `owner` is a name for whoever posted a photo; a photo
    may have several.

    Attributes:
        lasting: what it remembers survives the process.
    """

    lasting: bool

    def add(self, digest: str, owner: str) -> int:
        """Remember a photo as accepted and give its number.

        One that has ended begins anew: its ending is forgotten, its owners stay.
        """
        ...

    def share(self, digest: str, owner: str) -> bool:
        """Give a known photo one more owner; False where it was one already."""
        ...

    def owns(self, digest: str, owner: str) -> bool:
        """Whether a photo is known and belongs to `owner`."""
        ...

    def disown(self, digest: str, owner: str) -> int:
        """Take an owner away from a photo; gives how many are left."""
        ...

    def begin(self, number: int) -> None:
        """Count one attempt."""
        ...

    def end(self, number: int, ending: Ending) -> bool:
        """Remember how a try ended; False where the photo was dropped or begun anew since."""
        ...

    def load(self, digest: str) -> Ending | None:
        """How a photo ended; None while it has not, or is unknown."""
        ...

    def outcomes(
        self, digests: Sequence[str], owner: str | None = None
    ) -> dict[str, Ending | None]:
        """How photos ended, without their results, which costs much less than to load them.

        Of many photos those that are known, or known to one owner; None where they have not ended.
        """
        ...

    def drop(self, digest: str) -> None:
        """Forget a photo."""
        ...

    def ready(self, owner: str | None = None) -> list[str]:
        """Hashes of the photos that are Ready, of one owner or all, in order of their numbers."""
        ...

    def ended(self) -> dict[str, Ending]:
        """Endings of all photos that have ended, without results, in order of their numbers."""
        ...

    def unfinished(self) -> list[PendingJob]:
        """The photos that have not ended, in order of their numbers."""
        ...

    def expire(self, before: float, keep: int) -> list[str]:
        """Forget photos that ended before a time (Unix), and all ended but the last `keep`."""
        ...

    def check(self) -> None:
        """Raise StoreError where nothing could be written now."""
        ...

    def close(self) -> None:
        """Let go of files; nothing else may be called afterwards."""
        ...


@dataclass
class _Row:
    number: int
    owners: set[str]
    attempts: int = 0
    ended: float = 0.0
    ending: Ending | None = None


class MemoryStore:
    """A `Store` that ends with the process."""

    lasting = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}  # in order of their numbers
        self._digests: dict[int, str] = {}
        self._last = 0

    def add(self, digest: str, owner: str) -> int:
        with self._lock:
            old = self._remove(digest)
            self._last += 1
            self._digests[self._last] = digest
            self._rows[digest] = _Row(self._last, {owner} | (old.owners if old else set()))
            return self._last

    def share(self, digest: str, owner: str) -> bool:
        with self._lock:
            row = self._rows.get(digest)
            if row is None or owner in row.owners:
                return False
            row.owners.add(owner)
            return True

    def owns(self, digest: str, owner: str) -> bool:
        with self._lock:
            return digest in self._rows and owner in self._rows[digest].owners

    def disown(self, digest: str, owner: str) -> int:
        with self._lock:
            owners = self._rows[digest].owners if digest in self._rows else set()
            owners.discard(owner)
            return len(owners)

    def begin(self, number: int) -> None:
        with self._lock:
            row = self._by_number(number)
            if row is not None:
                row.attempts += 1

    def end(self, number: int, ending: Ending) -> bool:
        with self._lock:
            row = self._by_number(number)
            if row is None:
                return False
            row.ending, row.ended = ending, time.time()
            return True

    def load(self, digest: str) -> Ending | None:
        with self._lock:
            return self._rows[digest].ending if digest in self._rows else None

    def outcomes(
        self, digests: Sequence[str], owner: str | None = None
    ) -> dict[str, Ending | None]:
        with self._lock:
            rows = {digest: self._rows[digest] for digest in digests if digest in self._rows}
            return {
                digest: None if row.ending is None else replace(row.ending, result=None)
                for digest, row in rows.items()
                if owner is None or owner in row.owners
            }

    def drop(self, digest: str) -> None:
        with self._lock:
            self._remove(digest)

    def ready(self, owner: str | None = None) -> list[str]:
        with self._lock:
            return [
                digest
                for digest, row in self._rows.items()
                if row.ending is not None
                and row.ending.state == "Ready"
                and (owner is None or owner in row.owners)
            ]

    def ended(self) -> dict[str, Ending]:
        with self._lock:
            return {
                digest: replace(row.ending, result=None)
                for digest, row in self._rows.items()
                if row.ending is not None
            }

    def unfinished(self) -> list[PendingJob]:
        with self._lock:
            return [
                PendingJob(digest, row.number, row.attempts)
                for digest, row in self._rows.items()
                if row.ending is None
            ]

    def expire(self, before: float, keep: int) -> list[str]:
        with self._lock:
            ended = [(row.ended, row.number, d) for d, row in self._rows.items() if row.ending]
            ended.sort()
            surplus = len(ended) - keep
            gone = [d for i, (when, _, d) in enumerate(ended) if i < surplus or when < before]
            for digest in gone:
                self._remove(digest)
            return gone

    def check(self) -> None:
        """Memory is always there."""

    def close(self) -> None:
        """There is nothing to let go."""

    def _by_number(self, number: int) -> _Row | None:
        digest = self._digests.get(number)
        return None if digest is None else self._rows[digest]

    def _remove(self, digest: str) -> _Row | None:
        row = self._rows.pop(digest, None)
        if row is not None:
            del self._digests[row.number]
        return row
