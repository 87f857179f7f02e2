"""Run jobs from Uploaded to Ready or Error, and store their outcomes."""

from __future__ import annotations

import logging
import threading
import time

from jobs.counts import JobCounts
from jobs.folders import Masks, Uploads
from jobs.job import RUNNING, Job, Outcome, log_job
from jobs.job_table import JobTable
from jobs.outcome import TOO_SLOW, CancelledError, attempt
from jobs.store import Ending, Store, StoreError
from jobs.waiters import JobWaiters
from photo_result import Result, Stage
from pipeline import Analyser
from segment_interface import Photo, decode_photo
from settings import Settings

log = logging.getLogger("carseg.jobs")


class JobRunner:
    """Runner of all jobs of one `jobs.thread_engine.ThreadEngine`.

    It takes the lock of the engine whenever it reads or changes the job table or a job.
    """

    def __init__(
        self,
        stages: Analyser,
        store: Store,
        known: JobTable,
        news: JobWaiters,
        settings: Settings,
        *,
        uploads: Uploads,
        masks: Masks,
        counts: JobCounts,
    ) -> None:
        """Create a runner that shares the state of its engine.

        Args:
            stages: pipeline that analyses a photo.
            store: store of the outcomes.
            known: table of all photos and jobs.
            news: waiters to wake on each change; holds the lock that guards `known`.
            settings: settings of the service.
            uploads: folder of the uploaded files.
            masks: folder of the mask files.
            counts: counters of the jobs that ended.
        """
        self._stages, self._store, self._known = stages, store, known
        self._settings, self._counts = settings, counts
        self._news, self._lock = news, news.lock
        self._uploads, self._masks = uploads, masks

    def run(self, job: Job) -> None:
        """Run a job from Uploaded to Ready or Error, unless it is being ended already."""
        if not threading.main_thread().is_alive():
            return  # the process is exiting; the upload stays for the next start
        with self._lock:
            if job.claimed:
                return
            photo = self._known.release(job)
            job.started = time.monotonic()
            self._known.change(job, "Processing", RUNNING)
            self._news.moved()
        try:
            self._store.begin(job.number)
        except StoreError:  # for example a full disk; the job can still run
            log.exception("The attempt of job %s could not be counted", job.digest)
        ended = attempt(job.digest, lambda: self._work(job, photo))
        if ended is not None:
            self._end(job, *ended)

    def _work(self, job: Job, photo: Photo | None) -> Result:
        def at(stage: Stage) -> None:
            with self._lock:
                if job.claimed:
                    raise CancelledError
                job.stage = stage
                job.marks.append((stage, time.monotonic()))
                self._news.changed(job.digest)

        if photo is None:
            photo = decode_photo(self._uploads.read(job.digest), self._settings.max_pixels)
        analysis = self._stages.analyse(photo, at)
        result = Result.of(analysis, self._stages.version)
        if self._settings.write_masks:
            self._masks.write(job.digest, result.sure_labels())
        return result

    def overrun(self, job: Job) -> None:
        """End a job that exceeded its timeout."""
        self._end(job, "timeout", TOO_SLOW.format(self._settings.job_seconds))

    def _end(self, job: Job, outcome: Outcome, message: str, result: Result | None = None) -> None:
        """End a job as Ready or Error, unless it is being ended already."""
        with self._lock:
            if job.claimed:
                if self._known.job(job.digest) in (job, None):  # no later job has written masks
                    self._masks.remove(job.digest)
                return
            job.claimed = True
        saved = self._save(job, message, result)
        segments = None if result is None else result.exteriors()
        with self._lock:
            if self._known.job(job.digest) is not job:
                outcome = "cancelled"
            else:
                job.unsaved = not saved
                self._known.end(job, message, result, segments)
                if saved:  # otherwise the next start needs the upload
                    self._uploads.remove(job.digest)
                self._news.ended(job.digest)
        self.report(job, outcome, message)

    def _save(self, job: Job, message: str, result: Result | None) -> bool:
        """Store the outcome of a job; return False if the store fails."""
        if result is None:
            ending = Ending("Error", message)
        else:
            ending = Ending("Ready", message, result.pack(), result.model_version)
        try:
            self._store.end(job.number, ending)
        except StoreError:
            log.exception("The result of job %s could not be stored; it is tried again", job.digest)
            return False
        return True

    def report(self, job: Job, outcome: Outcome, message: str) -> None:
        """Log and count a job that ended."""
        report = job.report(outcome, message)
        log_job(report)
        self._counts.add(report)

    def save_unsaved(self) -> None:
        """Store the outcomes that an earlier call could not store."""
        with self._lock:
            jobs = self._known.unsaved()
        for job in jobs:
            if not self._save(job, job.message, job.result):
                return
            with self._lock:
                job.unsaved = False
                if self._known.job(job.digest) is job:
                    self._uploads.remove(job.digest)
