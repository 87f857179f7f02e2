"""The Flask app with its job engine, and the entry point of the service.

`python app.py` serves the REST API; `flask --app app run` is for developers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify
from flask_cors import CORS

from api import schema
from api.errors import register_errors, unknown_photo
from api.headers import EXPOSED, add_headers
from api.health import Metrics, add_monitoring
from api.keys import add_access, current_owner, describe_access
from api.openapi import OpenApiApp, add_docs
from api.page import add_ui
from api.photos import add_posting
from api.rate_limits import MEMORY, add_limits, describe_limits
from api.results import add_results
from api.status import add_live
from jobs.engine import Engine
from jobs.open import open_engine
from logs import configure_log
from photo_result import Segments
from pipeline import Analyser
from server.serve import listen, serve
from settings import Settings, SettingsError, load_settings

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
    jobs = open_engine(
        settings,
        pipeline,
        processing_status=processing_status if status is None else status,
        processed_segments=processed_segments if segments is None else segments,
    )
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
    add_monitoring(app, Metrics(VERSION, jobs), jobs)
    add_live(app, jobs, settings.waiting_slots)
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
