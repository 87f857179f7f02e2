"""Define the interface of stores, and a store in memory.

`jobs.sqlite_store.SqliteStore` is the store that survives the process. Photos are keyed by hash,
jobs by number, so a late result of an earlier job is ignored.
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
    """The store cannot do the call. The message may be shown to clients.

    Attributes:
        full: True if the disk of the store is full.
        away: True if the store is not reachable now; a retry may succeed.
    """

    def __init__(self, message: str, *, full: bool = False, away: bool = False) -> None:
        super().__init__(message)
        self.full = full
        self.away = away


@dataclass(frozen=True)
class Ending:
    """Stored outcome of a photo: Ready with its packed result, or Error without a result.

    Attributes:
        result: packed result; None for an Error, and from methods that do not load results.
        model_version: version of the models that made the result. It is "" for an Error, and for
            results of releases that did not store a version.
    """

    state: Ended
    message: str
    result: bytes | None = field(default=None, repr=False)
    model_version: str = ""


@dataclass(frozen=True)
class PendingJob:
    """Row of a photo that was accepted and has not ended.

    Attributes:
        number: number of its job.
        attempts: number of times that the job was started.
    """

    digest: str
    number: int
    attempts: int


class Store(Protocol):
    """Store of photos, their owners and their outcomes.

    All methods are atomic, and safe to call from several threads. Every method may raise
    `StoreError`. An `owner` is the name of a client that posted a photo; a photo may have several
    owners.

    Attributes:
        lasting: True if the content survives the process.
    """

    lasting: bool

    def add(self, digest: str, owner: str) -> int:
        """Add a photo as accepted, and return the number of its job.

        A known photo gets a new number: its earlier outcome is deleted, its owners stay.
        """
        ...

    def share(self, digest: str, owner: str) -> bool:
        """Add an owner to a known photo.

        Returns:
            True if the owner was added; False if the photo had this owner or is unknown.
        """
        ...

    def owns(self, digest: str, owner: str) -> bool:
        """Return True if a photo is known and belongs to `owner`."""
        ...

    def disown(self, digest: str, owner: str) -> int:
        """Remove an owner from a photo, and return the number of owners left."""
        ...

    def begin(self, number: int) -> None:
        """Count one start of a job."""
        ...

    def end(self, number: int, ending: Ending) -> bool:
        """Store the outcome of a job.

        Returns:
            True if it was stored; False if the photo was dropped or added again since.
        """
        ...

    def load(self, digest: str) -> Ending | None:
        """Return the outcome of a photo; None if it is unknown or has not ended."""
        ...

    def outcomes(
        self, digests: Sequence[str], owner: str | None = None
    ) -> dict[str, Ending | None]:
        """Return the outcomes of many photos without their results.

        This costs much less than `load`, which reads the results.

        Args:
            digests: hashes of the photos.
            owner: return only the photos of this owner; None for all photos.

        Returns:
            Hash -> outcome of each known photo; None if the photo has not ended.
        """
        ...

    def drop(self, digest: str) -> None:
        """Delete a photo."""
        ...

    def ready(self, owner: str | None = None) -> list[str]:
        """Return the hashes of the photos that are Ready, in the order of their numbers.

        Args:
            owner: return only the photos of this owner; None for all photos.
        """
        ...

    def ended(self) -> dict[str, Ending]:
        """Return the outcomes of all ended photos, in the order of their numbers.

        They come without results.
        """
        ...

    def unfinished(self) -> list[PendingJob]:
        """Return the photos that have not ended, in the order of their numbers."""
        ...

    def expire(self, before: float, keep: int) -> list[str]:
        """Delete old outcomes together with their photos.

        Args:
            before: Unix time; photos that ended earlier are deleted.
            keep: maximum number of ended photos; the oldest ones beyond it are deleted.

        Returns:
            Hashes of the deleted photos.
        """
        ...

    def check(self) -> None:
        """Raise StoreError if the store is not writable now."""
        ...

    def close(self) -> None:
        """Close the files of the store; no other method may be called afterwards."""
        ...


@dataclass
class _Row:
    number: int
    owners: set[str]
    attempts: int = 0
    ended: float = 0.0
    ending: Ending | None = None


class MemoryStore:
    """Implementation of `Store` in memory, lost at the end of the process."""

    lasting = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}  # in the order of their numbers
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
        """Do nothing: memory is always writable."""

    def close(self) -> None:
        """Do nothing: there are no files to close."""

    def _by_number(self, number: int) -> _Row | None:
        digest = self._digests.get(number)
        return None if digest is None else self._rows[digest]

    def _remove(self, digest: str) -> _Row | None:
        row = self._rows.pop(digest, None)
        if row is not None:
            del self._digests[row.number]
        return row
