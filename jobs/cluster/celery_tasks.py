"""Celery as this service uses it: a queue of tasks that each say "work on the next photos".

Which photos these are, and who has them, is known to `queue` alone. So a task that is lost or
comes twice does no harm: while photos wait, `upkeep` sees to it that there are as many tasks, and a
task that finds no photo is done, and with it all that nobody has taken.

A task costs Celery more than a photo costs us. So whoever has one goes on with the photos that wait
for a turn, and only then takes the next one.
"""

from __future__ import annotations

import logging
import socket

from celery import Celery

from jobs.cluster.redis_client import TIMEOUT
from jobs.cluster.result_store import PREFIX
from settings import Settings, usable_cores

log = logging.getLogger("carseg.cluster")

TASK = "carseg.work"
_TURN = 5.0  # seconds: some twenty photos
_QUEUE = "photos"  # with the prefix, a list that `scripts` knows too
_PUBLISH = {"queue": _QUEUE, "ignore_result": True, "retry": False}

# A connection of which nothing is heard for half a minute is given up, also while it only waits.
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}


def turn(settings: Settings) -> float:
    """Seconds for which a task begins photos; what it began last may take its whole time."""
    return min(_TURN, settings.job_seconds / 10)


def make_celery(settings: Settings) -> Celery:
    """The Celery app, for those who publish tasks and those who do them."""
    if settings.broker_url is None:
        raise ValueError("there is no broker")
    app = Celery("carseg", broker=settings.broker_url.get_secret_value())
    app.conf.update(
        task_default_queue=_QUEUE,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=turn(settings) + settings.job_seconds,
        worker_concurrency=min(settings.workers, usable_cores()),
        worker_prefetch_multiplier=1,  # with late acknowledgement: none beside those worked on
        worker_lost_wait=1.0,
        worker_proc_alive_timeout=60.0,  # the models are loaded before a process is there
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=TIMEOUT,
        broker_transport_options={
            "global_keyprefix": f"{PREFIX}celery:",
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": TIMEOUT,
            "socket_keepalive": True,
            "socket_keepalive_options": _KEEPALIVE,
        },
    )
    return app


class TaskPublisher:
    """The tasks in the queue of Celery. Safe for several threads."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def put(self, count: int = 1) -> None:
        """Publish tasks. What fails is logged, no more: `upkeep` makes up for it."""
        try:
            with self._app.producer_pool.acquire(block=True) as producer:
                for _ in range(count):
                    self._app.send_task(TASK, producer=producer, **_PUBLISH)
        except Exception as error:
            log.warning("A task could not be published; it will be: %s", type(error).__name__)

    def close(self) -> None:
        """Let go of the connections."""
        self._app.close()
