"""Rate limits per client: photos per time, and ten times as many results."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from flask import Flask, Response, current_app, g, request

from api.errors import AWAY_SECONDS, ApiError, error_response
from api.openapi import OpenApiApp, add_error, each_operation
from jobs.messages import REDIS_AWAY

if TYPE_CHECKING:
    from flask_limiter import Limiter

# Routes of a photo that only look something up. The others compute an answer each time.
_CHEAP_ROUTES = frozenset(f"/<image_hash>/{name}" for name in ("status", "events", "feedback"))
_RESULTS_PER_PHOTO = 10
_PHOTOS = "photos"  # scope of the limit of photos
MEMORY: Mapping[str, Any] = MappingProxyType({"storage_uri": "memory://"})
_COUNTER = "carseg-photos"  # key in `app.extensions`: counts a photo or raises ApiError


def _costs(route: str, method: str) -> Literal["photo", "result"] | None:
    """Return the limit that a request counts against; None if it is cheap, so not limited."""
    if method == "POST":
        return {"/status": None, "/<image_hash>/feedback": "result"}.get(route, "photo")
    if method != "GET" or not route.startswith("/<image_hash>/") or route in _CHEAP_ROUTES:
        return None
    return "result"


def client() -> str:
    """Return the identity to limit by: the owner of the key, else the address.

    Of an IPv6 address it is the /64 network, which one customer has.
    """
    key: str | None = g.get("client")
    if key is not None:
        return key
    address = request.remote_addr or ""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def count_photo() -> None:
    """Count one more photo of this client if there is a limit. Raises ApiError (429, 503)."""
    count = current_app.extensions.get(_COUNTER)
    if count is not None:
        count()


def register_limits(app: OpenApiApp, rate: str, storage: Mapping[str, Any] = MEMORY) -> None:
    """Limit how often one client may use the expensive routes.

    Call this when all routes are registered.

    Posting a photo costs most. Computing an answer from a result costs less, so ten times as many
    are allowed. Status requests are not limited, because clients wait by polling.

    Args:
        app: the app.
        rate: most photos per time, such as `60/minute`.
        storage: `storage_uri` and `storage_options` of the counters, as `Limiter` takes them.
    """
    from flask_limiter import Limiter, RateLimitExceeded  # here: takes 0.1 s
    from limits.errors import StorageError

    # One or two counters per client, which expire with their time window.
    limiter = Limiter(client, app=app, strategy="fixed-window", **storage)
    _limit_views(app, limiter, rate)
    app.extensions[_COUNTER] = partial(_hit_photo_limit, limiter, rate)

    @app.errorhandler(StorageError)
    def away(error: StorageError) -> Response:
        return error_response(503, REDIS_AWAY, retry_after=AWAY_SECONDS)

    @app.errorhandler(RateLimitExceeded)
    def exceeded(error: RateLimitExceeded) -> Response:
        current = limiter.current_limit
        left = 0.0 if current is None else current.reset_at - time.time()
        message = _too_many(error.description)
        return error_response(429, message, retry_after=max(1, math.ceil(left)))


def _limit_views(app: Flask, limiter: Limiter, rate: str) -> None:
    """Limit the views of all expensive routes."""
    amount, _, period = rate.partition("/")
    limits = {
        "photo": limiter.shared_limit(rate, scope=_PHOTOS),
        "result": limiter.shared_limit(f"{int(amount) * _RESULTS_PER_PHOTO}/{period}", "results"),
    }
    for rule in app.url_map.iter_rules():
        costs = filter(None, (_costs(rule.rule, method) for method in rule.methods or ()))
        for cost in costs:
            view: Any = app.view_functions[rule.endpoint]  # neither library types it
            app.view_functions[rule.endpoint] = limits[cost](view)


def _hit_photo_limit(limiter: Limiter, rate: str) -> None:
    """Count one more photo of this client. Raises ApiError (429, 503)."""
    from limits import parse
    from limits.errors import StorageError

    photos = parse(rate)
    who = (client(), _PHOTOS)  # the same counter as in the shared limit
    try:
        if not limiter.limiter.hit(photos, *who):
            left = limiter.limiter.get_window_stats(photos, *who).reset_time - time.time()
            raise ApiError(429, _too_many(str(photos)), max(1, math.ceil(left)))
    except StorageError:
        raise ApiError(503, REDIS_AWAY, AWAY_SECONDS) from None


def _too_many(limit: str) -> str:
    """Return the message for a client beyond a limit, such as `6 per 1 minute`."""
    return f"Too many requests; the limit is {limit.replace(' per 1 ', ' per ')}."


def describe_limits(document: dict[str, Any]) -> None:
    """Describe in an OpenAPI document which operations may be limited.

    They are described without a limit, too: programs are made for services with other settings.
    """
    for route, method, operation in each_operation(document):
        if _costs(route, method):
            add_error(operation, 429, "Too many requests; Retry-After says when to try again")
