"""Keep all photos and their jobs in memory.

Each photo wakes only its own waiters. Waking all of them cost 2 ms per photo with eight clients
waiting.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jobs.engine import PhotoStatus
from jobs.job import Job
from jobs.messages import RUNNING
from jobs.store import State, StoredOutcome
from photo_result import Result, Segments, Stage
from segment_interface import Photo

RECENT_JOBS = 100  # number of finished jobs that stay in memory
DECODED_LIMIT = 64 * 1024 * 1024  # bytes of all decoded photos in memory together


@dataclass(eq=False)
class _Waiter:
    digest: str
    only_end: bool
    woken: threading.Condition


class JobTable:
    """States of all photos, the jobs that are pending or ended recently, and who waits for them.

    Each method takes the lock and wakes the waiters that it concerns.

    Attributes:
        lock: re-entrant lock of the table; a caller holds it to make several steps one.
        is_closing: True once `close` was called.
    """

    def __init__(
        self,
        status: dict[str, str],
        segments: dict[str, Segments],
        *,
        recent_jobs: int = RECENT_JOBS,
        decoded_limit: int = DECODED_LIMIT,
    ) -> None:
        """Create a table that fills two public dicts.

        Args:
            status: filled with hash -> state, for all photos.
            segments: filled with hash -> part -> exteriors of its polygons, for the photos that
                became Ready last.
            recent_jobs: number of finished jobs that stay in memory.
            decoded_limit: most bytes of all decoded photos in memory together.
        """
        self.lock = threading.RLock()
        self.is_closing = False
        self._status, self._segments = status, segments
        self._recent_jobs, self._decoded_limit = recent_jobs, decoded_limit
        self._versions: dict[str, str] = {}  # hash -> version of the models, for all Ready photos
        self._damage_versions: dict[str, str] = {}  # those with damage; of the damage network
        self._jobs: dict[str, Job] = {}
        self._examinations: dict[str, Job] = {}  # pending jobs of photos that keep their results
        self._damage_errors: dict[str, str] = {}  # why the last examination of a Ready photo failed
        self._recent: deque[Job] = deque()
        self._decoded_bytes = 0
        self._waiters: set[_Waiter] = set()  # few; `Settings.waiting_slots` limits them

    # --- look up

    def __contains__(self, digest: object) -> bool:
        return digest in self._status

    def is_current(self, digest: str, model_version: str) -> bool:
        """Return True if a photo is pending or has a valid result.

        Args:
            digest: hash of the photo.
            model_version: version of the models in use. A result of another version is not
                valid. With "" (no models loaded) every result is valid.
        """
        with self.lock:
            state = self._status.get(digest, "Error")
            if state == "Ready" and model_version:
                return self._versions.get(digest) == model_version
            return state != "Error"

    def has_damage(self, digest: str, damage_version: str) -> bool:
        """Return True if a photo has a result with valid damage, or will have it.

        Args:
            digest: hash of the photo.
            damage_version: as `model_version` of `is_current`, for the damage network.
        """
        with self.lock:
            if self._status.get(digest) == "Ready" and digest not in self._examinations:
                version = self._damage_versions.get(digest)
                return version is not None and damage_version in ("", version)
            job = self._examinations.get(digest) or self._jobs.get(digest)
            return job is not None and job.damage

    def examines(self, digest: str) -> bool:
        """Return True if an examination for damage of a Ready photo is pending."""
        with self.lock:
            return digest in self._examinations

    def damage_error(self, digest: str) -> str | None:
        """Return why the last examination of a Ready photo failed; None if it did not."""
        with self.lock:
            return self._damage_errors.get(digest)

    def fail_examination(self, digest: str, message: str) -> None:
        """Keep the reason why an examination failed, for as long as this process runs."""
        with self.lock:
            self._damage_errors[digest] = message

    def holds(self, job: Job) -> bool:
        """Return True if a job is still the one of its photo."""
        with self.lock:
            return job in (self._jobs.get(job.digest), self._examinations.get(job.digest))

    def ready(self) -> list[str]:
        """Return the hashes of the photos that are Ready, in the order of acceptance."""
        with self.lock:
            return [digest for digest, state in self._status.items() if state == "Ready"]

    def job(self, digest: str) -> Job | None:
        """Return the job of a photo; None unless it is pending or ended recently."""
        with self.lock:
            return self._jobs.get(digest)

    def status(self, digest: str) -> PhotoStatus | None:
        """Return the status of a photo without its position; None if no job is in memory."""
        with self.lock:
            job = self._jobs.get(digest)
            if job is None:
                return None
            damage = digest in self._examinations, self._damage_errors.get(digest)
            return PhotoStatus(job.state, job.message, job.result, None, job.stage, *damage)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all decoded photos in memory together."""
        return self._decoded_bytes

    # --- the life of a photo

    def load(self, outcomes: Mapping[str, StoredOutcome]) -> None:
        """Add finished photos from the store, whose jobs are not in memory."""
        with self.lock:
            for digest, outcome in outcomes.items():
                self._status[digest] = outcome.state
                if outcome.state == "Ready":
                    self._versions[digest] = sys.intern(outcome.model_version)
                if outcome.damage_version is not None:
                    self._damage_versions[digest] = sys.intern(outcome.damage_version)

    def add(self, job: Job, photo: Photo | None) -> None:
        """Add a job that now waits in the queue.

        The decoded photo is kept while all of them together fit into `decoded_limit`. One photo
        is kept whatever its size.
        """
        with self.lock:
            size = 0 if photo is None else photo.pixels.nbytes
            if not self._decoded_bytes or self._decoded_bytes + size <= self._decoded_limit:
                job.decoded = photo
                self._decoded_bytes += size
            if job.keeps_result:
                self._examinations[job.digest] = job
                self._damage_errors.pop(job.digest, None)
                self._wake_changed(job.digest)
                return
            self._remove(job.digest)  # a photo that is queued again moves to the end
            self._jobs[job.digest] = job
            self._status[job.digest] = job.state

    def start(self, job: Job) -> bool:
        """Set a job to Processing; return False if it is being ended already."""
        with self.lock:
            if job.is_ending:
                return False
            job.started = time.monotonic()
            self._change(job, "Processing", RUNNING)
            self._wake_changed(None)  # positions in the queue changed
            return True

    def take_decoded(self, job: Job) -> Photo | None:
        """Remove the decoded photo from a job, and return it."""
        with self.lock:
            photo, job.decoded = job.decoded, None
            self._decoded_bytes -= 0 if photo is None else photo.pixels.nbytes
            return photo

    def advance(self, job: Job, stage: Stage) -> bool:
        """Set the stage of a running job; return False if it is being ended already."""
        with self.lock:
            if job.is_ending:
                return False
            job.stage = stage
            job.stage_starts.append((stage, time.monotonic()))
            self._wake_changed(job.digest)
            return True

    def begin_end(self, job: Job) -> bool:
        """Reserve the end of a job for the caller; return False if it is being ended already."""
        with self.lock:
            was_ending, job.is_ending = job.is_ending, True
            return not was_ending

    def finish(
        self, job: Job, message: str, result: Result | None, segments: Segments | None
    ) -> None:
        """Set the final state of a job: Ready if it has a result, else Error.

        The job stays in memory until `recent_jobs` later jobs have ended, and longer while the
        store does not have its outcome. Without a result, a job that keeps the earlier one just
        ends.
        """
        with self.lock:
            if self._examinations.get(job.digest) is job:
                del self._examinations[job.digest]
                if result is None:
                    self.fail_examination(job.digest, message)
                    self._wake(job.digest)
                    return
                earlier = self._jobs.get(job.digest)
                if earlier is not None:
                    earlier.unsaved = False  # its outcome must not replace this one in the store
                self._jobs[job.digest] = job
            job.stage, job.result = None, result
            self._change(job, "Error" if result is None else "Ready", message)
            if result is not None:
                self._versions[job.digest] = result.model_version
                if result.damages is not None:
                    self._damage_versions[job.digest] = result.damage_version
            if segments is not None:
                self._segments[job.digest] = segments
            self._recent.append(job)
            for _ in range(len(self._recent) - self._recent_jobs):
                old = self._recent.popleft()
                if old.unsaved:
                    self._recent.append(old)
                elif self._jobs.get(old.digest) is old:
                    del self._jobs[old.digest]
                    self._segments.pop(old.digest, None)
            self._wake(job.digest)

    def unsaved(self) -> list[Job]:
        """Return the ended jobs whose outcome the store does not have yet."""
        with self.lock:
            return [job for job in self._recent if job.unsaved]

    def forget(self, digest: str) -> Job | None:
        """Remove a photo with its job.

        Returns:
            The job if the caller now has to cancel it; None if there is none, or if it is being
            ended already.
        """
        with self.lock:
            job = self._examinations.get(digest) or self._jobs.get(digest)
            self._remove(digest)
            self._wake(digest)
            if job is None or not self.begin_end(job):
                return None
            self.take_decoded(job)
            self._wake_changed(None)  # positions in the queue changed
            return job

    # --- waiting

    def wait(
        self, digest: str, is_enough: Callable[[], bool], seconds: float, *, only_end: bool
    ) -> None:
        """Wait until a condition holds, the timeout expires or the table closes.

        Args:
            digest: hash of the photo.
            is_enough: condition, called under the lock at the start and after each wake-up.
            seconds: timeout of the wait.
            only_end: True to wake up only at the end of the photo.
        """
        with self.lock:
            waiter = _Waiter(digest, only_end, threading.Condition(self.lock))
            self._waiters.add(waiter)
            try:
                waiter.woken.wait_for(lambda: self.is_closing or is_enough(), seconds)
            finally:
                self._waiters.remove(waiter)

    def owner_removed(self, digest: str) -> None:
        """Wake the waiters of a photo that was deleted for one of its owners."""
        with self.lock:
            self._wake(digest)

    def close(self) -> None:
        """Wake all waiters, and let nobody wait again."""
        with self.lock:
            self.is_closing = True
            self._wake(None)

    # --- internal; the caller holds the lock

    def _change(self, job: Job, state: State, message: str) -> None:
        job.state, job.message = state, message
        if not job.keeps_result:
            self._status[job.digest] = state

    def _remove(self, digest: str) -> None:
        self._jobs.pop(digest, None)
        self._examinations.pop(digest, None)
        self._status.pop(digest, None)
        self._versions.pop(digest, None)
        self._damage_versions.pop(digest, None)
        self._damage_errors.pop(digest, None)
        self._segments.pop(digest, None)

    def _wake(self, digest: str | None) -> None:
        """Wake all waiters of a photo, or of all photos."""
        for waiter in self._waiters:
            if digest in (None, waiter.digest):
                waiter.woken.notify()

    def _wake_changed(self, digest: str | None) -> None:
        """Wake the waiters of a photo, or of all photos, except those for its end."""
        for waiter in self._waiters:
            if digest in (None, waiter.digest) and not waiter.only_end:
                waiter.woken.notify()
