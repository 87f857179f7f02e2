"""Define the names of parts, body types and damage, in the order of the networks' outputs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

BASIC_PARTS = (
    "back_bumper",
    "back_glass",
    "back_left_door",
    "back_left_light",
    "back_right_door",
    "back_right_light",
    "front_bumper",
    "front_glass",
    "front_left_door",
    "front_left_light",
    "front_right_door",
    "front_right_light",
    "hood",
    "left_mirror",
    "right_mirror",
    "tailgate",
    "trunk",
    "wheel",
)
# The body panels follow, so that the basic parts keep their labels in label maps and exports.
PANELS = (
    "roof",
    "left_fender",
    "right_fender",
    "left_quarter_panel",
    "right_quarter_panel",
    "left_rocker_panel",
    "right_rocker_panel",
)
PART_NAMES = (*BASIC_PARTS, *PANELS)
TYPE_NAMES = ("convertible", "coupe", "hatchback", "pickup", "sedan", "suv", "van", "wagon")

DAMAGE_KINDS = (
    "scratch",
    "dent",
    "broken",
    "cracked_glass",
    "broken_light",
    "primer",
    "bent_hood",
    "airbag",
)


def label_of(name: str) -> int:
    """Return the label of a part: 1 to 25; 0 is the background.

    Raises:
        ValueError: there is no such part.
    """
    return PART_NAMES.index(name) + 1


def name_of(label: int) -> str:
    """Return the name of the part with a label from 1 to 25."""
    return PART_NAMES[label - 1]


SIDES = tuple(
    (label_of(name), label_of(name.replace("left", "right")))
    for name in ("left_mirror", "front_left_light", "back_left_light")
)  # labels (left, right) of small parts, of which a close-up may not show the side
BACK_DOORS = label_of("back_left_door"), label_of("back_right_door")
QUARTER_PANELS = label_of("left_quarter_panel"), label_of("right_quarter_panel")
TAILGATE, TRUNK = label_of("tailgate"), label_of("trunk")
WHEEL = label_of("wheel")

# The lid of these types is a trunk. The other types have a tailgate: a rear door or flap.
TYPES_WITH_TRUNK = ("sedan", "coupe", "convertible")

_GROUPS = {"all": PART_NAMES, "basic": BASIC_PARTS, "panels": PANELS}


def parts_named(names: Iterable[str]) -> frozenset[str]:
    """Return the parts that names of parts and groups mean.

    Args:
        names: names of parts, or of the groups `all`, `basic` and `panels`.

    Raises:
        ValueError: a name is unknown. The message may be shown to clients; its last full stop is
            left out.
    """
    parts: set[str] = set()
    for name in names:
        if name not in _GROUPS and name not in PART_NAMES:
            names_known = (*_GROUPS, *PART_NAMES)
            near = difflib.get_close_matches(name[:40], names_known, n=1)
            nearest = f"; the nearest is {near[0]}" if near else ""
            known = ", ".join(names_known)
            raise ValueError(f"There is no part {name[:40]!r}{nearest}. The names are {known}")
        parts.update(_GROUPS.get(name, (name,)))
    return frozenset(parts)
