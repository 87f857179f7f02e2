"""Accept photos, work on each once, remember the results, clean up.

The life of a job: POST -> a row in the store and `img/<hash>.png` (the bytes as they came) ->
Uploaded -> a worker takes it: Processing -> Ready or Error -> the store has the result, and then
the file is removed. What an earlier run of the service did not end is taken up at the start.

One lock guards all state, the two public dicts included. The dicts are what is known without
the store: the states of all photos, the polygons of those that were Ready last.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from errno import EDQUOT, ENOSPC
from pathlib import Path

from jobs.folders import Masks, Uploads
from jobs.job import (
    ATTEMPTS,
    LOST,
    TWICE,
    ClosingError,
    EngineHealth,
    Job,
    JobReport,
    Limits,
    PhotoStatus,
    QueueFullError,
)
from jobs.job_table import JobTable
from jobs.runner import JobRunner
from jobs.store import Ending, Store, StoreError
from jobs.waiters import JobWaiters
from jobs.worker_pool import SPARE_THREADS, WorkerPool
from photo_result import Result, Segments
from pipeline import Analyser
from segment_interface import Photo, decode_photo

log = logging.getLogger("carseg.jobs")

NO_ROOM = "The disk of the service is full; nothing was stored. Try again later."

_UPKEEP = 5.0  # seconds between two rounds of upkeep
_CHECKED = 5.0  # seconds for which a check of disk and store holds


class ThreadEngine:
    """All photos this service knows, and the workers that work on them."""

    def __init__(
        self,
        stages: Analyser,
        store: Store,
        limits: Limits,
        *,
        uploads: Path,
        masks: Path,
        write_masks: bool = False,
        processing_status: dict[str, str],
        processed_segments: dict[str, Segments],
        on_end: Callable[[JobReport], None] = lambda report: None,
    ) -> None:
        """
        Args:
            stages: the networks, safe to call from several threads.
            store: what remembers; closed by `close`.
            limits: see `Limits`.
            uploads: folder for the photos that wait or are worked on.
            masks: folder for the mask files.
            write_masks: write one PNG per part into it.
            processing_status: filled with hash -> Uploaded, Processing, Ready or Error.
            processed_segments: filled with hash -> part -> exteriors of its polygons, of the
                photos that were Ready last.
            on_end: called once for each job that has ended, from any thread.
        """
        self._store, self._limits, self._version = store, limits, stages.version
        self._uploads, self._masks = Uploads(uploads), Masks(masks)
        self._lock = threading.RLock()
        self._news = JobWaiters(self._lock)
        self._closing = False
        self._stop = threading.Event()
        self._checked: tuple[float, str | None] = (-math.inf, None)
        self._decoding = threading.BoundedSemaphore(limits.workers)  # bounds the memory of POST
        self._workers: WorkerPool[Job] = WorkerPool(
            lambda job: self._work.run(job),
            lambda job: self._work.overrun(job),
            count=limits.workers,
            seconds=limits.job_seconds,
        )
        self._known = JobTable(store, self._workers, processing_status, processed_segments)
        self._work = JobRunner(
            stages,
            store,
            self._known,
            self._news,
            limits,
            uploads=self._uploads,
            masks=self._masks,
            write_masks=write_masks,
            on_end=on_end,
        )
        threading.Thread(target=self._upkeep, name="upkeep", daemon=True).start()

    # --- what the routes use

    def accept(self, data: bytes, owner: str = "") -> tuple[str, bool]:
        """Take a photo, unless it is known and need not be worked on anew.

        See `engine.Engine.accept`.

        Args:
            data: the file.
            owner: whose photo it is; "" where all see everything.

        Returns:
            The SHA-256 of the bytes in hex, and whether it is new to this owner.

        Raises:
            ImageError: the bytes are no picture that we take.
            QueueFullError: too many wait.
            ClosingError: the service is stopping.
            StoreError: it can't be remembered.
        """
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            if self._known.is_good(digest, self._version):
                return digest, self._join(digest, owner)
            self._check_room()
        with self._decoding:
            photo = decode_photo(data, self._limits.max_pixels)
            try:
                with self._uploads.draft(data) as draft, self._lock:
                    if self._known.is_good(digest, self._version):
                        return digest, self._join(digest, owner)
                    self._check_room()
                    number = self._remember(draft, digest, owner)
                    self._enqueue(digest, number, photo)
                    return digest, True
            except OSError as error:
                if error.errno not in (ENOSPC, EDQUOT):
                    raise
                raise StoreError(NO_ROOM, full=True) from error

    def find(self, digest: str, owner: str = "") -> PhotoStatus | None:
        """Where a photo stands, None if it is unknown to this owner."""
        with self._lock:
            if not self._known.is_visible(digest, owner):
                return None
            standing = self._known.standing(digest)
        if standing is not None:
            return standing
        ending = self._store.load(digest)
        if ending is None:  # dropped or posted anew in this moment
            with self._lock:
                return self._known.standing(digest)
        result = None if ending.result is None else Result.unpack(ending.result)
        return PhotoStatus(ending.state, ending.message, result)

    def find_many(self, digests: Sequence[str], owner: str = "") -> list[PhotoStatus | None]:
        """Where many photos stand, each as `find` tells it, but without results."""
        with self._lock:
            asked = digests if owner else [d for d in digests if self._known.job(d) is None]
            told = self._store.outcomes(asked, owner or None)
            return [
                self._known.summary(digest, told.get(digest))
                if digest in self._known and (not owner or digest in told)
                else None
                for digest in digests
            ]

    def wait(
        self, digest: str, seen: PhotoStatus | None, seconds: float, owner: str = ""
    ) -> PhotoStatus | None:
        """Where a photo stands, as soon as that is not `seen`, or when the time is over.

        Returns at once while the service stops.
        """
        with self._lock:
            self._news.wait(
                digest,
                lambda: self._has_ended(digest, owner) or self._known.standing(digest) != seen,
                seconds,
                only_end=False,
            )
        return self.find(digest, owner)

    def wait_for_end(self, digest: str, seconds: float, owner: str = "") -> PhotoStatus | None:
        """Where a photo stands, as soon as it is Ready or Error, or when the time is over.

        Returns at once while the service stops.
        """
        with self._lock:
            self._news.wait(digest, lambda: self._has_ended(digest, owner), seconds, only_end=True)
        return self.find(digest, owner)

    def ready(self, owner: str = "") -> list[str]:
        """Hashes of the photos that are Ready, in the order in which they were taken."""
        if owner:
            return self._store.ready(owner)
        with self._lock:
            return self._known.ready()

    def forget(self, digest: str, owner: str = "") -> bool:
        """Cancel a photo that waits or is worked on, and forget what is known of it.

        What several owners have posted stays with the others.

        Returns:
            Whether it was known to this owner.

        Raises:
            StoreError: it can't be forgotten.
        """
        with self._lock:
            if not self._known.is_visible(digest, owner):
                return False
            if owner and self._store.disown(digest, owner):
                self._news.ended(digest)
                return True
            self._store.drop(digest)
            job = self._known.job(digest)
            self._lose(digest)
            self._uploads.remove(digest)
            cancels = job is not None and not job.claimed
            if job is not None and cancels:
                job.claimed = True
                self._known.release(job)
                self._workers.cancel(job.ticket)
            self._news.ended(digest)
            self._news.moved()
        if job is not None and cancels:
            self._work.report(job, "cancelled", "Cancelled.")
        return True

    def health(self) -> EngineHealth:
        """How full and how well the service is."""
        return EngineHealth(
            waiting=self._workers.waiting,
            limit=self._limits.queue,
            running=self._workers.running,
            stuck=self._workers.stuck,
            trouble=self._trouble(),
        )

    @property
    def stuck(self) -> int:
        """Jobs that were given up and still hold a thread."""
        return self._workers.stuck

    @property
    def is_closing(self) -> bool:
        """Whether the service is stopping."""
        return self._closing

    # --- start and stop

    def resume(self) -> int:
        """Take up the photos that an earlier run of the service left; returns how many."""
        self._masks.tidy()
        files = self._uploads.tidy()
        count = 0
        with self._lock:
            self._known.load(self._store.ended())
            unfinished = self._store.unfinished()
            for row in unfinished:
                gone = row.digest not in files
                if not gone and row.attempts < ATTEMPTS:
                    self._enqueue(row.digest, row.number, None)
                    count += 1
                    continue
                log.warning("Job %s is given up at the start", row.digest)
                ending = Ending("Error", LOST if gone else TWICE)
                self._store.end(row.number, ending)
                self._known.load({row.digest: ending})
                self._masks.remove(row.digest)
                self._uploads.remove(row.digest)
            for digest in set(files) - {row.digest for row in unfinished}:
                if digest in self._known or not self._store.lasting:
                    # It ended, and then there was no time to remove it; or nothing tells how
                    # often it was tried, and a photo that ends the service must not do so again.
                    self._uploads.remove(digest)
                else:  # from a service without this store
                    self._enqueue(digest, self._store.add(digest, ""), None)
                    count += 1
        self._expire()
        return count

    def close(self) -> None:
        """Take no more photos, wait for those being processed, leave the others on disk."""
        with self._lock:
            self._closing = True
            self._news.closing()
        self._workers.close()
        self._stop.set()
        self._work.save_unsaved()
        self._store.close()

    # --- inside: under the lock

    def _has_ended(self, digest: str, owner: str) -> bool:
        """Whether nothing more will happen to a photo, as far as `owner` is concerned."""
        job = self._known.job(digest)
        ends = self._closing or job is None or job.state in ("Ready", "Error")
        return ends or not self._known.is_visible(digest, owner)

    def _join(self, digest: str, owner: str) -> bool:
        """A known photo is posted: whether it is new to this owner."""
        return bool(owner) and self._store.share(digest, owner)

    def _check_room(self) -> None:
        if self._closing:
            raise ClosingError
        waiting, limit = self._workers.waiting, self._limits.queue
        if waiting >= limit:
            raise QueueFullError.until_half(
                limit, waiting, self._work.seconds, self._limits.workers
            )

    def _remember(self, draft: Path, digest: str, owner: str) -> int:
        """Keep an upload, add its row, and return the number of that.

        An earlier result goes with the new row, so the upload of a known photo is kept first. That
        of an unknown one comes second: without a row nothing says whose it is.
        """
        if digest in self._known:
            was_there = self._uploads.has(digest)
            self._uploads.keep(draft, digest)
            try:
                return self._store.add(digest, owner)
            except StoreError:
                if not was_there:
                    self._uploads.remove(digest)
                raise
        number = self._store.add(digest, owner)
        try:
            self._uploads.keep(draft, digest)
        except OSError:
            self._store.drop(digest)
            raise
        return number

    def _enqueue(self, digest: str, number: int, photo: Photo | None) -> None:
        job = Job(digest, number)
        self._masks.remove(digest)  # those of an earlier result
        self._known.add(job, photo)
        job.ticket = self._workers.put(job)

    def _lose(self, digest: str) -> None:
        self._known.lose(digest)
        self._masks.remove(digest)

    # --- inside: from time to time

    def _upkeep(self) -> None:
        while not self._stop.wait(_UPKEEP):
            try:
                self._work.save_unsaved()
                self._expire()
            except Exception:
                log.exception("Upkeep failed; it is tried again")

    def _expire(self) -> None:
        """Forget what is too old or too much."""
        limits = self._limits
        with self._lock:
            gone = self._store.expire(time.time() - limits.keep_days * 86_400, limits.keep_results)
            for digest in gone:
                self._lose(digest)

    def _trouble(self) -> str | None:
        """Why photos can't be taken or results not be kept, as of a few seconds ago."""
        if self._workers.stuck >= SPARE_THREADS:
            return "Too many jobs hang; the service must be started anew."
        when, trouble = self._checked
        if time.monotonic() - when < _CHECKED:
            return trouble
        try:
            self._uploads.check()
            self._store.check()
            trouble = None
        except OSError as error:
            full = error.errno in (ENOSPC, EDQUOT)
            trouble = NO_ROOM if full else "The folder of the uploads can't be written."
        except StoreError as error:
            trouble = str(error)
        self._checked = (time.monotonic(), trouble)
        return trouble
