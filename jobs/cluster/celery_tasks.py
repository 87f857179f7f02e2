"""Use Celery as a queue of tasks, each of which says "process the next photos".

Only `jobs.cluster.queue` knows the photos and their claims, so a lost or repeated task does no
harm. `jobs.cluster.maintenance` publishes a task for each waiting photo that lacks one. A task
that finds no photo ends, and the claim script drops all tasks that no worker has taken.

A task costs Celery more time than a photo costs us. A task therefore claims photo after photo for
one time slice (see `time_slice`) before its worker takes the next task.
"""

from __future__ import annotations

import logging
import socket

from celery import Celery

from jobs.cluster.redis_client import KEY_PREFIX, TIMEOUT
from settings import Settings

log = logging.getLogger("carseg.cluster")

TASK = "carseg.work"
_TIME_SLICE = 5.0  # seconds; enough for some twenty photos
_QUEUE = "photos"  # with the key prefix, a list that `scripts` uses too
_PUBLISH = {"queue": _QUEUE, "ignore_result": True, "retry": False}

# A connection is closed after half a minute without a sign of life, even while it is idle.
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}


def time_slice(settings: Settings) -> float:
    """Return the seconds during which a task may start photos.

    The last photo that it starts may still take its full time limit.
    """
    return min(_TIME_SLICE, settings.job_seconds / 10)


def make_celery(settings: Settings) -> Celery:
    """Return the Celery app, for publishers of tasks and for workers."""
    if settings.broker_url is None:
        raise ValueError("there is no broker")
    app = Celery("carseg", broker=settings.broker_url.get_secret_value())
    app.conf.update(
        task_default_queue=_QUEUE,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=time_slice(settings) + settings.job_seconds,
        worker_concurrency=settings.worker_count,
        worker_prefetch_multiplier=1,  # with late acknowledgement: no task is reserved ahead
        worker_lost_wait=1.0,
        worker_proc_alive_timeout=60.0,  # a process reports as alive after it has loaded models
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=TIMEOUT,
        broker_transport_options={
            "global_keyprefix": f"{KEY_PREFIX}celery:",
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": TIMEOUT,
            "socket_keepalive": True,
            "socket_keepalive_options": _KEEPALIVE,
        },
    )
    return app


class TaskPublisher:
    """Publisher of tasks to Celery's queue. Thread-safe."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def publish(self, count: int = 1) -> None:
        """Publish tasks. A failure is only logged: `Maintenance` publishes missing tasks later."""
        try:
            with self._app.producer_pool.acquire(block=True) as producer:
                for _ in range(count):
                    self._app.send_task(TASK, producer=producer, **_PUBLISH)
        except Exception as error:
            log.warning("A task could not be published; it will be: %s", type(error).__name__)

    def close(self) -> None:
        """Close the connections."""
        self._app.close()
