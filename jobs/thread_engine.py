"""Accept photos, process each once in a thread, store the results, and delete old ones.

The steps of a job:

1. POST adds a row to the store and writes the upload to `img/<hash>.png`: Uploaded.
2. A worker takes the job from the queue: Processing.
3. The job ends, and the store gets its outcome: Ready or Error. Then the upload is removed.

Jobs that an earlier run of the service left unfinished are queued again at the start.

One lock guards all state, including the two public dicts. The dicts can be read without the
store. They hold the states of all photos, and the polygons of the photos that became Ready last.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Sequence
from errno import EDQUOT, ENOSPC
from pathlib import Path

from jobs.counts import JobCounts
from jobs.engine import ClosingError, EngineHealth, PhotoStatus, QueueFullError
from jobs.folders import Masks, Uploads
from jobs.job import ATTEMPTS, LOST, TWICE, Job
from jobs.job_table import JobTable
from jobs.runner import JobRunner
from jobs.store import Ending, Store, StoreError
from jobs.waiters import JobWaiters
from jobs.worker_pool import SPARE_THREADS, WorkerPool
from photo_result import Result, Segments
from pipeline import Analyser
from segment_interface import Photo, decode_photo
from settings import Settings

log = logging.getLogger("carseg.jobs")

NO_ROOM = "The disk of the service is full; nothing was stored. Try again later."

_UPKEEP = 5.0  # seconds between two runs of `_upkeep`
_CHECKED = 5.0  # seconds for which a check of the disk and the store is cached


class ThreadEngine:
    """Job engine whose workers are threads of this process; see `jobs.engine.Engine`."""

    def __init__(
        self,
        stages: Analyser,
        store: Store,
        settings: Settings,
        *,
        processing_status: dict[str, str],
        processed_segments: dict[str, Segments],
    ) -> None:
        """Create the engine and start its threads.

        Args:
            stages: pipeline that analyses a photo; safe to call from several threads.
            store: store of the photos; `close` closes it.
            settings: settings of the service; its folders must exist.
            processing_status: filled with hash -> Uploaded, Processing, Ready or Error.
            processed_segments: filled with hash -> part -> exteriors of its polygons, for the
                photos that became Ready last.
        """
        self._stages, self._store, self._settings = stages, store, settings
        self._uploads, self._masks = Uploads(settings.uploads), Masks(settings.masks)
        self._counts = JobCounts()
        self._lock = threading.RLock()
        self._news = JobWaiters(self._lock)
        self._closing = False
        self._stop = threading.Event()
        self._checked: tuple[float, str | None] = (-math.inf, None)
        self._decoding = threading.BoundedSemaphore(settings.worker_count)  # limits memory of POST
        self._workers: WorkerPool[Job] = WorkerPool(
            lambda job: self._work.run(job),
            lambda job: self._work.overrun(job),
            count=settings.worker_count,
            seconds=settings.job_seconds,
        )
        self._known = JobTable(store, self._workers, processing_status, processed_segments)
        self._work = JobRunner(
            stages,
            store,
            self._known,
            self._news,
            settings,
            uploads=self._uploads,
            masks=self._masks,
            counts=self._counts,
        )
        threading.Thread(target=self._upkeep, name="upkeep", daemon=True).start()

    # --- called by the routes

    def accept(self, data: bytes, owner: str = "") -> tuple[str, bool]:
        """Queue a photo, unless its job is pending or its result is still valid.

        See `jobs.engine.Engine.accept`.

        Args:
            data: the image file.
            owner: owner that posts the photo; the owner "" sees all photos.

        Returns:
            The SHA-256 of the bytes in hex, and True if the photo is new to this owner or is
            queued again.

        Raises:
            ImageError: the bytes are not an image that the service accepts.
            QueueFullError: the queue is full.
            ClosingError: the service is stopping.
            StoreError: the photo cannot be stored.
        """
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            if self._known.is_good(digest, self._stages.version):
                return digest, self._join(digest, owner)
            self._check_room()
        with self._decoding:
            photo = decode_photo(data, self._settings.max_pixels)
            try:
                with self._uploads.draft(data) as draft, self._lock:
                    if self._known.is_good(digest, self._stages.version):
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
        """Return the status of a photo; None if this owner does not know it."""
        with self._lock:
            if not self._known.is_visible(digest, owner):
                return None
            standing = self._known.standing(digest)
        if standing is not None:
            return standing
        ending = self._store.load(digest)
        if ending is None:  # deleted or queued again since the check above
            with self._lock:
                return self._known.standing(digest)
        result = None if ending.result is None else Result.unpack(ending.result)
        return PhotoStatus(ending.state, ending.message, result)

    def find_many(self, digests: Sequence[str], owner: str = "") -> list[PhotoStatus | None]:
        """Return the statuses of many photos, in the order of `digests`.

        Each is the same as from `find`, but without the result.
        """
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
        """Wait until the status of a photo differs from `seen`, and return the status.

        Return at once if the status can no longer change, and while the service stops.

        Args:
            digest: hash of the photo.
            seen: status that the caller already has.
            seconds: timeout, after which the current status is returned.
            owner: owner that asks.
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
        """Wait until a photo is Ready or Error, and return its status.

        Return at once if this owner does not know the photo, and while the service stops.

        Args:
            digest: hash of the photo.
            seconds: timeout, after which the current status is returned.
            owner: owner that asks.
        """
        with self._lock:
            self._news.wait(digest, lambda: self._has_ended(digest, owner), seconds, only_end=True)
        return self.find(digest, owner)

    def ready(self, owner: str = "") -> list[str]:
        """Return the hashes of the photos that are Ready, in the order of acceptance."""
        if owner:
            return self._store.ready(owner)
        with self._lock:
            return self._known.ready()

    def forget(self, digest: str, owner: str = "") -> bool:
        """Delete a photo with its result, and cancel its job.

        A photo of several owners stays with the other owners.

        Returns:
            True if this owner knew the photo.

        Raises:
            StoreError: the photo cannot be deleted from the store.
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
        """Return the load and the problem of the service, if any."""
        return EngineHealth(
            waiting=self._workers.waiting,
            limit=self._settings.queue,
            running=self._workers.running,
            stuck=self._workers.stuck,
            problem=self._stages.problem or self._problem(),
        )

    def counts(self) -> dict[str, float]:
        """Return the counters of the jobs that ended, named as in `jobs.counts`."""
        return self._counts.numbers()

    @property
    def stuck(self) -> int:
        """Number of timed-out jobs that still occupy a thread."""
        return self._workers.stuck

    @property
    def is_closing(self) -> bool:
        """True while the service is stopping."""
        return self._closing

    # --- start and stop

    def resume(self) -> int:
        """Queue the photos that an earlier run left unfinished; return their number."""
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
                    # Either the job ended and the process died before it removed the upload. Or
                    # the store has no count of attempts, and a photo that crashed the service
                    # must not crash it again.
                    self._uploads.remove(digest)
                else:  # upload from a run of the service without this store
                    self._enqueue(digest, self._store.add(digest, ""), None)
                    count += 1
        self._expire()
        return count

    def close(self) -> None:
        """Stop accepting photos, wait for the running jobs, and leave the queued ones on disk."""
        with self._lock:
            self._closing = True
            self._news.closing()
        self._workers.close()
        self._stop.set()
        self._work.save_unsaved()
        self._store.close()

    # --- internal; the caller holds the lock

    def _has_ended(self, digest: str, owner: str) -> bool:
        """Return True if the status that `owner` sees of a photo can no longer change."""
        job = self._known.job(digest)
        ends = self._closing or job is None or job.state in ("Ready", "Error")
        return ends or not self._known.is_visible(digest, owner)

    def _join(self, digest: str, owner: str) -> bool:
        """Add an owner to a known photo; return True if the photo is new to that owner."""
        return bool(owner) and self._store.share(digest, owner)

    def _check_room(self) -> None:
        if self._closing:
            raise ClosingError
        waiting, limit = self._workers.waiting, self._settings.queue
        if waiting >= limit:
            raise QueueFullError.until_half(
                limit, waiting, self._counts.mean, self._settings.worker_count
            )

    def _remember(self, draft: Path, digest: str, owner: str) -> int:
        """Keep an upload, add its row to the store, and return the number of the row.

        For a known photo the upload is kept first, because the new row deletes the earlier result.
        For an unknown photo the row is added first, because an upload without a row has no owner.
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
        self._masks.remove(digest)  # masks of an earlier result
        self._known.add(job, photo)
        job.ticket = self._workers.put(job)

    def _lose(self, digest: str) -> None:
        self._known.lose(digest)
        self._masks.remove(digest)

    # --- internal; periodic, or called by `health`

    def _upkeep(self) -> None:
        while not self._stop.wait(_UPKEEP):
            try:
                self._work.save_unsaved()
                self._expire()
            except Exception:
                log.exception("Upkeep failed; it is tried again")

    def _expire(self) -> None:
        """Delete the ended photos beyond `keep_days` and `keep_results`."""
        oldest = time.time() - self._settings.keep_days * 86_400
        with self._lock:
            gone = self._store.expire(oldest, self._settings.keep_results)
            for digest in gone:
                self._lose(digest)

    def _problem(self) -> str | None:
        """Return why photos cannot be accepted, or None; cached for 5 seconds."""
        if self._workers.stuck >= SPARE_THREADS:
            return "Too many jobs hang; the service must be started anew."
        when, problem = self._checked
        if time.monotonic() - when < _CHECKED:
            return problem
        try:
            self._uploads.check()
            self._store.check()
            problem = None
        except OSError as error:
            full = error.errno in (ENOSPC, EDQUOT)
            problem = NO_ROOM if full else "The folder of the uploads can't be written."
        except StoreError as error:
            problem = str(error)
        self._checked = (time.monotonic(), problem)
        return problem
