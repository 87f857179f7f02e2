"""Read the option `damage` of posted photos, which may be in the query or in the body."""

from __future__ import annotations

from typing import Any

from flask import request

from api.service import service
from options import OptionError, parse


def query_damage() -> bool | None:
    """Return the option in the query; None if it is not given. Raises OptionError."""
    return text_damage(request.args.getlist("damage"))


def text_damage(given: list[str]) -> bool | None:
    """Return the option from its values as text; None if there are none. Raises OptionError."""
    return parse({"damage": given} if given else {}, ["damage"]).damage


def json_damage(document: dict[str, Any]) -> bool | None:
    """Return the option from a JSON object; None if it is missing or null. Raises OptionError."""
    value = document.get("damage")
    if value is None or isinstance(value, bool):
        return value
    raise OptionError("damage must be true or false, without quotation marks.")


def resolved_damage(in_query: bool | None, in_body: bool | None) -> bool:
    """Return True if the posted photos are to be examined for damage.

    Args:
        in_query: the option in the query; None if it is not given.
        in_body: the same in the body.

    Raises:
        OptionError: they contradict each other.
    """
    if in_query is None:
        asked = in_body
    elif in_body in (None, in_query):
        asked = in_query
    else:
        raise OptionError("damage is not the same in the query and in the body.")
    return service().settings.damage == "always" if asked is None else asked
