"""Read photos from request bodies: the files of a form, or a body that is one photo.

Any web page can make a browser send such bodies to this service, without asking it first with a
CORS preflight as for JSON. So a page may send them only if its origin may also send JSON.
"""

from __future__ import annotations

from io import BytesIO
from typing import IO, NamedTuple

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from api.errors import ApiError
from api.keys import refuse_foreign_page
from api.request_json import is_text, refuse_compressed, refuse_stripped
from jobs.catalog import plain_file_name

_FORM = "multipart/form-data"
# The default of `curl --data-binary`, and no type, as of Python's `requests`. Forms without files,
# and JSON without its type, come like this as well; they are text.
_UNCLEAR = ("application/x-www-form-urlencoded", "")
_WRONG_TYPE = (
    "Send JSON with the header Content-Type: application/json, or a file as "
    "curl -F file=@photo.jpg does."
)
_MOST_FIELDS = 100  # parts of a form that are not files
_LARGEST_FIELD = 256 * 1024  # bytes of such a part; the parser's own buffer needs half of them


class Posted(NamedTuple):
    """A posted photo, in base64 or as a file, and the name of the file if it has one."""

    image: str | bytes
    file_name: str | None = None


class PostedForm(NamedTuple):
    """The files of a posted form, and the values of its field `damage`."""

    files: list[Posted]
    damage: list[str]


def is_form() -> bool:
    """Return whether the request body is a form that may have files."""
    return request.mimetype == _FORM


def posted_photo() -> bytes | None:
    """Return the request body if it is a photo; None if it is JSON.

    Raises:
        ApiError: 400 for a file that `curl -d` changed, 403 from a foreign page, 415 if the body
            is compressed or of another type.
        RequestEntityTooLarge: the body has more bytes than `request.max_content_length`.
    """
    if request.is_json:
        return None
    kind = request.mimetype
    refuse_compressed()
    if not (kind.startswith("image/") or kind == "application/octet-stream" or kind in _UNCLEAR):
        raise ApiError(415, _WRONG_TYPE)
    refuse_foreign_page()
    data = request.get_data(cache=False)
    if kind in _UNCLEAR and is_text(data):
        raise ApiError(415, _WRONG_TYPE)
    refuse_stripped(data)
    return data


def posted_form(most: int) -> PostedForm:
    """Return the files of the posted form, in their order. Their fields may have any name.

    The files are kept in memory, as JSON is: files on disk would not count for the budget of
    `server.request_body`.

    Args:
        most: most files that are accepted.

    Raises:
        ApiError: 400 for a broken form or one without files, 403 from a foreign page, 413 for too
            many files or fields, 415 if the body is compressed.
        RequestEntityTooLarge: the body has more bytes than `request.max_content_length`.
    """
    refuse_compressed()
    refuse_foreign_page()
    files: list[tuple[BytesIO, str | None]] = []

    def open_file(
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        files.append((BytesIO(), plain_file_name(filename or "")))
        return files[-1][0]

    stream = request.stream  # raises RequestEntityTooLarge
    parser = FormDataParser(
        open_file,
        max_form_memory_size=_LARGEST_FIELD,
        max_form_parts=most + _MOST_FIELDS,
        silent=False,
    )
    try:
        _, fields, _ = parser.parse(
            stream, _FORM, request.content_length, dict(request.mimetype_params)
        )
    except RequestEntityTooLarge:
        raise ApiError(413, "The form has too many fields, or one that is too large.") from None
    except ValueError:
        raise ApiError(400, "The form is broken.") from None
    if not files:
        raise ApiError(
            400, "There is no file in the form; send one as curl -F file=@photo.jpg does."
        )
    if len(files) > most:
        raise ApiError(413, f"There are {len(files)} files; the limit is {most}.")
    photos = [Posted(file.getvalue(), name) for file, name in files]
    return PostedForm(photos, fields.getlist("damage"))
