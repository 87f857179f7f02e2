"""Accept photos, process each once in a thread, store the results, and delete old ones.

The steps of a job:

1. POST adds a row to the store and writes the upload to `img/<hash>.png`: Uploaded.
2. A worker takes the job from the queue: Processing.
3. The job ends, and the store gets its outcome: Ready or Error. Then the upload is removed.

Jobs that an earlier run of the service left unfinished are queued again at the start.

One lock guards all state, including two public dicts, which can be read without the store:
`processing_status` has the states of all photos, `processed_segments` the polygons of the photos
that became Ready last.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path

from jobs.catalog import Catalog
from jobs.counts import JobCounts
from jobs.engine import ClosingError, EngineHealth, PhotoStatus, QueueFullError
from jobs.folders import Masks, Uploads
from jobs.job import ATTEMPTS, Job
from jobs.job_table import DECODED_LIMIT, RECENT_JOBS, JobTable
from jobs.messages import (
    CANCELLED,
    DISK_FULL,
    JOBS_HANG,
    LOST,
    STOPPED_TWICE,
    UPLOADS_NOT_WRITABLE,
)
from jobs.runner import JobRunner
from jobs.store import PendingJob, Store, StoredOutcome, StoreError
from jobs.worker_pool import SPARE_THREADS, WorkerPool
from photo_result import Result, Segments
from pipeline import Analyser
from segment_interface import Photo, decode_photo
from settings import Settings

log = logging.getLogger("carseg.jobs")


@dataclass(frozen=True)
class Tuning:
    """Fixed numbers of an engine, which only tests change.

    Attributes:
        maintenance_seconds: time between two rounds of maintenance, which store unsaved results and
            delete old ones.
        check_seconds: time for which a check of the disk and the store is cached.
        recent_jobs: number of finished jobs that stay in memory.
        decoded_limit: most bytes of all decoded photos in memory together.
    """

    maintenance_seconds: float = 5.0
    check_seconds: float = 5.0
    recent_jobs: int = RECENT_JOBS
    decoded_limit: int = DECODED_LIMIT


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
        tuning: Tuning = Tuning(),
    ) -> None:
        """Create the engine and start its threads.

        Args:
            stages: pipeline that analyses a photo; safe to call from several threads.
            store: store of the photos; `close` closes it.
            settings: settings of the service; its folders must exist.
            processing_status: filled with hash -> Uploaded, Processing, Ready or Error.
            processed_segments: filled with hash -> part -> exteriors of its polygons, for the
                photos that became Ready last.
            tuning: fixed numbers, which only tests change.
        """
        self._stages, self._store, self._settings, self._tuning = stages, store, settings, tuning
        self._uploads, self._masks = Uploads(settings.uploads), Masks(settings.masks)
        self._counts = JobCounts()
        self._table = JobTable(
            processing_status,
            processed_segments,
            recent_jobs=tuning.recent_jobs,
            decoded_limit=tuning.decoded_limit,
        )
        self._runner = JobRunner(
            stages, store, self._table, self._uploads, self._masks, settings, self._counts
        )
        self._pool: WorkerPool[Job] = WorkerPool(
            self._runner.run,
            self._runner.expire,
            count=settings.worker_count,
            seconds=settings.job_seconds,
        )
        self._decoding = threading.BoundedSemaphore(settings.worker_count)  # limits memory of POST
        self._checked: tuple[float, str | None] = (-math.inf, None)
        self._stop = threading.Event()
        threading.Thread(target=self._maintain, name="maintenance", daemon=True).start()

    # --- called by the routes

    @property
    def catalog(self) -> Catalog:
        """See `Engine.catalog`."""
        return self._store.catalog

    def accept(
        self,
        data: bytes,
        owner: str = "",
        file_name: str | None = None,
        *,
        damage: bool = False,
    ) -> tuple[str, bool]:
        """See `Engine.accept`."""
        digest = hashlib.sha256(data).hexdigest()
        is_new = self._accept_known(digest, owner, file_name, damage=damage)
        if is_new is not None:
            return digest, is_new
        with self._decoding:
            photo = decode_photo(data, self._settings.max_pixels)
            try:
                with self._uploads.write_temporary(data) as upload, self._table.lock:
                    # Another request may be faster.
                    is_new = self._accept_known(digest, owner, file_name, damage=damage)
                    if is_new is None:
                        keeps = self._table.is_current(digest, self._stages.version)
                        job = Job(digest, 0, damage=damage, keeps_result=keeps)
                        job.number = self._keep(upload, job, owner, file_name)
                        self._enqueue(job, photo)
                        is_new = True
            except OSError as error:
                if error.errno not in (ENOSPC, EDQUOT):
                    raise
                raise StoreError(DISK_FULL, full=True) from error
        return digest, is_new

    def find(self, digest: str, owner: str = "") -> PhotoStatus | None:
        """See `Engine.find`."""
        with self._table.lock:
            if not self._is_visible(digest, owner):
                return None
            status = self._status(digest)
        if status is not None:
            return status
        outcome = self._store.load(digest)
        if outcome is None:  # deleted or queued again since the check above
            return self._status(digest)
        result = None if outcome.result is None else Result.unpack(outcome.result)
        return self._stored_status(digest, outcome, result)

    def find_many(self, digests: Sequence[str], owner: str = "") -> list[PhotoStatus | None]:
        """See `Engine.find_many`."""
        with self._table.lock:
            asked = digests if owner else [d for d in digests if self._table.job(d) is None]
            stored = self._store.summaries(asked, owner or None)
            return [
                self._summary(digest, stored.get(digest))
                if digest in self._table and (not owner or digest in stored)
                else None
                for digest in digests
            ]

    def wait(
        self, digest: str, seen: PhotoStatus | None, seconds: float, owner: str = ""
    ) -> PhotoStatus | None:
        """See `Engine.wait`."""
        self._table.wait(
            digest,
            lambda: self._has_ended(digest, owner) or self._status(digest) != seen,
            seconds,
            only_end=False,
        )
        return self.find(digest, owner)

    def wait_for_end(self, digest: str, seconds: float, owner: str = "") -> PhotoStatus | None:
        """See `Engine.wait_for_end`."""
        self._table.wait(digest, lambda: self._has_ended(digest, owner), seconds, only_end=True)
        return self.find(digest, owner)

    def ready(self, owner: str = "") -> list[str]:
        """See `Engine.ready`."""
        return self._store.ready(owner) if owner else self._table.ready()

    def forget(self, digest: str, owner: str = "") -> bool:
        """See `Engine.forget`."""
        with self._table.lock:
            if not self._is_visible(digest, owner):
                return False
            if owner and self._store.remove_owner(digest, owner):
                self._table.owner_removed(digest)
                return True
            self._store.delete(digest)
            job = self._table.forget(digest)
            self._masks.remove(digest)
            self._uploads.remove(digest)
            if job is not None:
                self._pool.cancel(job.ticket)
        if job is not None:
            self._runner.report(job, "cancelled", CANCELLED)
        return True

    def health(self) -> EngineHealth:
        """See `Engine.health`."""
        return EngineHealth(
            waiting=self._pool.waiting,
            limit=self._settings.queue,
            running=self._pool.running,
            stuck=self._pool.stuck,
            problem=self._stages.problem or self._problem(),
        )

    def counts(self) -> dict[str, float]:
        """See `Engine.counts`. They start with this engine."""
        return self._counts.numbers()

    @property
    def stuck(self) -> int:
        """See `Engine.stuck`."""
        return self._pool.stuck

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all decoded photos in memory together."""
        return self._table.decoded_bytes

    @property
    def is_closing(self) -> bool:
        """See `Engine.is_closing`."""
        return self._table.is_closing

    # --- start and stop

    def resume(self) -> int:
        """See `Engine.resume`."""
        self._masks.recover()
        uploads = self._uploads.recover()
        with self._table.lock:
            self._table.load(self._store.final_states())
            pending = self._store.pending()
            count = sum(self._resume_job(row, has_upload=row.digest in uploads) for row in pending)
            for digest in set(uploads) - {row.digest for row in pending}:
                count += self._resume_upload(digest)
        self._delete_old()
        return count

    def close(self) -> None:
        """See `Engine.close`. The queued photos stay on disk."""
        self._table.close()
        self._pool.close()
        self._stop.set()
        self._runner.save_unsaved()
        self._store.close()

    # --- internal; the caller holds the lock of the table

    def _accept_known(
        self, digest: str, owner: str, file_name: str | None, *, damage: bool
    ) -> bool | None:
        """Accept a photo that need not be processed.

        Returns:
            True if the photo is new to its owner, else False; None if it has to be processed.

        Raises:
            QueueFullError: it has to be processed, but the queue is full.
            ClosingError: it has to be processed, but the service is stopping.
        """
        with self._table.lock:
            job = self._table.job(digest)
            if damage and job is not None and not job.is_ending:
                self._store.examine(digest, owner)
                job.damage = True
            is_current = self._table.is_current(digest, self._stages.version)
            version = self._stages.damage_version
            if is_current and (not damage or self._table.has_damage(digest, version)):
                if file_name is not None:
                    self._store.add_name(digest, owner, file_name)
                return bool(owner) and self._store.add_owner(digest, owner)
            if self.is_closing:
                raise ClosingError
            waiting, limit = self._pool.waiting, self._settings.queue
            if waiting >= limit:
                raise QueueFullError.until_half(
                    limit, waiting, self._counts.mean, self._settings.worker_count
                )
            return None

    def _keep(self, upload: Path, job: Job, owner: str, file_name: str | None) -> int:
        """Keep an upload, add its row to the store, and return the number of the row.

        For a known photo the upload is kept first, because the new row deletes the earlier result.
        For an unknown photo the row is added first, because an upload without a row has no owner.
        """
        digest = job.digest
        if digest in self._table:
            was_there = self._uploads.has(digest)
            self._uploads.commit(upload, digest)
            try:
                if job.keeps_result:
                    number = self._store.examine(digest, owner, file_name)
                    if number is not None:
                        return number
                    job.keeps_result = False
                return self._store.add(digest, owner, file_name, damage=job.damage)
            except StoreError:
                if not was_there:
                    self._uploads.remove(digest)
                raise
        number = self._store.add(digest, owner, file_name, damage=job.damage)
        try:
            self._uploads.commit(upload, digest)
        except OSError:
            self._store.delete(digest)
            raise
        return number

    def _enqueue(self, job: Job, photo: Photo | None) -> None:
        if not job.keeps_result:
            self._masks.remove(job.digest)  # masks of an earlier result
        self._table.add(job, photo)
        job.ticket = self._pool.submit(job)

    def _is_visible(self, digest: str, owner: str) -> bool:
        """Return True if `owner` may see a photo; the owner "" sees all photos."""
        return digest in self._table and (not owner or self._store.has_owner(digest, owner))

    def _has_ended(self, digest: str, owner: str) -> bool:
        """Return True if the status that `owner` sees of a photo can no longer change."""
        job = self._table.job(digest)
        has_ended = job is None or job.state in ("Ready", "Error")
        if has_ended and not self._table.examines(digest):
            return True
        return not self._is_visible(digest, owner)

    def _status(self, digest: str) -> PhotoStatus | None:
        """Return the status of a photo; None if no job is in memory."""
        with self._table.lock:
            job, status = self._table.job(digest), self._table.status(digest)
            if job is None or status is None or status.state != "Uploaded":
                return status
            return status._replace(position=self._pool.position(job.ticket))

    def _summary(self, digest: str, stored: StoredOutcome | None) -> PhotoStatus | None:
        """Return the status of a photo without its result; None if it is unknown.

        Args:
            digest: hash of the photo.
            stored: outcome from the store; used if the photo has no job in memory.
        """
        status = self._status(digest)
        if status is not None:
            return status._replace(result=None)
        if stored is None:
            return None
        return self._stored_status(digest, stored, None)

    def _stored_status(
        self, digest: str, stored: StoredOutcome, result: Result | None
    ) -> PhotoStatus:
        """Return the status of a photo that has no job in memory."""
        return PhotoStatus(
            stored.state,
            stored.message,
            result,
            damage_pending=self._table.examines(digest),
            damage_error=self._table.damage_error(digest),
        )

    def _resume_job(self, row: PendingJob, *, has_upload: bool) -> bool:
        """Queue a photo that has a row without an outcome; return False if it is given up."""
        if has_upload and row.attempts < ATTEMPTS:
            job = Job(row.digest, row.number, damage=row.damage, keeps_result=row.keeps_result)
            self._enqueue(job, None)
            return True
        log.warning("Job %s is given up at the start", row.digest)
        if row.keeps_result:
            self._store.end_examination(row.number)
            self._table.fail_examination(row.digest, STOPPED_TWICE if has_upload else LOST)
            self._uploads.remove(row.digest)
            return False
        outcome = StoredOutcome("Error", STOPPED_TWICE if has_upload else LOST)
        self._store.finish(row.number, outcome)
        self._table.load({row.digest: outcome})
        self._masks.remove(row.digest)
        self._uploads.remove(row.digest)
        return False

    def _resume_upload(self, digest: str) -> bool:
        """Queue a photo that has an upload but no pending row; return False if it is removed."""
        if digest in self._table or not self._store.lasting:
            # Either the job ended and the process died before it removed the upload. Or the store
            # has no count of attempts, and a photo that crashed the service must not crash it
            # again.
            self._uploads.remove(digest)
            return False
        self._enqueue(Job(digest, self._store.add(digest, "")), None)  # a run without this store
        return True

    # --- internal; periodic, or called by `health`

    def _maintain(self) -> None:
        while not self._stop.wait(self._tuning.maintenance_seconds):
            try:
                self._runner.save_unsaved()
                self._delete_old()
            except Exception:
                log.exception("Maintenance failed; it is tried again")

    def _delete_old(self) -> None:
        """Delete the ended photos beyond `keep_days` and `keep_results`."""
        oldest = time.time() - self._settings.keep_days * 86_400
        with self._table.lock:
            for digest in self._store.expire(oldest, self._settings.keep_results):
                job = self._table.forget(digest)
                self._masks.remove(digest)
                if job is not None:  # an examination for damage
                    self._pool.cancel(job.ticket)
                    self._uploads.remove(digest)

    def _problem(self) -> str | None:
        """Return why photos cannot be accepted, or None; cached for `check_seconds`."""
        if self._pool.stuck >= SPARE_THREADS:
            return JOBS_HANG
        when, problem = self._checked
        if time.monotonic() - when < self._tuning.check_seconds:
            return problem
        try:
            self._uploads.check()
            self._store.check()
            problem = None
        except OSError as error:
            problem = DISK_FULL if error.errno in (ENOSPC, EDQUOT) else UPLOADS_NOT_WRITABLE
        except StoreError as error:
            problem = str(error)
        self._checked = (time.monotonic(), problem)
        return problem
