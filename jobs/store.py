"""Define the interface of stores.

`jobs.sqlite_store.SqliteStore` keeps photos in a file or in memory. Photos are keyed by hash,
jobs by number, so a late result of an earlier job is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from jobs.catalog import Catalog

State = Literal["Uploaded", "Processing", "Ready", "Error"]
FinalState = Literal["Ready", "Error"]


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
class StoredOutcome:
    """Stored outcome of a photo: Ready with its packed result, or Error without a result.

    Attributes:
        result: packed result; None for an Error, and from methods that do not load results.
        model_version: version of the models that made the result. It is "" for an Error, and for
            results of releases that did not store a version.
        summary: packed `jobs.catalog.Summary` of the result; "" for an Error, and from methods
            that load outcomes.
        damage_version: version of the damage network, "" if unknown; None if the result has no
            damage.
    """

    state: FinalState
    message: str
    result: bytes | None = field(default=None, repr=False)
    model_version: str = ""
    summary: str = ""
    damage_version: str | None = None


@dataclass(frozen=True)
class PendingJob:
    """Row of a photo with a job that has not ended.

    Attributes:
        number: number of its job.
        attempts: number of times that the job was started.
        damage: True if the photo is to be examined for damage.
        keeps_result: True if the photo is Ready, and only waits for its damage.
    """

    digest: str
    number: int
    attempts: int
    damage: bool = False
    keeps_result: bool = False


class Store(Protocol):
    """Store of photos, their owners and their outcomes.

    All methods are atomic, and safe to call from several threads. Every method may raise
    `StoreError`. An `owner` is the name of a client that posted a photo; a photo may have several
    owners.

    Attributes:
        lasting: True if the content survives the process.
    """

    lasting: bool

    @property
    def catalog(self) -> Catalog:
        """The catalogue of the photos in this store."""
        ...

    def add(
        self, digest: str, owner: str, file_name: str | None = None, *, damage: bool = False
    ) -> int:
        """Add a photo as accepted, and return the number of its job.

        A known photo gets a new number: its earlier outcome is deleted, its owners, file names and
        feedback stay.

        Args:
            digest: hash of the photo.
            owner: owner to add to it.
            file_name: name to add as by `add_name`, if any.
            damage: examine it for damage.
        """
        ...

    def examine(self, digest: str, owner: str, file_name: str | None = None) -> int | None:
        """Ask for damage of a known photo, and return the number of its job.

        A photo that has ended keeps its outcome and its number, and is pending again.

        Args:
            digest: hash of the photo.
            owner: owner to add to it.
            file_name: name to add as by `add_name`, if any.

        Returns:
            The number; None if the photo is unknown.
        """
        ...

    def end_examination(self, number: int) -> None:
        """End a job without damage; the photo keeps its outcome."""
        ...

    def add_owner(self, digest: str, owner: str) -> bool:
        """Add an owner to a known photo.

        Returns:
            True if the owner was added; False if the photo had this owner or is unknown.
        """
        ...

    def add_name(self, digest: str, owner: str, file_name: str) -> None:
        """Add a file name to a known photo, as the newest of at most `jobs.catalog.MOST_NAMES`."""
        ...

    def has_owner(self, digest: str, owner: str) -> bool:
        """Return True if a photo is known and belongs to `owner`."""
        ...

    def remove_owner(self, digest: str, owner: str) -> int:
        """Remove an owner with its names and feedback, and return the number of owners left."""
        ...

    def count_attempt(self, number: int) -> None:
        """Count one start of a job."""
        ...

    def finish(self, number: int, outcome: StoredOutcome) -> bool:
        """Store the outcome of a job.

        Returns:
            True if it was stored; False if the photo was deleted or added again since.
        """
        ...

    def load(self, digest: str) -> StoredOutcome | None:
        """Return the outcome of a photo; None if it is unknown or has not ended."""
        ...

    def summaries(
        self, digests: Sequence[str], owner: str | None = None
    ) -> dict[str, StoredOutcome | None]:
        """Return the outcomes of many photos without their results.

        This costs much less than `load`, which reads the results.

        Args:
            digests: hashes of the photos.
            owner: return only the photos of this owner; None for all photos.

        Returns:
            Hash -> outcome of each known photo; None if the photo has not ended.
        """
        ...

    def delete(self, digest: str) -> None:
        """Delete a photo."""
        ...

    def ready(self, owner: str | None = None) -> list[str]:
        """Return the hashes of the photos that are Ready, in the order of their numbers.

        Args:
            owner: return only the photos of this owner; None for all photos.
        """
        ...

    def final_states(self) -> dict[str, StoredOutcome]:
        """Return the outcomes of all ended photos, in the order of their numbers.

        They come without results.
        """
        ...

    def pending(self) -> list[PendingJob]:
        """Return the photos with jobs that have not ended, in the order of their numbers."""
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
