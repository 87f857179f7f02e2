"""Route `/ui`: the page that shows results to people, with its files and its limits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, make_response, redirect, send_from_directory
from werkzeug.exceptions import NotFound

from exports.palette import PART_COLOURS
from photo_result import NO_CAR
from poligons_from_seg import DEFAULT_TOLERANCE
from settings import Settings

_WEB = Path(__file__).resolve().parents[1] / "web"
_SAMPLE = Path(__file__).resolve().parents[1] / "sample" / "car.png"

# The only files served, with their types. `mimetypes` would answer differently per machine.
FILES: dict[str, str] = {
    "app.js": "text/javascript",
    "carseg.js": "text/javascript",
    "carseg_many.js": "text/javascript",
    "dom.js": "text/javascript",
    "exports.js": "text/javascript",
    "follow.js": "text/javascript",
    "gallery.js": "text/javascript",
    "parts.js": "text/javascript",
    "photos.js": "text/javascript",
    "progress.js": "text/javascript",
    "result.js": "text/javascript",
    "service.js": "text/javascript",
    "texts.js": "text/javascript",
    "texts_de.js": "text/javascript",
    "texts_en.js": "text/javascript",
    "texts_th.js": "text/javascript",
    "uploads.js": "text/javascript",
    "viewer.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "style.css": "text/css",
}

# Formats that the service accepts. The page converts others to JPEG if the browser reads them.
FORMATS = ["image/png", "image/jpeg", "image/webp"]

HEADERS: dict[str, str] = {
    # No inline script or style, nothing from other hosts; blob: is the photo opened in the tab.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def add_ui(app: Flask, settings: Settings) -> None:
    """Add the page and its files. They are for people, so the OpenAPI document omits them.

    Args:
        app: the app.
        settings: source of the limits that the page shows and obeys.
    """
    limits = _config(settings)
    app.add_url_rule("/ui", "ui", lambda: _file("index.html", "text/html"))
    # Addresses in the page are relative to /ui, so that a proxy may add a path prefix.
    app.add_url_rule("/ui/", "ui_slash", lambda: redirect("../ui"))
    app.add_url_rule("/ui/config.json", "ui_config", lambda: _guarded(jsonify(limits)))
    app.add_url_rule("/ui/sample.png", "ui_sample", _sample)
    app.add_url_rule("/ui/<name>", "ui_file", _named)


def _config(settings: Settings) -> dict[str, Any]:
    sample = _SAMPLE.read_bytes() if _SAMPLE.is_file() else None
    return {
        "max_upload_bytes": settings.max_upload_bytes,
        "max_pixels": settings.max_pixels,
        "formats": FORMATS,
        "tolerance": DEFAULT_TOLERANCE,
        "no_car": NO_CAR,
        "sample": None if sample is None else hashlib.sha256(sample).hexdigest(),
        "colours": {name: f"#{bytes(rgb).hex()}" for name, rgb in PART_COLOURS.items()},
    }


def _named(name: str) -> Response:
    if name not in FILES:
        raise NotFound
    return _file(name, FILES[name])


def _file(name: str, mimetype: str) -> Response:
    return _guarded(send_from_directory(_WEB, name, mimetype=mimetype))


def _sample() -> Response:
    return _guarded(send_from_directory(_SAMPLE.parent, _SAMPLE.name, mimetype="image/png"))


def _guarded(answer: Response) -> Response:
    response = make_response(answer)
    response.headers.update(HEADERS)
    return response
