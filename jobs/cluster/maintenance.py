"""Repair a cluster every few seconds: lapsed leases, missing tasks, old results."""

from __future__ import annotations

import logging
import threading
import time

from jobs.cluster.celery_tasks import TaskPublisher
from jobs.cluster.queue import RedisQueue
from jobs.cluster.result_store import RedisResultStore
from jobs.job import TWICE, JobReport, log_job
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
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, and remove this worker from the list of workers."""
        self._stop.set()
        self._thread.join()
        if self._worker is not None:
            try:
                self._queue.leave(self._worker)
            except StoreError as error:
                log.warning("It is not told that this worker leaves: %s", error)

    def _run(self) -> None:
        while True:
            try:
                self._once()
            except StoreError as error:
                log.warning("Upkeep failed; it is tried again: %s", error)
            except Exception:
                log.exception("Upkeep failed; it is tried again")
            if self._stop.wait(self._pause):
                return

    def _once(self) -> None:
        if self._worker is not None:
            self._queue.beat(self._worker)
        swept = self._queue.sweep(self._pause)
        if swept is None:
            return
        for digest in swept.lapsed:
            log.warning("Nobody works on job %s any more; it waits again", digest)
        for digest in swept.given_up:
            log_job(JobReport(digest, "error", 0.0, 0.0, {}, TWICE))
        if swept.missing:
            self._tasks.put(swept.missing)
        oldest = time.time() - self._settings.keep_days * 86_400
        self._store.expire(oldest, self._settings.keep_results)
