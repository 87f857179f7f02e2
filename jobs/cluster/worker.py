"""Run one worker of a cluster: a parent process and up to `CARSEG_WORKERS` child processes.

Each child loads its own models after the fork. The parent kills a child that exceeds its time
limit, and replaces a child that dies.
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
from jobs.store import StoreError
from logs import configure_log
from pipeline import Analyser, ModelsNotLoadedError, Pipeline, open_pipeline
from settings import PREFIX, Settings, SettingsError, load_settings

log = logging.getLogger("carseg.cluster")

Load = Callable[[Settings], Analyser]

_TOO_CHATTY = ("celery.app.trace", "celery.worker.strategy")  # they log two lines per photo


def load_models(settings: Settings) -> Pipeline:
    """Load the models to process one photo at a time, on this process's share of the cores.

    Raises:
        ModelsNotLoadedError: the models could not be loaded.
        SettingsError: the runtime is not installed.
    """
    pipeline = open_pipeline(settings, processes=settings.worker_count)
    pipeline.wait()
    return pipeline


def create(load: Load = load_models) -> Celery:
    """Create the Celery app and its task, for `celery -A`.

    Args:
        load: loads the networks; called in each child process.

    Raises:
        SettingsError: a setting can't be used, or Redis does not answer.
    """
    settings = load_settings()
    if settings.broker_url is None:
        raise SettingsError(f"{PREFIX}BROKER_URL is not set; workers take their photos from there.")
    calls, store, queue = connect(settings)
    require(calls)
    app = make_celery(settings)
    _add_task(app, settings, load, ParentMonitor(store, queue, settings))

    def set_up_log(**_: object) -> None:
        configure_log(settings)
        for name in _TOO_CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)

    def begin(sender: Any, **_: object) -> None:
        name = f"{sender.hostname}:{os.getpid()}"
        upkeep = Maintenance(store, queue, TaskPublisher(app), settings, worker=name)
        signals.worker_shutdown.connect(lambda **_: upkeep.close(), weak=False)

    signals.setup_logging.connect(set_up_log, weak=False)
    signals.worker_ready.connect(begin, weak=False)
    return app


def _add_task(app: Celery, settings: Settings, load: Load, overseer: ParentMonitor) -> None:
    """Register the task and the signal handlers of the child processes."""
    works: list[RedisJobRunner] = []  # at most one: the runner of this process
    stopping = RawValue(c_bool, False)  # memory shared with the children; set by the parent

    def stop(**_: object) -> None:
        stopping.value = True

    def begin(**_: object) -> None:
        store, queue = connect(settings)[1:]
        try:
            works[:] = [RedisJobRunner(load(settings), store, queue, settings)]
        except (
            ModelsNotLoadedError,
            SettingsError,
        ):
            # Leave the photos to other workers, without Error.
            log.exception("This worker stops: it has no models")
            os.kill(os.getppid(), signal.SIGTERM)

    signals.worker_process_init.connect(begin, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)

    class PhotoRequest(Request):
        """The parent's view of a task."""

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
        except StoreError as error:  # the photos stay queued
            log.warning("No photo could be claimed: %s", error)


def _name(task: str, process: int | None) -> str:
    """Return the name of a turn.

    The task's id is not enough: a task may be delivered again while its earlier turn still runs.
    """
    return f"{task}/{process}/"


def _try(oversee: Callable[[str], None], name: str) -> None:
    """Call `oversee`. If Redis fails, only log it: the lapse of the lease does the same later."""
    try:
        oversee(name)
    except StoreError as error:
        log.warning("What became of an attempt is not told: %s", error)
