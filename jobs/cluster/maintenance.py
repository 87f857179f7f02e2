"""Repair a cluster every few seconds: lapsed leases, missing tasks, old results."""

from __future__ import annotations

import logging
import threading
import time

from jobs.cluster.celery_tasks import TaskPublisher
from jobs.cluster.queue import RedisQueue, SweepReport
from jobs.cluster.result_store import RedisResultStore
from jobs.job import JobReport, log_job
from jobs.messages import STOPPED_TWICE
from jobs.store import StoreError
from settings import Settings

log = logging.getLogger("carseg.cluster")


class Maintenance:
    """Thread that requeues lapsed photos, publishes missing tasks and deletes old results.

    Args:
        store, queue, tasks: shared by the processes of the cluster.
        settings: settings of the service.
        worker: name for the heartbeats of this worker; None if this process is not a worker.
    """

    def __init__(
        self,
        store: RedisResultStore,
        queue: RedisQueue,
        tasks: TaskPublisher,
        settings: Settings,
        *,
        worker: str | None = None,
    ) -> None:
        self._store, self._queue, self._tasks = store, queue, tasks
        self._settings, self._worker = settings, worker
        self._pause = queue.lease / 3
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, and remove this worker from the list of workers."""
        self._stop.set()
        self._thread.join()
        if self._worker is not None:
            try:
                self._queue.leave(self._worker)
            except StoreError as error:
                log.warning("The list of workers still holds this one: %s", error)

    def _run(self) -> None:
        while True:
            try:
                self._once()
            except StoreError as error:
                log.warning("Maintenance failed; it is tried again: %s", error)
            except Exception:
                log.exception("Maintenance failed; it is tried again")
            if self._stop.wait(self._pause):
                return

    def _once(self) -> None:
        if self._worker is not None:
            self._queue.heartbeat(self._worker)
        report = self._queue.sweep(self._pause)
        if report is not None:
            self._report(report)
        # In each process, for that which sweeps first may always be one that keeps more results.
        oldest = time.time() - self._settings.keep_days * 86_400
        self._store.expire(oldest, self._settings.keep_results)

    def _report(self, report: SweepReport) -> None:
        """Log what a sweep has changed, and publish the tasks that are missing."""
        for digest in report.lapsed:
            log.warning("Nobody works on job %s any more; it waits again", digest)
        for digest in report.given_up:
            log_job(JobReport(digest, "error", 0.0, 0.0, {}, STOPPED_TWICE))
        if report.missing:
            self._tasks.publish(report.missing)
