"""Pages of the photos that are Ready."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from flask import request

from api.catalog_schema import LISTED, MOST_LISTED
from api.errors import HASH, ApiError, unknown_photo
from api.keys import current_owner
from api.service import service
from jobs.catalog import PhotoEntry, PhotoPage

_DIGITS = re.compile(r"[0-9]{1,4}")
_NEAR = 0.75  # likeness of a misspelt parameter to the right one, as difflib measures it
_MOST_CHECKED = 20  # parameters, which each take a moment
_SWITCH = {"true": True, "1": True, "false": False, "0": False}


class AskedPage(NamedTuple):
    """The page that a client asks for.

    Attributes:
        limit: most photos on it.
        after: hash of the photo after which it starts; None for the first page.
        details: true for more of each photo than its hash.
    """

    limit: int = LISTED
    after: str | None = None
    details: bool = False


def asked_page() -> AskedPage | None:
    """Return the page in the query; None if all photos are asked for. Raises ApiError.

    Other parameters are ignored, because front-ends add some against caches (`?_=123`), unless one
    is nearly the name of a parameter.
    """
    _refuse_misspelt()
    given = {name: _only(name) for name in AskedPage._fields if name in request.args}
    if not given:
        return None
    limit = given.get("limit", str(LISTED))
    if not (_DIGITS.fullmatch(limit) and 1 <= int(limit) <= MOST_LISTED):
        raise ApiError(400, f"limit must be a whole number from 1 to {MOST_LISTED}.")
    after = given.get("after")
    if after is not None and not HASH.fullmatch(after):
        raise ApiError(400, "after must be the hash of a photo, as the service wrote it.")
    details = _SWITCH.get(given.get("details", "0").lower())
    if details is None:
        raise ApiError(400, "details must be true or false.")
    return AskedPage(int(limit), after, details)


def listed(asked: AskedPage) -> list[str] | dict[str, Any]:
    """Return a page as JSON, in the shape of `api.catalog_schema.Listing`.

    Raises:
        ApiError: the client does not know the photo after which the page starts.
    """
    page = find_page(asked)
    if not asked.details:
        return [entry.digest for entry in page.entries]
    return {"photos": [entry_json(entry) for entry in page.entries], "next": page.next}


def find_page(asked: AskedPage, *, marked: bool = False) -> PhotoPage:
    """Return a page of photos, or of those with feedback.

    Raises:
        ApiError: the client does not know the photo after which the page starts.
    """
    owner = current_owner()
    page = service().engine.catalog.page(asked.limit, asked.after, owner, marked=marked)
    if page is None:
        raise unknown_photo()
    return page


def to_utc(seconds: float) -> str:
    """Return a Unix time as ISO 8601 in UTC."""
    time = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return time.replace("+00:00", "Z")


def entry_json(entry: PhotoEntry) -> dict[str, Any]:
    """Return a photo of a list as JSON, in the shape of `api.catalog_schema.ListedPhoto`."""
    summary = entry.summary
    car_type = {"name": summary.type, "confidence": summary.confidence}
    return {
        "image_hash": entry.digest,
        "time": to_utc(entry.ended),
        "type": None if summary.type is None else car_type,
        "parts": len(service().settings.part_names.intersection(summary.parts)),
        "damages": summary.damages,
        "width": summary.width,
        "height": summary.height,
        "file_names": entry.file_names,
    }


def _refuse_misspelt() -> None:
    """Refuse a parameter that is nearly the name of one of a page. Raises ApiError."""
    for name in islice(request.args, _MOST_CHECKED):
        if name not in AskedPage._fields:
            for near in difflib.get_close_matches(name.lower(), AskedPage._fields, 1, _NEAR):
                raise ApiError(400, f"There is no parameter {name[:40]!r}; the nearest is {near}.")


def _only(name: str) -> str:
    """Return the value of a parameter. Raises ApiError if there are several."""
    value, *more = request.args.getlist(name)
    if more:
        raise ApiError(400, f"{name} is given more than once.")
    return value
