"""Define and parse the options of a result: its detail, its parts, its coordinates.

One frozen `Options` serves the HTTP route, the command line and the client. This module uses only
the standard library, because `client.py` needs it on machines without the rest of the service.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

Topology = Literal["independent", "shared"]

DEFAULT_CONFIDENCE = 0.25  # parts below it are more often wrong than right, see models/parts.md

_MOST_PIXELS = 89_000_000  # no photo has more
_LONGEST_NAME = 1024  # characters of a photo's name, with folders
_MOST_NAMES = 50  # names of parts in one request
_NAME = re.compile(r"[a-z_]{1,40}")


class OptionError(ValueError):
    """A value can't be used. The message is one sentence that may be shown to clients."""


@dataclass(frozen=True)
class OptionSpec:
    """The description of one option for people and programs.

    Attributes:
        name: name of the option, as in the query of an address.
        read: function that turns text into a value; raises ValueError.
        allowed: allowed values in words.
        description: effect of the option, without a full stop.
        schema: allowed values as JSON schema, for the OpenAPI document.
    """

    name: str
    read: Callable[[str], Any]
    allowed: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Options:
    """The options of a result. The defaults select the plain answer of the service.

    Attributes:
        tolerance: largest distance of an outline from its mask in pixels; 0 is exact, None is the
            default.
        max_vertices: largest number of vertices of each ring; None for no limit.
        min_area: pieces of a part or damage with fewer pixels are left out.
        min_confidence: parts and damage with less confidence are left out; 0 keeps all.
        parts: names of parts or of groups of parts that are kept; None for the service's default.
            `vision.labels.parts_named` knows the names.
        normalized: coordinates are fractions (0 to 1) of the photo's width and height, not pixels.
        topology: "independent" outlines each part separately; "shared" makes neighbours share
            their border, without gaps or overlaps.
        file_name: name of the photo in formats that point to it; None for the name under which
            it was posted to the service last, else `<hash>.png`.
        damage: True to examine the photo for damage, and to demand damage of a result; False for
            neither; None for the service's default, and for damage if the result has it.

    Raises:
        OptionError: a value is out of its range.
    """

    tolerance: float | None = None
    max_vertices: int | None = None
    min_area: float = 0
    min_confidence: float = DEFAULT_CONFIDENCE
    parts: tuple[str, ...] | None = None
    normalized: bool = False
    topology: Topology = "independent"
    file_name: str | None = None
    damage: bool | None = None

    def __post_init__(self) -> None:
        name = self.file_name
        for fits, field in (
            (self.tolerance is None or 0 <= self.tolerance <= 1000, "tolerance"),
            (self.max_vertices is None or 3 <= self.max_vertices <= 100_000, "max_vertices"),
            (0 <= self.min_area <= _MOST_PIXELS, "min_area"),
            (0 <= self.min_confidence <= 1, "min_confidence"),
            (self.parts is None or _are_names(self.parts), "parts"),
            (self.topology in get_args(Topology), "topology"),
            (name is None or _is_file_name(name), "file_name"),
        ):
            if not fits:
                raise _refused(OPTION_SPECS[field], getattr(self, field))

    @property
    def changes_outlines(self) -> bool:
        """True if the parts need other outlines than those of the plain answer.

        The minimum confidence does not count: it leaves out whole parts, and the remaining parts
        keep their outlines.
        """
        return any(getattr(self, name) != getattr(PLAIN, name) for name in _OUTLINES)

    def query(self) -> dict[str, str]:
        """Return the options as text that `parse` reads back.

        Options with their default value are left out. The minimum confidence is always included,
        because the service may have another default.
        """
        return {
            field.name: _text(getattr(self, field.name))
            for field in fields(self)
            if field.name == "min_confidence" or getattr(self, field.name) != field.default
        }


