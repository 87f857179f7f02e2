"""What a worker process of a cluster does with photos, one after the other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from itertools import count

from jobs.cluster.queue import Claim, RedisQueue
from jobs.cluster.result_store import RedisResultStore
from jobs.counts import counted
from jobs.job import LOST, TWICE, Job, JobReport, Limits, Outcome
from jobs.outcome import TOO_SLOW, CancelledError, attempt
from jobs.store import Ending, StoreError
from photo_result import Result, Stage
from pipeline import Analyser
from segment_interface import decode_photo

log = logging.getLogger("carseg.cluster")

_RETRY = 0.5  # seconds between two tries to deliver a result


class RedisJobRunner:
    """The work on all photos that this process claims, one at a time.

    Args:
        stages: the networks.
        store, queue: shared with all others.
        limits: see `Limits`.
        on_end: called for each photo that has ended here.
    """

    def __init__(
        self,
        stages: Analyser,
        store: RedisResultStore,
        queue: RedisQueue,
        limits: Limits,
        *,
        on_end: Callable[[JobReport], None],
    ) -> None:
        self._stages, self._store, self._queue = stages, store, queue
        self._limits, self._on_end = limits, on_end
        self._lease = LeaseRenewer(queue)

    def run(self, name: str, seconds: float, is_stopping: Callable[[], bool]) -> None:
        """Bring photos to their ends, while some wait, each time the one that waits for longest.

        Args:
            name: of this turn; those of the attempts begin with it.
            seconds: after which no other photo is begun.
            is_stopping: says that none shall be begun.

        Raises:
            StoreError: nothing could be claimed.
        """
        end = time.monotonic() + seconds
        for number in count():
            if not self._next(f"{name}{number}") or is_stopping() or time.monotonic() >= end:
                return

    def _next(self, name: str) -> bool:
        """Claim the photo that waits for longest, and bring it to its end; False without one."""
        claim, gone = self._queue.claim(name)
        for digest in gone:
            self._on_end(JobReport(digest, "error", 0.0, 0.0, {}, LOST))
        if claim is None:
            return False
        job = Job(claim.digest, claim.number)
        job.started = time.monotonic()
        job.accepted = job.started - claim.waited
        self._lease.claim = claim
        try:
            ended = attempt(claim.digest, lambda: self._work(claim, job))
            if ended is not None:
                self._end(job, *ended)
        finally:
            self._lease.claim = None
        return True

    def _work(self, claim: Claim, job: Job) -> Result:
        def at(stage: Stage) -> None:
            job.marks.append((stage, time.monotonic()))
            try:
                wanted = self._queue.stage(claim, stage)
            except StoreError as error:  # the work can go on without Redis
                log.warning("Stage %s of job %s is not told: %s", stage, claim.digest, error)
                return
            if not wanted:
                raise CancelledError

        analysis = self._stages.analyse(decode_photo(claim.upload, self._limits.max_pixels), at)
        return Result.of(analysis, self._stages.version)

    def _end(self, job: Job, outcome: Outcome, message: str, result: Result | None) -> None:
        """Deliver an ending, however long Redis is away; the time limit of the task ends it."""
        if result is None:
            ending = Ending("Error", message)
        else:
            ending = Ending("Ready", message, result.pack(), result.model_version)
        while True:
            report = job.report(outcome, message)
            try:
                if self._store.end(job.number, ending, counted(report)):
                    self._on_end(report)
                return
            except StoreError as error:
                log.warning("The end of job %s is not told: %s", job.digest, error)
            time.sleep(_RETRY)


class LeaseRenewer:
    """A thread that renews the lease on one photo at a time, again and again.

    Attributes:
        claim: the photo; None while there is none.
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
                if claim is not None:  # one that has ended meanwhile is not there to be renewed
                    self._queue.renew(claim)
            except StoreError as error:
                log.warning("A lease is not renewed: %s", error)
            except Exception:
                log.exception("A lease is not renewed")


class ParentMonitor:
    """Ends what the processes that work could not, from the parent of these processes.

    Args:
        store, queue, limits, on_end: as in `RedisJobRunner`.
    """

    def __init__(
        self,
        store: RedisResultStore,
        queue: RedisQueue,
        limits: Limits,
        *,
        on_end: Callable[[JobReport], None],
    ) -> None:
        self._store, self._queue = store, queue
        self._limits, self._on_end = limits, on_end

    def overrun(self, name: str) -> None:
        """The last photo of a turn is over its time; its process is killed. Raises StoreError."""
        claim = self._queue.claimed(name)
        if claim is None:
            return
        message = TOO_SLOW.format(self._limits.job_seconds)
        job = Job(claim.digest, claim.number)
        job.started = time.monotonic() - self._limits.job_seconds
        job.accepted = job.started - claim.waited
        report = job.report("timeout", message)
        if self._store.end(claim.number, Ending("Error", message), counted(report)):
            self._on_end(report)

    def lost(self, name: str) -> None:
        """The process has died in a turn. Raises StoreError."""
        claim = self._queue.claimed(name)
        if claim is not None and self._queue.give_back(claim):
            self._on_end(JobReport(claim.digest, "error", claim.waited, 0.0, {}, TWICE))
