"""The photos that a service knows: the two public dicts, and what there is of each in memory.

Nothing here takes a lock: `jobs.Jobs` calls everything under its own.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping

from jobs.job import Job, PhotoStatus
from jobs.store import Ending, State, Store
from jobs.worker_pool import WorkerPool
from photo_result import Result, Segments
from segment_interface import Photo

_RECENT = 100  # photos that have ended and are kept in memory, too
_HANDOVER_BYTES = 64 * 1024 * 1024  # decoded photos that may wait in memory, together


class JobTable:
    """States of all photos that are kept; jobs of those that have not ended, or ended lately."""

    def __init__(
        self,
        store: Store,
        workers: WorkerPool[Job],
        status: dict[str, str],
        segments: dict[str, Segments],
    ) -> None:
        """
        Args:
            store: asked whose photo is whose.
            workers: asked for places in the queue.
            status: filled with hash -> state, of all photos.
            segments: filled with hash -> outlines, of the photos that were Ready last.
        """
        self._store, self._workers = store, workers
        self._status, self._segments = status, segments
        self._versions: dict[str, str] = {}  # of the models, for all photos that are Ready
        self._jobs: dict[str, Job] = {}
        self._recent: deque[Job] = deque()
        self.held = 0  # bytes of the decoded photos that wait

    def __contains__(self, digest: object) -> bool:
        return digest in self._status

    def is_good(self, digest: str, model_version: str) -> bool:
        """Whether a photo is known and need not be worked on anew.

        Args:
            digest: of the photo.
            model_version: of the models that would work on it; "" where there are none.
        """
        state = self._status.get(digest, "Error")
        if state == "Ready" and model_version:
            return self._versions.get(digest) == model_version
        return state != "Error"

    def is_visible(self, digest: str, owner: str) -> bool:
        """Whether a photo is known to `owner`; "" sees all."""
        return digest in self._status and (not owner or self._store.owns(digest, owner))

    def ready(self) -> list[str]:
        """Hashes of the photos that are Ready, in the order in which they were taken."""
        return [digest for digest, state in self._status.items() if state == "Ready"]

    def job(self, digest: str) -> Job | None:
        """The job of a photo that has not ended, or ended lately."""
        return self._jobs.get(digest)

    def standing(self, digest: str) -> PhotoStatus | None:
        """Where a photo stands that has a job in memory."""
        job = self._jobs.get(digest)
        if job is None:
            return None
        position = self._workers.position(job.ticket) if job.state == "Uploaded" else None
        return PhotoStatus(job.state, job.message, job.result, position, job.stage)

    def summary(self, digest: str, ending: Ending | None) -> PhotoStatus | None:
        """Where a photo stands, without its result.

        Args:
            digest: of the photo.
            ending: what the store says, for one that has no job in memory.
        """
        standing = self.standing(digest)
        if standing is not None:
            return standing._replace(result=None)
        return None if ending is None else PhotoStatus(ending.state, ending.message, None)

    def load(self, endings: Mapping[str, Ending]) -> None:
        """Learn how photos have ended whose jobs are not in memory."""
        for digest, ending in endings.items():
            self._status[digest] = ending.state
            if ending.state == "Ready":
                self._versions[digest] = sys.intern(ending.model_version)

    def add(self, job: Job, photo: Photo | None) -> None:
        """A job begins to wait. The decoded photo is kept if not too many are."""
        size = 0 if photo is None else photo.pixels.nbytes
        if not self.held or self.held + size <= _HANDOVER_BYTES:
            job.waiting = photo
            self.held += size
        self.lose(job.digest)  # one that is tried again goes to the end
        self._jobs[job.digest] = job
        self._status[job.digest] = job.state

    def release(self, job: Job) -> Photo | None:
        """Take the decoded photo out of a job."""
        photo, job.waiting = job.waiting, None
        self.held -= 0 if photo is None else photo.pixels.nbytes
        return photo

    def change(self, job: Job, state: State, message: str) -> None:
        """A job comes into another state."""
        job.state, job.message = state, message
        self._status[job.digest] = state

    def end(self, job: Job, message: str, result: Result | None, segments: Segments | None) -> None:
        """A job ends. It stays in memory for as long as few end after it."""
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
        """Jobs that have ended, which the store does not know yet."""
        return [job for job in self._recent if job.unsaved]

    def lose(self, digest: str) -> None:
        """Know a photo no more."""
        self._jobs.pop(digest, None)
        self._status.pop(digest, None)
        self._versions.pop(digest, None)
        self._segments.pop(digest, None)
