"""The REST API: routes only. `python app.py` serves it; `flask --app app run` is for developers."""

from __future__ import annotations

import json
import sys

import numpy as np
from flask import Response, jsonify, request
from flask_cors import CORS

import schema
from access import add_access, current_owner, describe_access
from api_docs import Api, add_docs
from errors import ApiError, register_errors, unknown_photo
from headers import EXPOSED, add_headers
from job import Limits
from jobs import Jobs
from listeners import seats
from live import add_live
from logs import configure_log
from monitoring import Metrics, add_monitoring
from photo_result import Segments
from pipeline import Analyser, Pipeline
from rates import add_limits, describe_limits
from results import add_results
from runtimes import RuntimeMissingError
from segment_interface import ImageError, decode_base64
from server import listen, serve
from settings import PREFIX, Settings, SettingsError, load_settings, network_threads, usable_cores
from sqlite_store import SqliteStore
from store import MemoryStore, Store, StoreError
from ui import add_ui

VERSION = "0.1.0"

# In the JSON of a photo, where one is needed: each takes 20 times the memory of its two letters.
_MOST_VALUES = 10_000

# State of the one service in this process; `Jobs` writes both under its lock.
processing_status: dict[str, str] = {}
processed_segments: dict[str, Segments] = {}


def create_app(
    config: Settings | None = None,
    *,
    pipeline: Analyser | None = None,
    status: dict[str, str] | None = None,
    segments: dict[str, Segments] | None = None,
) -> Api:
    """The Flask app; its jobs are at `app.extensions["jobs"]`.

    The models start to load in the background, and photos that an earlier run left in
    `img/` are taken up again.

    Args:
        config: the settings, by default from the environment.
        pipeline: loaded models to share, by default new ones.
        status: where states are kept, by default `processing_status`.
        segments: where polygons are kept, by default `processed_segments`.

    Raises:
        SettingsError: a setting or a folder can't be used.
    """
    settings = config or load_settings()
    settings.prepare_folders()
    workers = min(settings.workers, usable_cores())
    stages = pipeline or _load_models(settings, workers)
    metrics = Metrics(VERSION)
    jobs = Jobs(
        stages,
        _open_store(settings),
        _limits(settings, workers),
        uploads=settings.uploads,
        masks=settings.masks,
        write_masks=settings.write_masks,
        on_end=metrics.job_ended,
        processing_status=processing_status if status is None else status,
        processed_segments=processed_segments if segments is None else segments,
    )
    app = Api(__name__, title="Car segmentation", version=VERSION)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions["jobs"] = jobs
    CORS(app, origins=settings.cors_patterns, expose_headers=EXPOSED)
    add_headers(app, settings)
    register_errors(app, too_large=_too_large(settings))
    add_access(app, settings)
    _add_routes(app, jobs, settings)
    add_monitoring(app, metrics, jobs, stages)
    add_live(app, jobs, seats(settings.http_threads))
    add_results(app, jobs)
    add_ui(app, settings)
    add_docs(app)
    _limit_and_describe(app, settings)
    jobs.resume()
    return app


def _limit_and_describe(app: Api, settings: Settings) -> None:
    """What is done when all routes and their description are there."""
    if settings.photo_rate:
        add_limits(app, settings.photo_rate)
        describe_limits(app.api_doc)
    if settings.api_keys:
        describe_access(app.api_doc)


def _load_models(settings: Settings, workers: int) -> Pipeline:
    """Begin to load the models. Raises SettingsError."""
    try:
        return Pipeline(network_threads(), runtime=settings.runtime, calls=workers)
    except RuntimeMissingError as error:
        raise SettingsError(f"{PREFIX}RUNTIME={settings.runtime}: {error}.") from None


def _open_store(settings: Settings) -> Store:
    """What remembers the photos. Raises SettingsError."""
    if settings.store == "memory":
        return MemoryStore()
    try:
        return SqliteStore(settings.results)
    except StoreError as error:
        raise SettingsError(f"{PREFIX}DATA_DIR: {settings.results}: {error}.") from None


def _limits(settings: Settings, workers: int) -> Limits:
    return Limits(
        workers=workers,
        max_pixels=settings.max_pixels,
        queue=settings.queue,
        job_seconds=settings.job_seconds,
        keep_days=settings.keep_days,
        keep_results=settings.keep_results,
    )


def _add_routes(app: Api, jobs: Jobs, settings: Settings) -> None:
    error = schema.ErrorAnswer

    @app.post(
        "/",
        summary="Post a photo",
        responses={200: schema.Accepted, **dict.fromkeys((400, 413, 415, 500, 503, 507), error)},
        openapi_extensions={"requestBody": schema.UPLOAD_BODY},
    )
    def post_photo() -> Response:
        """Answers at once; poll the status with the hash. A known photo is not worked on again."""
        data = decode_base64(_posted_text())
        if len(data) > settings.max_upload_bytes:
            raise ImageError(413, _too_large(settings))
        image_hash, is_new = jobs.accept(data, current_owner())
        message = "The photo was taken." if is_new else "The photo is known already."
        return jsonify(message=message, image_hash=image_hash)

    @app.get("/", summary="List what is Ready", responses={200: schema.HASHES})
    def list_ready() -> Response:
        """Hashes of all photos whose result can be fetched."""
        return jsonify(jobs.ready(current_owner()))

    @app.delete(
        "/<image_hash>",
        summary="Cancel or forget a photo",
        responses={204: None, **dict.fromkeys((404, 500, 507), error)},
    )
    def forget_photo(path: schema.ImagePath) -> Response:
        """A photo that waits or is worked on is cancelled; its result, if any, is forgotten."""
        if not jobs.forget(path.image_hash, current_owner()):
            raise unknown_photo()
        return Response(status=204)


def _posted_text() -> str:
    """The `image` of the JSON that was posted. Raises ApiError."""
    if request.content_encoding not in (None, "", "identity"):
        raise ApiError(415, "A compressed request (Content-Encoding) is not supported.")
    if not request.is_json:
        raise ApiError(415, "Send JSON, with the header Content-Type: application/json.")
    data = request.get_data(cache=False)
    letters = np.frombuffer(data, np.uint8)  # counts several times as fast as bytes do
    if sum(np.count_nonzero(letters == mark) for mark in b",[{") > _MOST_VALUES:
        raise ApiError(400, "The JSON has too many values.")
    try:
        document = json.loads(data, strict=False)
    except (ValueError, RecursionError):
        raise ApiError(400, "The request is not valid JSON.") from None
    image = document.get("image") if isinstance(document, dict) else None
    if not isinstance(image, str) or not image:
        raise ApiError(400, 'There is no image; send {"image": "<base64>"}.')
    return image


def _too_large(settings: Settings) -> str:
    return f"The image is too large; the limit is {settings.max_upload_mb:g} MB."


def main() -> int:
    """Serve until SIGTERM or Ctrl-C. Returns the exit status."""
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
