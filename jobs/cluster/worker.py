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
from functools import partial
from multiprocessing.sharedctypes import RawValue
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Reject, WorkerLostError
from celery.worker.request import Request

from jobs.cluster.celery_tasks import TASK, TaskPublisher, make_celery, time_slice
from jobs.cluster.engine import check_redis, open_redis
from jobs.cluster.maintenance import Maintenance
from jobs.cluster.runner import ParentMonitor, RedisJobRunner
from jobs.store import StoreError
from logs import configure_log
from pipeline import Analyser, ModelsNotLoadedError, Pipeline, open_pipeline
from settings import PREFIX, Settings, SettingsError, load_settings

log = logging.getLogger("carseg.cluster")

LoadModels = Callable[[Settings], Analyser]

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


def create(load: LoadModels = load_models) -> Celery:
    """Create the Celery app and its task, for `celery -A`.

    Args:
        load: loads the networks; called in each child process.

    Raises:
        SettingsError: a setting can't be used, or Redis does not answer.
    """
    settings = load_settings()
    if settings.broker_url is None:
        raise SettingsError(f"{PREFIX}BROKER_URL is not set; workers take their photos from there.")
    redis, store, queue = open_redis(settings)
    check_redis(redis)
    app = make_celery(settings)
    child = ChildState(settings)
    app.register_task(PhotoTask(settings, child, ParentMonitor(store, queue, settings)))
    maintenance = partial(Maintenance, store, queue, TaskPublisher(app), settings)
    _connect_signals(settings, child, load, maintenance)
    return app


class ChildState:
    """State of a child process, with a stop flag in memory that it shares with the parent.

    Attributes:
        runner: runner of this process; None in the parent, and without models.
    """

    def __init__(self, settings: Settings) -> None:
        self.runner: RedisJobRunner | None = None
        self._settings = settings
        self._stopping = RawValue(c_bool, False)

    def load(self, load: LoadModels) -> None:
        """Load the models of this child process. Without models, stop the whole worker."""
        _, store, queue = open_redis(self._settings)
        try:
            self.runner = RedisJobRunner(load(self._settings), store, queue, self._settings)
        except (ModelsNotLoadedError, SettingsError) as error:
            # Leave the photos to other workers, without Error.
            log.error("This worker stops: it has no models. %s", error)
            os.kill(os.getppid(), signal.SIGTERM)

    def stop(self) -> None:
        """Let no child process start a further photo; called in the parent."""
        self._stopping.value = True

    def is_stopping(self) -> bool:
        """Return True if no further photo may be started."""
        return bool(self._stopping.value)


class PhotoRequest(Request):
    """The parent's view of a `PhotoTask` that a child process runs."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """End the current photo; Celery then kills the process."""
        _oversee(self.task.monitor.expire, _attempt_prefix(self.id, self.worker_pid))
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> Any:
        """Requeue the current photo if the process has died."""
        if isinstance(exc_info.exception, WorkerLostError):
            _oversee(self.task.monitor.requeue, _attempt_prefix(self.id, self.worker_pid))
        return super().on_failure(exc_info, *args, **options)


class PhotoTask(Task):
    """Process waiting photos for one time slice.

    Attributes:
        monitor: the parent's answer to child processes that time out or die.
    """

    name = TASK
    Request = PhotoRequest

    def __init__(self, settings: Settings, child: ChildState, monitor: ParentMonitor) -> None:
        self.monitor = monitor
        self._child, self._seconds = child, time_slice(settings)

    def run(self) -> None:
        """Process photos until none waits or the time slice is over."""
        if self._child.runner is None:
            raise Reject("no models", requeue=True)
        name = _attempt_prefix(self.request.id, os.getpid())
        try:
            self._child.runner.run(name, self._seconds, self._child.is_stopping)
        except StoreError as error:  # the photos stay queued
            log.warning("No photo could be claimed: %s", error)


def _connect_signals(
    settings: Settings,
    child: ChildState,
    load: LoadModels,
    start_maintenance: Callable[..., Maintenance],
) -> None:
    """Connect all signals of Celery that a worker uses."""

    def set_up_log(**_: object) -> None:
        configure_log(settings)
        for name in _TOO_CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)

    def start(sender: Any, **_: object) -> None:
        maintenance = start_maintenance(worker=f"{sender.hostname}:{os.getpid()}")
        signals.worker_shutdown.connect(lambda **_: maintenance.close(), weak=False)

    signals.setup_logging.connect(set_up_log, weak=False)
    signals.worker_ready.connect(start, weak=False)
    signals.worker_process_init.connect(lambda **_: child.load(load), weak=False)
    signals.worker_shutting_down.connect(lambda **_: child.stop(), weak=False)


def _attempt_prefix(task: str, process: int | None) -> str:
    """Return the start of the names of the attempts that a task makes in a process.

    The task's id is not enough: a task may be delivered again while its earlier run goes on.
    """
    return f"{task}/{process}/"


def _oversee(action: Callable[[str], None], prefix: str) -> None:
    """Call `action`. If Redis fails, only log it: the lapse of the lease does the same later."""
    try:
        action(prefix)
    except StoreError as error:
        log.warning("The end of an attempt could not be stored: %s", error)
