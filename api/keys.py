"""API keys, the owners of results, and protection against other sites (CSRF, DNS rebinding).

A client sends its key as `Authorization: Bearer <key>`, as `X-API-Key: <key>`, or as the password
of HTTP Basic authentication with any user name. Basic is for browsers, which can't add a header
when a person opens `/ui` or `/docs`. They ask for name and password once, then send both with each
request to this origin.

A browser also sends them with requests that another site triggers. Such a site can't read the
answers, because they never allow credentials in CORS (`Access-Control-Allow-Credentials`). It can't
change anything, because a request with side effects must come from the same origin; see
`_is_foreign`. With or without keys, only pages of allowed origins may send JSON, for which browsers
ask first (CORS preflight), or files, for which they do not; see `refuse_foreign_page`.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from api.errors import ApiError
from api.openapi import OpenApiApp, add_error, each_operation
from api.service import service
from settings import Settings

log = logging.getLogger("carseg.api")

OPEN_ROUTES = frozenset({"/health", "/ready"})  # load balancers and orchestrators have no key

_BEARER = 'Bearer realm="carseg"'
_BASIC = 'Basic realm="carseg", charset="UTF-8"'
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class _Key(NamedTuple):
    """The hashes kept of a key; neither of them is accepted as a key."""

    digest: bytes  # SHA-256, to compare with
    owner: str  # hex, stored with the key's photos; not derived from `digest`


def _key(text: str) -> _Key:
    data = text.encode("utf-8", "surrogatepass")
    owner = hashlib.blake2b(data, digest_size=8, person=b"carseg-owner").hexdigest()
    return _Key(hashlib.sha256(data).digest(), owner)


class Keys:
    """The valid keys."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._known = [_key(text) for text in keys]

    def __bool__(self) -> bool:
        return bool(self._known)

    def owner(self, given: str) -> str | None:
        """Return the owner of a key, or None if the key is not valid.

        The time does not depend on which key matches, if any. All hashes have the same length,
        each comparison takes constant time, and the loop goes on after a match.
        """
        digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).digest()
        found = None
        for key in self._known:
            if hmac.compare_digest(digest, key.digest):
                found = key.owner
        return found


def current_owner() -> str:
    """Return the owner of the current request: "" if there are no keys, or results are shared."""
    owner: str = g.get("owner", "")
    return owner


def register_keys(app: OpenApiApp, settings: Settings) -> None:
    """Check the key of each request before anything else, and describe that.

    Call this after `api.openapi.register_docs`, and before other functions that check requests.

    Args:
        app: the app.
        settings: keys, trusted proxies, and whether results are shared.
    """
    keys = Keys(key.get_secret_value() for key in settings.api_keys)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    if not keys:
        if settings.others_can_reach_it:
            log.warning(
                "Every client that reaches this service can use it and see all results; "
                "set CARSEG_API_KEYS to require a key"
            )
        else:
            _answer_only_this_machine(app, settings)
        return
    _describe_keys(app.api_doc)

    @app.before_request
    def check_key() -> None:
        if _needs_no_key():
            return
        given, by_browser = _given()
        owner = None if given is None else keys.owner(given)
        if owner is None:
            raise _refusal("This key is not valid." if given else "Send an API key.")
        if by_browser and request.method not in _SAFE_METHODS and _is_foreign():
            raise ApiError(403, "Other sites can't use a key that the browser has stored.")
        g.client = owner
        g.owner = "" if settings.shared_results else owner

    @app.after_request
    def vary(response: Response) -> Response:
        response.vary.update(("Authorization", "X-API-Key"))
        return response


def refuse_foreign_page() -> None:
    """Refuse a request from a page whose origin is not in the setting `cors_origins`.

    Call this for request bodies that browsers send without a CORS preflight.

    Raises:
        ApiError: 403.
    """
    settings = service().settings
    if _is_foreign() and not settings.allows_origin(request.headers.get("Origin", "null")):
        raise ApiError(403, "CARSEG_CORS_ORIGINS does not let pages of this origin send photos.")


def _answer_only_this_machine(app: Flask, settings: Settings) -> None:
    """Refuse requests whose Host header is not a name of this machine.

    A web site can resolve its own name to 127.0.0.1 (DNS rebinding). A browser then takes this
    service for that site, and lets the site read the answers. Host still has the site's name.
    """
    names = {"localhost", "127.0.0.1", "[::1]", settings.host, f"[{settings.host}]"}

    @app.before_request
    def check_host() -> None:
        name = re.sub(r":\d*$", "", request.host).lower()
        if name not in names:
            raise ApiError(
                403,
                "This service answers only requests to localhost. Behind a proxy, set "
                "CARSEG_TRUSTED_PROXIES; for other machines, CARSEG_HOST and CARSEG_API_KEYS.",
            )


def _needs_no_key() -> bool:
    """Return whether the request is for a health route or a CORS preflight.

    Browsers send preflights without a key, and preflights have no effect.
    """
    if request.method == "OPTIONS":
        return True
    return request.url_rule is not None and request.url_rule.rule in OPEN_ROUTES


def _given() -> tuple[str | None, bool]:
    """Return the key of the request, and whether a browser may have added it unasked."""
    header = request.headers.get("X-API-Key")
    if header is not None:
        return header.strip(), False
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip(), False
    if request.authorization is not None and request.authorization.type == "basic":
        return request.authorization.password or "", True
    return None, False


def _is_foreign() -> bool:
    """Return whether a page of another origin made a browser send this request (CSRF).

    Browsers report the source of a request in Sec-Fetch-Site. Over plain HTTP they leave that
    out and report it in Origin. Programs send neither.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


def _refusal(message: str) -> ApiError:
    """Return the error 401.

    Basic is offered only if a person opens a page, or to requests from this origin. Otherwise
    pages of other sites would show a login dialog.
    """
    challenges = [("WWW-Authenticate", _BEARER)]
    opens_a_page = any(value == "text/html" for value in request.accept_mimetypes.values())
    if opens_a_page or request.headers.get("Sec-Fetch-Site") == "same-origin":
        challenges.append(("WWW-Authenticate", _BASIC))
    return ApiError(401, message, headers=challenges)


def _describe_keys(document: dict[str, Any]) -> None:
    """Describe in an OpenAPI document which operations need a key."""
    document.setdefault("components", {})["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for route, method, operation in each_operation(document):
        if route in OPEN_ROUTES:
            continue
        operation["security"] = [{"bearer": []}, {"header": []}]
        add_error(operation, 401, "The request has no valid key")
        if method not in _SAFE_METHODS:
            add_error(operation, 403, "Another site made a browser send the request")
