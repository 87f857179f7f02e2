"""Define the names of the parts and body types, in the order of the networks' outputs."""

from __future__ import annotations

PART_NAMES = (
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
TYPE_NAMES = ("convertible", "coupe", "hatchback", "pickup", "sedan", "suv", "van", "wagon")


def label_of(name: str) -> int:
    """Return the label of a part: 1 to 18; 0 is the background.

    Raises:
        ValueError: there is no such part.
    """
    return PART_NAMES.index(name) + 1


def name_of(label: int) -> str:
    """Return the name of the part with a label from 1 to 18."""
    return PART_NAMES[label - 1]


BACK_DOORS = label_of("back_left_door"), label_of("back_right_door")
TAILGATE, TRUNK = label_of("tailgate"), label_of("trunk")
WHEEL = label_of("wheel")

# The lid of these types is a trunk. The other types have a tailgate: a rear door or flap.
TYPES_WITH_TRUNK = ("sedan", "coupe", "convertible")
