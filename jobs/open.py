"""Open the job engine that the settings ask for."""

from __future__ import annotations

from jobs.engine import Engine
from jobs.sqlite_store import SqliteStore
from jobs.store import Store, StoreError
from jobs.thread_engine import ThreadEngine
from photo_result import Segments
from pipeline import Analyser, open_pipeline
from settings import PREFIX, Settings, SettingsError


def open_engine(
    settings: Settings,
    pipeline: Analyser | None = None,
    *,
    processing_status: dict[str, str],
    processed_segments: dict[str, Segments],
) -> Engine:
    """Open the engine that processes photos in threads, or in Celery workers over one Redis.

    Args:
        settings: settings of the service.
        pipeline: loaded models to share, by default new ones. Celery workers load their own.
        processing_status: see `jobs.thread_engine.ThreadEngine`; empty with Redis.
        processed_segments: see `jobs.thread_engine.ThreadEngine`; empty with Redis.

    Raises:
        SettingsError: a setting or a file cannot be used, or Redis does not answer.
    """
    if settings.broker_url is not None:
        return _open_redis_engine(settings)
    stages = pipeline or open_pipeline(settings, calls=settings.worker_count)
    return ThreadEngine(
        stages,
        _open_store(settings),
        settings,
        processing_status=processing_status,
        processed_segments=processed_segments,
    )


def _open_store(settings: Settings) -> Store:
    """Open the store of photos. Raises SettingsError."""
    try:
        return SqliteStore(None if settings.store == "memory" else settings.results)
    except StoreError as error:
        raise SettingsError(f"{PREFIX}DATA_DIR: {settings.results}: {error}.") from None


def _open_redis_engine(settings: Settings) -> Engine:
    """Open the engine whose workers are other processes. Raises SettingsError."""
    try:
        from jobs.cluster.engine import open_redis_engine  # here: its packages may be missing
    except ImportError as error:
        raise SettingsError(
            f"{PREFIX}BROKER_URL needs the package {error.name}: "
            "pip install -r requirements/cluster.txt."
        ) from None
    return open_redis_engine(settings)
