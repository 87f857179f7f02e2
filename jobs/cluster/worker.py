"""A worker of a cluster: a parent, and as many processes as `CARSEG_WORKERS` says.

Each process has models of its own, loaded after the fork. The parent kills the one that is over its
time, and starts a new one for one that dies.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from ctypes import c_bool
from multiprocessing.sharedctypes import RawValue
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Reject, WorkerLostError
from celery.worker.request import Request

from jobs.cluster.celery_tasks import TASK, TaskPublisher, make_celery, turn
from jobs.cluster.engine import connect, require
from jobs.cluster.maintenance import Maintenance
from jobs.cluster.runner import ParentMonitor, RedisJobRunner
from jobs.job import Limits, log_job
from jobs.store import StoreError
from logs import configure_log
from pipeline import Analyser, ModelsNotLoadedError, Pipeline
from settings import PREFIX, Settings, SettingsError, load_settings, network_threads, usable_cores
from vision.runtimes.choose import RuntimeMissingError, choose

log = logging.getLogger("carseg.cluster")

Load = Callable[[Settings], Analyser]

_TOO_CHATTY = ("celery.app.trace", "celery.worker.strategy")  # two lines for each photo


def load_models(settings: Settings) -> Pipeline:
    """Load the models, for one photo at a time.

    The processes share the cores. Only ONNX Runtime gives the same bits whatever the number of
    threads; with the others it is the same number as everywhere.

    Raises:
        ModelsError: a model, or the runtime, is not there.
    """
    threads = network_threads()
    try:
        if choose(settings.runtime).name == "onnx":
            processes = min(settings.workers, usable_cores())
            threads = min(threads, usable_cores() // processes)
        pipeline = Pipeline(threads, runtime=settings.runtime)
    except RuntimeMissingError as error:
        raise ModelsNotLoadedError(str(error)) from None
    pipeline.wait()
    return pipeline


def create(load: Load = load_models) -> Celery:
    """The Celery app with its task, for `celery -A`.

    Args:
        load: makes the networks, in each process that works.

    Raises:
        SettingsError: a setting can't be used, or Redis does not answer.
    """
    settings = load_settings()
    if settings.broker_url is None:
        raise SettingsError(f"{PREFIX}BROKER_URL is not set; workers take their photos from there.")
    limits = Limits(
        workers=1,
        max_pixels=settings.max_pixels,
        job_seconds=settings.job_seconds,
        keep_days=settings.keep_days,
        keep_results=settings.keep_results,
    )
    calls, store, queue = connect(settings)
    require(calls)
    app = make_celery(settings)
    _add_task(app, settings, limits, load, ParentMonitor(store, queue, limits, on_end=log_job))

    def set_up_log(**_: object) -> None:
        configure_log(settings)
        for name in _TOO_CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)

    def begin(sender: Any, **_: object) -> None:
        name = f"{sender.hostname}:{os.getpid()}"
        upkeep = Maintenance(store, queue, TaskPublisher(app), limits, on_end=log_job, worker=name)
        signals.worker_shutdown.connect(lambda **_: upkeep.close(), weak=False)

    signals.setup_logging.connect(set_up_log, weak=False)
    signals.worker_ready.connect(begin, weak=False)
    return app


def _add_task(
    app: Celery, settings: Settings, limits: Limits, load: Load, overseer: ParentMonitor
) -> None:
    """Add the one task, and what its processes need."""
    works: list[RedisJobRunner] = []  # the one of this process
    stopping = RawValue(c_bool, False)  # told by the parent to the processes that it has forked

    def stop(**_: object) -> None:
        stopping.value = True

    def begin(**_: object) -> None:
        store, queue = connect(settings)[1:]
        try:
            works[:] = [RedisJobRunner(load(settings), store, queue, limits, on_end=log_job)]
        except ModelsNotLoadedError:  # photos are left to others, not ended in Error
            log.exception("This worker stops: it has no models")
            os.kill(os.getppid(), signal.SIGTERM)

    signals.worker_process_init.connect(begin, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)

    class PhotoRequest(Request):
        """A task as the parent sees it."""

        def on_timeout(self, soft: bool, timeout: float) -> None:
            _try(overseer.overrun, _name(self.id, self.worker_pid))
            super().on_timeout(soft, timeout)

        def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> Any:
            if isinstance(exc_info.exception, WorkerLostError):
                _try(overseer.lost, _name(self.id, self.worker_pid))
            return super().on_failure(exc_info, *args, **options)

    class PhotoTask(Task):
        Request = PhotoRequest

    @app.task(name=TASK, base=PhotoTask, bind=True)
    def work(self: PhotoTask) -> None:
        if not works:
            raise Reject("no models", requeue=True)
        name = _name(self.request.id, os.getpid())
        try:
            works[0].run(name, turn(settings), lambda: stopping.value)
        except StoreError as error:  # what waits, goes on to wait
            log.warning("No photo could be claimed: %s", error)


def _name(task: str, process: int | None) -> str:
    """The name of a turn: a task may come again, while an earlier turn of it still goes on."""
    return f"{task}/{process}/"


def _try(oversee: Callable[[str], None], name: str) -> None:
    """Do what the lapse of the lease does later, where that is not possible now."""
    try:
        oversee(name)
    except StoreError as error:
        log.warning("What became of an attempt is not told: %s", error)
