"""The values that all routes of one app share: its engine, settings, metrics and slots."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from flask import Flask, current_app

from api.metrics import Metrics
from jobs.engine import Engine
from settings import Settings

_EXTENSION = "carseg"  # key in `app.extensions`


@dataclass(frozen=True)
class Service:
    """The values that all routes of one app share.

    Attributes:
        engine: the job engine.
        settings: the settings.
        metrics: the metrics.
        waiting_slots: server threads that may wait for a change of a photo's status.
        batch_slots: server threads that may read a batch.
    """

    engine: Engine
    settings: Settings
    metrics: Metrics
    waiting_slots: threading.Semaphore
    batch_slots: threading.Semaphore


def register_service(app: Flask, engine: Engine, settings: Settings) -> None:
    """Set the engine and the settings of an app; call before the other `register_*`."""
    app.extensions[_EXTENSION] = Service(
        engine,
        settings,
        Metrics(engine),
        waiting_slots=threading.BoundedSemaphore(settings.waiting_slots),
        batch_slots=threading.BoundedSemaphore(settings.batch_slots),
    )


def service_of(app: Flask) -> Service:
    """Return the values of an app."""
    service: Service = app.extensions[_EXTENSION]
    return service


def service() -> Service:
    """Return the values of the app that answers the current request."""
    return service_of(current_app)
