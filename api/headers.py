"""Headers that every answer carries, so that browsers do nothing with it that was not meant."""

from __future__ import annotations

from flask import Flask, Response

from settings import Settings

# For answers to programs. The two pages have policies of their own, which are kept.
SECURITY_HEADERS: dict[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    # Front-ends of the same site may show a picture; others fetch it with CORS, or not at all.
    "Cross-Origin-Resource-Policy": "same-site",
    # Results belong to who asked for them: no proxy and no browser keeps them on disk.
    "Cache-Control": "no-store",
}

# What front-ends on other origins may read beside the body.
EXPOSED = ["Retry-After"]


def add_headers(app: Flask, settings: Settings) -> None:
    """Add `SECURITY_HEADERS` to every answer of the app that does not set them itself.

    Args:
        app: the app.
        settings: where every origin may read answers (`cors_origins` has `*`), every site may
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