def parse(texts: Mapping[str, Iterable[str]], names: Collection[str] | None = None) -> Options:
    """Read options from text, such as the query of an address.

    Args:
        texts: name -> its values, as in `werkzeug`'s `MultiDict.to_dict(False)`.
        names: names of the options that may be used; None for all.

    Raises:
        OptionError: an unknown name, a name given twice, or a value that can't be used.
    """
    values: dict[str, Any] = {}
    known = [name for name in OPTION_SPECS if names is None or name in names]
    for name, given in texts.items():
        spec = OPTION_SPECS.get(name)
        if spec is None or name not in known:
            raise OptionError(
                f"There is no option {name[:40]!r}; the options are {', '.join(known)}."
            )
        text, *more = given
        if more:
            raise OptionError(f"{name} is given more than once.")
        try:
            values[name] = spec.read(text)
            Options(**{name: values[name]})
        except ValueError:  # an OptionError, too
            raise _refused(spec, text) from None
    return Options(**values)


def _refused(spec: OptionSpec, value: object) -> OptionError:
    return OptionError(f"{spec.name} must be {spec.allowed}, not {str(value)[:40]!r}.")


def _is_file_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def _are_names(names: tuple[str, ...]) -> bool:
    return 0 < len(names) <= _MOST_NAMES and all(map(_NAME.fullmatch, names))


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(text: str) -> str:
    """Return the text of a number.

    Raises:
        ValueError: only Python reads it as a number: `1_000`, ` 1`, digits of other scripts.
    """
    if not text.isascii() or "_" in text or text != text.strip():
        raise ValueError(text)
    return text


def _read_float(text: str) -> float:
    value = float(_plain(text))
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _read_int(text: str) -> int:
    return int(_plain(text))


def _read_names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _read_switch(text: str) -> bool:
    if text.lower() not in ("true", "1", "false", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "1")


OPTION_SPECS: dict[str, OptionSpec] = {
    spec.name: spec
    for spec in (
        OptionSpec(
            "tolerance",
            _read_float,
            "a number of pixels from 0 to 1000",
            "pixels that an outline may stray from its mask; 0 keeps the exact outline",
            {"type": "number", "minimum": 0, "maximum": 1000},
        ),
        OptionSpec(
            "max_vertices",
            _read_int,
            "a whole number from 3 to 100000",
            "most vertices of each ring",
            {"type": "integer", "minimum": 3, "maximum": 100_000},
        ),
        OptionSpec(
            "min_area",
            _read_float,
            f"a number of pixels from 0 to {_MOST_PIXELS}",
            "leave out pieces of a part or of damage with fewer pixels",
            {"type": "number", "minimum": 0, "maximum": _MOST_PIXELS, "default": 0},
        ),
        OptionSpec(
            "min_confidence",
            _read_float,
            "a number from 0 to 1",
            "leave out parts and damage with less confidence; 0 keeps all parts",
            {"type": "number", "minimum": 0, "maximum": 1, "default": DEFAULT_CONFIDENCE},
        ),
        OptionSpec(
            "parts",
            _read_names,
            "all, basic, panels or names of parts, separated by commas",
            "leave out other parts: all, basic (without the body panels), panels, or names",
            {"type": "string", "pattern": "^[a-z_]+(,[a-z_]+)*$", "example": "basic,roof"},
        ),
        OptionSpec(
            "normalized",
            _read_switch,
            "true or false",
            "coordinates from 0 to 1 of the photo's width and height (json and geojson)",
            {"type": "boolean", "default": False},
        ),
        OptionSpec(
            "topology",
            str,
            "independent or shared",
            "shared lets neighbouring parts share one border, without gap or overlap",
            {"type": "string", "enum": list(get_args(Topology)), "default": "independent"},
        ),
        OptionSpec(
            "file_name",
            str,
            f"1 to {_LONGEST_NAME} printable characters",
            "name of the photo in formats that point to it; by default the name of the posted "
            "file, else <hash>.png",
            {"type": "string", "minLength": 1, "maxLength": _LONGEST_NAME},
        ),
        OptionSpec(
            "damage",
            _read_switch,
            "true or false",
            "true examines a posted photo for damage, and demands damage of a result; false leaves "
            "it out",
            {"type": "boolean"},
        ),
    )
}

PLAIN = Options()

OF_MASKS = ("min_area", "min_confidence", "parts")  # options of the PNGs of masks
OF_DAMAGE = ("min_area", "min_confidence")  # options of the PNG of damage
OF_OVERLAYS = ("tolerance", "max_vertices", *OF_MASKS, "topology", "damage")  # of the overlay

_OUTLINES = ("tolerance", "max_vertices", "min_area", "topology")
