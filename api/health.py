"""Routes for monitoring: `/health` (liveness), `/ready` (readiness) and `/metrics`."""

from __future__ import annotations

from flask import Response, jsonify, request
from prometheus_client.exposition import choose_encoder

from api import schema
from api.errors import ApiError
from api.openapi import ApiBlueprint
from api.service import service
from jobs.engine import Engine
from jobs.store import StoreError

blueprint = ApiBlueprint("health", __name__, "checks and metrics for operators")

_RETRY_AFTER = 5  # seconds; Retry-After of /ready


@blueprint.get("/health", summary="Check that the service answers", responses={200: schema.Health})
def health() -> Response:
    """Answer 200. This route needs no key."""
    return jsonify(status="alive")


@blueprint.get(
    "/ready",
    summary="Check that the service can process photos",
    responses={200: schema.Health, **schema.errors(503)},
)
def ready() -> Response:
    """Answer 200 if the models are loaded, results can be stored and the queue has room.

    The answer is 503 with the reason otherwise. This route needs no key.
    """
    reason = not_ready_reason(service().engine)
    if reason is not None:
        raise ApiError(503, reason, _RETRY_AFTER)
    return jsonify(status="ready")


@blueprint.get("/metrics", summary="Get metrics for Prometheus", responses={200: schema.TEXT})
def show_metrics() -> Response:
    """Return counts of requests and jobs, durations, queue and memory, as Prometheus reads them."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(service().metrics.registry), content_type=content_type)


@blueprint.after_app_request
def count_request(response: Response) -> Response:
    """Count an answer of any route."""
    rule = request.url_rule
    route = None if rule is None else rule.rule
    service().metrics.count_request(route, request.method, response.status_code)
    return response


def not_ready_reason(engine: Engine) -> str | None:
    """Return why no photo can be processed now, in one sentence; None if one can."""
    if engine.is_closing:
        return "The service is stopping."
    try:
        health = engine.health()
    except StoreError as error:
        return str(error)
    if health.problem is not None:
        return health.problem
    if health.waiting >= health.limit:
        return f"The queue is full: {health.waiting} photos wait."
    return None
