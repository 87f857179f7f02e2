"""The Flask app with its job engine, and the entry point of the service.

`python app.py` serves the REST API; `flask --app app run` is for developers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import Response, jsonify
from flask_cors import CORS

from api import schema
from api.errors import register_errors, unknown_photo
from api.headers import EXPOSED, add_headers
from api.health import Metrics, add_monitoring
from api.keys import add_access, current_owner, describe_access
from api.listeners import seats
from api.openapi import OpenApiApp, add_docs
from api.page import add_ui
from api.photos import add_posting
from api.rate_limits import MEMORY, add_limits, describe_limits
from api.results import add_results
from api.status import add_live
from jobs.engine import Engine
from jobs.job import Limits, log_job
from jobs.sqlite_store import SqliteStore
from jobs.store import Store, StoreError
from jobs.thread_engine import ThreadEngine
from logs import configure_log
from photo_result import Segments
from pipeline import Analyser, Pipeline
from server.serve import listen, serve
from settings import PREFIX, Settings, SettingsError, load_settings, network_threads, usable_cores
from vision.runtimes.choose import RuntimeMissingError

if TYPE_CHECKING:
    from jobs.cluster.engine import RedisEngine

VERSION = "0.1.0"

# State of the one service in this process; the `ThreadEngine` writes both under its lock.
processing_status: dict[str, str] = {}
processed_segments: dict[str, Segments] = {}


def create_app(
    config: Settings | None = None,
    *,
    pipeline: Analyser | None = None,
    status: dict[str, str] | None = None,
    segments: dict[str, Segments] | None = None,
) -> OpenApiApp:
    """Create the Flask app; its job engine is `app.extensions["jobs"]`.

    The models start to load in the background. Photos that an earlier run left in `img/` are
    queued again.

    Args:
        config: the settings, by default from the environment.
        pipeline: loaded models to share, by default new ones.
        status: dict to keep states in, by default `processing_status`.
        segments: dict to keep polygons in, by default `processed_segments`.

    Raises:
        SettingsError: a setting or a folder can't be used.
    """
    settings = config or load_settings()
    settings.prepare_folders()
    kept = (
        processing_status if status is None else status,
        processed_segments if segments is None else segments,
    )
    jobs, stages, metrics = _open_engine(settings, pipeline, *kept)
    app = OpenApiApp(__name__, title="Car segmentation", version=VERSION)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions["jobs"] = jobs
    CORS(app, origins=settings.cors_patterns, expose_headers=EXPOSED)
    add_headers(app, settings)
    register_errors(app)
    add_access(app, settings)
    add_posting(app, jobs, settings)
    _add_routes(app, jobs)
    add_monitoring(app, metrics, jobs, stages)
    add_live(app, jobs, seats(settings.http_threads))
    add_results(app, jobs)
    add_ui(app, settings)
    add_docs(app)
    _limit_and_describe(app, settings)
    jobs.resume()
    return app


def _limit_and_describe(app: OpenApiApp, settings: Settings) -> None:
    """Apply rate limits and document keys; call after all routes are registered."""
    if settings.photo_rate:
        add_limits(app, settings.photo_rate, _rate_storage(settings))
        describe_limits(app.api_doc)
    if settings.api_keys:
        describe_access(app.api_doc)


def _rate_storage(settings: Settings) -> Mapping[str, Any]:
    """Return the storage of rate limits: memory, or the Redis that several processes share."""
    if settings.broker_url is None:
        return MEMORY
    from jobs.cluster.redis_client import connection_options  # here: redis may be missing

    options = {**connection_options(), "wrap_exceptions": True}
    return {"storage_uri": settings.broker_url.get_secret_value(), "storage_options": options}


def _load_models(settings: Settings, workers: int) -> Pipeline:
    """Start to load the models. Raises SettingsError."""
    try:
        return Pipeline(network_threads(), runtime=settings.runtime, calls=workers)
    except RuntimeMissingError as error:
        raise SettingsError(f"{PREFIX}RUNTIME={settings.runtime}: {error}.") from None


def _open_store(settings: Settings) -> Store:
    """Open the store of photos. Raises SettingsError."""
    try:
        return SqliteStore(None if settings.store == "memory" else settings.results)
    except StoreError as error:
        raise SettingsError(f"{PREFIX}DATA_DIR: {settings.results}: {error}.") from None


def _open_engine(
    settings: Settings,
    pipeline: Analyser | None,
    status: dict[str, str],
    segments: dict[str, Segments],
) -> tuple[ThreadEngine | RedisEngine, Analyser | None, Metrics]:
    """Open the job engine and create its metrics.

    Returns:
        The engine, the models (None if they run in other processes), and the metrics.

    Raises:
        SettingsError: a setting or a folder can't be used.
    """
    workers = min(settings.workers, usable_cores())
    limits = _limits(settings, workers)
    if settings.broker_url is not None:
        cluster = _open_cluster(settings, limits)
        return cluster, None, Metrics(VERSION, cluster.counts)
    stages = pipeline or _load_models(settings, workers)
    metrics = Metrics(VERSION)
    return _open_jobs(settings, limits, stages, metrics, status, segments), stages, metrics


def _open_jobs(
    settings: Settings,
    limits: Limits,
    stages: Analyser,
    metrics: Metrics,
    status: dict[str, str],
    segments: dict[str, Segments],
) -> ThreadEngine:
    """Open the engine whose workers are threads of this process. Raises SettingsError."""
    return ThreadEngine(
        stages,
        _open_store(settings),
        limits,
        uploads=settings.uploads,
        masks=settings.masks,
        write_masks=settings.write_masks,
        on_end=metrics.job_ended,
        processing_status=status,
        processed_segments=segments,
    )


def _open_cluster(settings: Settings, limits: Limits) -> RedisEngine:
    """Open the engine whose workers are other processes. Raises SettingsError."""
    try:
        from jobs.cluster.engine import open_cluster  # here: its packages may be missing
    except ImportError as error:
        raise SettingsError(
            f"{PREFIX}BROKER_URL needs the package {error.name}: "
            "pip install -r requirements/cluster.txt."
        ) from None
    return open_cluster(settings, limits, log_job)


def _limits(settings: Settings, workers: int) -> Limits:
    return Limits(
        workers=workers,
        max_pixels=settings.max_pixels,
        queue=settings.queue,
        job_seconds=settings.job_seconds,
        keep_days=settings.keep_days,
        keep_results=settings.keep_results,
    )


def _add_routes(app: OpenApiApp, jobs: Engine) -> None:
    error = schema.ErrorAnswer

    @app.get("/", summary="List what is Ready", responses={200: schema.HASHES})
    def list_ready() -> Response:
        """Return the hashes of all photos whose result can be fetched."""
        return jsonify(jobs.ready(current_owner()))

    @app.delete(
        "/<image_hash>",
        summary="Cancel or forget a photo",
        responses={204: None, **dict.fromkeys((404, 500, 507), error)},
    )
    def forget_photo(path: schema.ImagePath) -> Response:
        """Cancel a photo that is Uploaded or Processing, and forget its result, if any."""
        if not jobs.forget(path.image_hash, current_owner()):
            raise unknown_photo()
        return Response(status=204)


def main() -> int:
    """Serve until SIGTERM or Ctrl-C, and return the exit status."""
    try:
        settings = load_settings()
        configure_log(settings)
        sockets = listen(settings)
        app = create_app(settings)
    except SettingsError as error:
        print(f"The service can't start. {error.message}", file=sys.stderr)
        return error.exit_code
    serve(app, app.extensions["jobs"], settings, sockets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
