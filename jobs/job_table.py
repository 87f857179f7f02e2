"""Keep the states of all photos and the recent jobs in memory.

Nothing here takes a lock: `jobs.thread_engine.ThreadEngine` makes all calls under its own lock.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping

from jobs.engine import PhotoStatus
from jobs.job import Job
from jobs.store import Ending, State, Store
from jobs.worker_pool import WorkerPool
from photo_result import Result, Segments
from segment_interface import Photo

_RECENT = 100  # number of finished jobs that stay in memory
_HANDOVER_BYTES = 64 * 1024 * 1024  # limit for all decoded photos in memory together


class JobTable:
    """States of all photos, and the jobs that are pending or ended recently."""

    def __init__(
        self,
        store: Store,
        workers: WorkerPool[Job],
        status: dict[str, str],
        segments: dict[str, Segments],
    ) -> None:
        """Create a table that fills two public dicts.

        Args:
            store: store that knows the owners of each photo.
            workers: pool that knows the position of each job in the queue.
            status: filled with hash -> state, for all photos.
            segments: filled with hash -> outlines, for the photos that became Ready last.
        """
        self._store, self._workers = store, workers
        self._status, self._segments = status, segments
        self._versions: dict[str, str] = {}  # hash -> version of the models, for all Ready photos
        self._jobs: dict[str, Job] = {}
        self._recent: deque[Job] = deque()
        self.held = 0  # bytes of all decoded photos in memory

    def __contains__(self, digest: object) -> bool:
        return digest in self._status

    def is_good(self, digest: str, model_version: str) -> bool:
        """Return True if a photo is pending or has a valid result.

        Args:
            digest: hash of the photo.
            model_version: version of the models in use. A result of another version is not
                valid. With "" (no models loaded) every result is valid.
        """
        state = self._status.get(digest, "Error")
        if state == "Ready" and model_version:
            return self._versions.get(digest) == model_version
        return state != "Error"

    def is_visible(self, digest: str, owner: str) -> bool:
        """Return True if `owner` may see a photo; the owner "" sees all photos."""
        return digest in self._status and (not owner or self._store.owns(digest, owner))

    def ready(self) -> list[str]:
        """Return the hashes of the photos that are Ready, in the order of acceptance."""
        return [digest for digest, state in self._status.items() if state == "Ready"]

    def job(self, digest: str) -> Job | None:
        """Return the job of a photo; None unless it is pending or ended recently."""
        return self._jobs.get(digest)

    def standing(self, digest: str) -> PhotoStatus | None:
        """Return the status of a photo from its job; None if no job is in memory."""
        job = self._jobs.get(digest)
        if job is None:
            return None
        position = self._workers.position(job.ticket) if job.state == "Uploaded" else None
        return PhotoStatus(job.state, job.message, job.result, position, job.stage)

    def summary(self, digest: str, ending: Ending | None) -> PhotoStatus | None:
        """Return the status of a photo without its result; None if it is unknown.

        Args:
            digest: hash of the photo.
            ending: outcome from the store; used if the photo has no job in memory.
        """
        standing = self.standing(digest)
        if standing is not None:
            return standing._replace(result=None)
        return None if ending is None else PhotoStatus(ending.state, ending.message, None)

    def load(self, endings: Mapping[str, Ending]) -> None:
        """Add finished photos from the store, whose jobs are not in memory."""
        for digest, ending in endings.items():
            self._status[digest] = ending.state
            if ending.state == "Ready":
                self._versions[digest] = sys.intern(ending.model_version)

    def add(self, job: Job, photo: Photo | None) -> None:
        """Add a job that now waits in the queue.

        The decoded photo is kept while all of them together fit into 64 MiB. One photo is kept
        whatever its size.
        """
        size = 0 if photo is None else photo.pixels.nbytes
        if not self.held or self.held + size <= _HANDOVER_BYTES:
            job.waiting = photo
            self.held += size
        self.lose(job.digest)  # a photo that is queued again moves to the end
        self._jobs[job.digest] = job
        self._status[job.digest] = job.state

    def release(self, job: Job) -> Photo | None:
        """Remove the decoded photo from a job, and return it."""
        photo, job.waiting = job.waiting, None
        self.held -= 0 if photo is None else photo.pixels.nbytes
        return photo

    def change(self, job: Job, state: State, message: str) -> None:
        """Set the state and the message of a job."""
        job.state, job.message = state, message
        self._status[job.digest] = state

    def end(self, job: Job, message: str, result: Result | None, segments: Segments | None) -> None:
        """Set the final state of a job: Ready if it has a result, else Error.

        The job stays in memory until 100 later jobs have ended, and longer while the store does
        not have its outcome.
        """
        job.stage, job.result = None, result
        self.change(job, "Error" if result is None else "Ready", message)
        if result is not None:
            self._versions[job.digest] = result.model_version
        if segments is not None:
            self._segments[job.digest] = segments
        self._recent.append(job)
        for _ in range(len(self._recent) - _RECENT):
            old = self._recent.popleft()
            if old.unsaved:
                self._recent.append(old)
            elif self._jobs.get(old.digest) is old:
                del self._jobs[old.digest]
                self._segments.pop(old.digest, None)

    def unsaved(self) -> list[Job]:
        """Return the ended jobs whose outcome the store does not have yet."""
        return [job for job in self._recent if job.unsaved]

    def lose(self, digest: str) -> None:
        """Remove a photo and its job."""
        self._jobs.pop(digest, None)
        self._status.pop(digest, None)
        self._versions.pop(digest, None)
        self._segments.pop(digest, None)
