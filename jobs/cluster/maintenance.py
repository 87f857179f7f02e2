"""Repair a cluster every few seconds: lapsed leases, missing tasks, old results."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from jobs.cluster.celery_tasks import TaskPublisher
from jobs.cluster.queue import RedisQueue
from jobs.cluster.result_store import RedisResultStore
from jobs.job import TWICE, JobReport, Limits
from jobs.store import StoreError

log = logging.getLogger("carseg.cluster")


class Maintenance:
    """Thread that requeues lapsed photos, publishes missing tasks and deletes old results.

    Args:
        store, queue, tasks: shared by the processes of the cluster.
        limits: see `jobs.job.Limits`.
        on_end: called for each photo that is given up.
        worker: name for the heartbeats of this worker; None if this process is not a worker.
    """

    def __init__(
        self,
        store: RedisResultStore,
        queue: RedisQueue,
        tasks: TaskPublisher,
        limits: Limits,
        *,
        on_end: Callable[[JobReport], None],
        worker: str | None = None,
    ) -> None:
        self._store, self._queue, self._tasks, self._limits = store, queue, tasks, limits
        self._on_end, self._worker = on_end, worker
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
            self._on_end(JobReport(digest, "error", 0.0, 0.0, {}, TWICE))
        if swept.missing:
            self._tasks.put(swept.missing)
        limits = self._limits
        self._store.expire(time.time() - limits.keep_days * 86_400, limits.keep_results)
