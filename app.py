"""The Flask app with its job engine, and the entry point of the service.

`python app.py` serves the REST API; `flask --app app run` is for developers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from api import feedback, health, page, photos, results, status
from api.compression import register_compression
from api.errors import register_errors
from api.headers import register_headers
from api.keys import register_keys
from api.openapi import OpenApiApp, register_docs
from api.rate_limits import MEMORY, describe_limits, register_limits
from api.service import register_service, service_of
from jobs.open import open_engine
from logs import configure_log
from photo_result import Segments
from pipeline import Analyser
from server.serve import listen, serve
from settings import Settings, SettingsError, load_settings

_BLUEPRINTS = (
    photos.blueprint,
    status.blueprint,
    results.blueprint,
    feedback.blueprint,
    health.blueprint,
)

# State of the one service in this process. The `ThreadEngine` writes both dicts under its lock;
# with Redis they stay empty.
processing_status: dict[str, str] = {}
processed_segments: dict[str, Segments] = {}


def create_app(
    config: Settings | None = None,
    *,
    pipeline: Analyser | None = None,
    status: dict[str, str] | None = None,
    segments: dict[str, Segments] | None = None,
) -> OpenApiApp:
    """Create the Flask app; `api.service.service_of` returns its job engine.

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
    engine = open_engine(
        settings,
        pipeline,
        processing_status=processing_status if status is None else status,
        processed_segments=processed_segments if segments is None else segments,
    )
    app = OpenApiApp(__name__)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    register_service(app, engine, settings)
    register_compression(app)
    register_errors(app)
    register_headers(app, settings)
    for blueprint in _BLUEPRINTS:
        app.register_api(blueprint)
    app.register_blueprint(page.blueprint)
    register_docs(app)
    describe_limits(app.api_doc)
    register_keys(app, settings)
    if settings.photo_rate:
        register_limits(app, settings.photo_rate, _rate_storage(settings))
    engine.resume()
    return app


def _rate_storage(settings: Settings) -> Mapping[str, Any]:
    """Return the storage of rate limits: memory, or the Redis that several processes share."""
    if settings.broker_url is None:
        return MEMORY
    from jobs.cluster.redis_client import connection_options  # here: redis may be missing

    options = {**connection_options(), "wrap_exceptions": True}
    return {"storage_uri": settings.broker_url.get_secret_value(), "storage_options": options}


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
    serve(app, service_of(app).engine, settings, sockets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
