"""Route `/ui`: the page that shows results to people, with its files and its limits."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, jsonify, redirect, send_from_directory
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as WerkzeugResponse

from api.compression import compress_file
from api.headers import PAGE_POLICY
from api.service import service
from exports.palette import DAMAGE_COLOURS, PART_COLOURS, as_hex
from img_to_segments import PART_NAMES
from options import DEFAULT_CONFIDENCE
from photo_result import NO_CAR
from poligons_from_seg import DEFAULT_TOLERANCE
from vision.labels import DAMAGE_KINDS

blueprint = Blueprint("page", __name__)

_WEB = Path(__file__).resolve().parents[1] / "web"
_SAMPLE = Path(__file__).resolve().parents[1] / "sample" / "car.png"

# Types by suffix: `mimetypes` would answer differently per machine.
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

# The only files served, with their types. The files `docs.*` belong to `api.openapi`.
FILES: dict[str, str] = {
    path.name: _TYPES[path.suffix]
    for path in sorted(_WEB.iterdir())
    if path.suffix in _TYPES and path.stem != "docs"
}

# Formats that the service accepts. The page converts others to JPEG if the browser reads them.
FORMATS = [
    *("image/png", "image/jpeg", "image/webp", "image/avif", "image/bmp", "image/gif"),
    *("image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence"),
]

HEADERS: dict[str, str] = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


# Plain Flask rules: the page is for people, so the OpenAPI document omits it.
@blueprint.route("/ui")
def page() -> Response:
    """Return the page."""
    return _file("index.html", "text/html")


@blueprint.route("/ui/")
def page_with_slash() -> WerkzeugResponse:
    """Redirect to the address without a slash.

    Addresses in the page are relative to /ui, so that a proxy may add a path prefix.
    """
    return redirect("../ui")


@blueprint.route("/ui/config.json")
def config() -> Response:
    """Return the limits that the page shows and obeys, and what it needs of the service."""
    settings = service().settings
    return _with_headers(
        jsonify(
            max_upload_bytes=settings.max_upload_bytes,
            max_pixels=settings.max_pixels,
            formats=FORMATS,
            confidence=DEFAULT_CONFIDENCE,
            tolerance=DEFAULT_TOLERANCE,
            keep_days=settings.keep_days,
            no_car=NO_CAR,
            sample=_sample_hash(),
            parts=list(PART_NAMES),
            damage=settings.damage,
            damage_kinds=list(DAMAGE_KINDS),
            damage_colours={kind: as_hex(rgb) for kind, rgb in DAMAGE_COLOURS.items()},
            colours={name: as_hex(rgb) for name, rgb in PART_COLOURS.items()},
        )
    )


@blueprint.route("/ui/sample.png")
def sample() -> Response:
    """Return the sample picture."""
    return _with_headers(send_from_directory(_SAMPLE.parent, _SAMPLE.name, mimetype="image/png"))


@blueprint.route("/ui/<name>")
def file(name: str) -> Response:
    """Return a file of the page."""
    if name not in FILES:
        raise NotFound
    return _file(name, FILES[name])


@cache
def _sample_hash() -> str | None:
    """Return the SHA-256 of the sample picture in hex; None if there is none."""
    return hashlib.sha256(_SAMPLE.read_bytes()).hexdigest() if _SAMPLE.is_file() else None


def _file(name: str, mimetype: str) -> Response:
    return _with_headers(compress_file(send_from_directory(_WEB, name, mimetype=mimetype)))


def _with_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response
