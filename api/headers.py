"""Security headers of every answer, which restrict its use in browsers."""

from __future__ import annotations

from flask import Flask, Response
from flask_cors import CORS

from settings import Settings

_API_POLICY = "default-src 'none'; frame-ancestors 'none'"

# No inline script or style, nothing from other hosts; blob: is the photo opened in the tab.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

# Swagger UI needs inline styles, and data: for the icons in its style sheet.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

# Headers of API answers. The two pages set their own policies, which are kept.
SECURITY_HEADERS: dict[str, str] = {
    "Content-Security-Policy": _API_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    # Pages of the same site may show a picture. Other sites can only fetch it with CORS.
    "Cross-Origin-Resource-Policy": "same-site",
    # Results are private to the client: no proxy or browser may store them on disk.
    "Cache-Control": "no-store",
}

_EXPOSED = [
    "Retry-After",
    "Location",
    "Content-Location",
]  # response headers that pages of other origins may read (CORS)


def register_headers(app: Flask, settings: Settings) -> None:
    """Add `SECURITY_HEADERS` to every answer that does not set them itself, and those of CORS.

    Args:
        app: the app.
        settings: `cors_origins` may read answers. If it has `*`, every site may show the
            pictures, too.
    """
    CORS(app, origins=settings.cors_patterns, expose_headers=_EXPOSED)
    headers = dict(SECURITY_HEADERS)
    if "*" in settings.cors_origins:
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"

    @app.after_request
    def complete(response: Response) -> Response:
        given = {name.lower() for name, _ in response.headers}
        for name, value in headers.items():
            if name.lower() not in given:
                response.headers.add(name, value)
        return response
