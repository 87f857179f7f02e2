"""Security headers of every answer, which restrict its use in browsers."""

from __future__ import annotations

from flask import Flask, Response

from settings import Settings

# Headers of API answers. The two pages set their own policies, which are kept.
SECURITY_HEADERS: dict[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    # Pages of the same site may show a picture. Other sites can only fetch it with CORS.
    "Cross-Origin-Resource-Policy": "same-site",
    # Results are private to the client: no proxy or browser may store them on disk.
    "Cache-Control": "no-store",
}

# Response headers that pages of other origins may read (CORS).
EXPOSED = ["Retry-After"]


def add_headers(app: Flask, settings: Settings) -> None:
    """Add `SECURITY_HEADERS` to every answer of the app that does not set them itself.

    Args:
        app: the app.
        settings: if `cors_origins` has `*` (every origin may read answers), every site may
            show the pictures, too.
    """
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
