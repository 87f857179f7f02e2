"""Process claimed photos in a worker process, one after the other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from itertools import count

from jobs.cluster.queue import Claim, RedisQueue
from jobs.cluster.result_store import RedisResultStore
from jobs.counts import counted
from jobs.job import Job, JobReport, Outcome, log_job
from jobs.messages import LOST, STOPPED_TWICE, timed_out
from jobs.outcome import CancelledError, run_guarded, to_store
from jobs.store import StoredOutcome, StoreError
from photo_result import Result, Stage
from pipeline import Analyser
from segment_interface import decode_photo
from settings import Settings

log = logging.getLogger("carseg.cluster")

_RETRY = 0.5  # seconds between two tries to store an outcome


class RedisJobRunner:
    """Runner of the jobs that this process claims, one at a time.

    Args:
        stages: the pipeline, with its networks loaded.
        store, queue: shared by the processes of the cluster.
        settings: settings of the service.
    """

    def __init__(
        self,
        stages: Analyser,
        store: RedisResultStore,
        queue: RedisQueue,
        settings: Settings,
    ) -> None:
        self._stages, self._store, self._queue = stages, store, queue
        self._settings = settings
        self._lease = LeaseRenewer(queue)

    def run(self, name: str, seconds: float, is_stopping: Callable[[], bool]) -> None:
        """Process waiting photos in their order, until none waits or the time slice is over.

        Args:
            name: name of this time slice; the names of its attempts start with it.
            seconds: seconds after which no further photo is started.
            is_stopping: returns True if no further photo may be started.

        Raises:
            StoreError: Redis failed, so no photo could be claimed.
        """
        end = time.monotonic() + seconds
        for number in count():
            if not self._next(f"{name}{number}") or is_stopping() or time.monotonic() >= end:
                return

    def _next(self, name: str) -> bool:
        """Claim and process the photo that has waited longest. Return False if none waits."""
        claim, gone = self._queue.claim(name)
        for digest in gone:
            log_job(JobReport(digest, "error", 0.0, 0.0, {}, LOST))
        if claim is None:
            return False
        job = Job(claim.digest, claim.number)
        job.started = time.monotonic()
        job.accepted = job.started - claim.waited
        self._lease.claim = claim
        try:
            names = self._settings.part_names
            ended = run_guarded(claim.digest, lambda: self._process(claim, job), names)
            if ended is not None:
                self._end(job, *ended)
        finally:
            self._lease.claim = None
        return True

    def _process(self, claim: Claim, job: Job) -> Result:
        def on_stage(stage: Stage) -> None:
            job.stage_starts.append((stage, time.monotonic()))
            try:
                wanted = self._queue.advance(claim, stage)
            except StoreError as error:  # the work can go on without Redis
                log.warning("A stage of job %s could not be recorded: %s", claim.digest, error)
                return
            if not wanted:
                raise CancelledError

        photo = decode_photo(claim.upload, self._settings.max_pixels)
        analysis = self._stages.analyse(photo, on_stage, damage=claim.damage)
        return Result.of(analysis, self._stages.version, self._stages.damage_version)

    def _end(self, job: Job, outcome: Outcome, message: str, result: Result | None) -> None:
        """Store an outcome. Retry while Redis is away; the task's time limit ends the retries."""
        stored = to_store(message, result)
        while True:
            report = job.report(outcome, message)
            try:
                if self._store.finish(job.number, stored, counted(report)):
                    log_job(report)
                return
            except StoreError as error:
                log.warning(
                    "The outcome of job %s could not be stored; it is tried again: %s",
                    job.digest,
                    error,
                )
            time.sleep(_RETRY)


class LeaseRenewer:
    """Thread that renews the lease of the current photo, three times per lease.

    Attributes:
        claim: claim on the current photo; None between photos.
    """

    def __init__(self, queue: RedisQueue) -> None:
        self._queue = queue
        self.claim: Claim | None = None
        threading.Thread(target=self._run, name="lease", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self._queue.lease / 3)
            claim = self.claim
            try:
                if claim is not None:  # it may have ended since: then this does nothing
                    self._queue.renew(claim)
            except StoreError as error:
                log.warning("A lease could not be renewed: %s", error)
            except Exception:
                log.exception("A lease could not be renewed")


class ParentMonitor:
    """The parent's answer to child processes that are too slow or have died.

    Args:
        store, queue, settings: as in `RedisJobRunner`.
    """

    def __init__(
        self,
        store: RedisResultStore,
        queue: RedisQueue,
        settings: Settings,
    ) -> None:
        self._store, self._queue, self._settings = store, queue, settings

    def expire(self, name: str) -> None:
        """End the current photo of a time slice with a timeout; Celery then kills the process.

        Raises:
            StoreError: Redis failed.
        """
        claim = self._queue.find_claim(name)
        if claim is None:
            return
        message = timed_out(self._settings.job_seconds)
        job = Job(claim.digest, claim.number)
        job.started = time.monotonic() - self._settings.job_seconds
        job.accepted = job.started - claim.waited
        report = job.report("timeout", message)
        if self._store.finish(claim.number, StoredOutcome("Error", message), counted(report)):
            log_job(report)

    def requeue(self, name: str) -> None:
        """Requeue the current photo of a time slice whose process has died.

        Raises:
            StoreError: Redis failed.
        """
        claim = self._queue.find_claim(name)
        if claim is not None and self._queue.give_back(claim):
            log_job(JobReport(claim.digest, "error", claim.waited, 0.0, {}, STOPPED_TWICE))
