"""Assign one colour to each part and kind of damage, the same in every picture and on every screen.

So many colours cannot all be far apart for everyone. Simulated annealing found these, under limits
on the CIEDE2000 distance. Parts that touch each other on a car, and the left and right variant of a
part, differ by at least `neighbours`. Any two parts differ by at least `any_two`. Each part differs
from the background by at least BACKGROUND_APART. The body panels came later, and the basic parts
kept their colours, so the limits of the panels are lower. All limits hold for normal colour vision
and for protanopia, deuteranopia and tritanopia. A distance of 2 is just visible side by side.
`tests/exports/test_palette.py` measures it.

Damage is hatched, so that the part's colour shows between the lines, and outlined in its colour
over black. Its colours are those of Okabe and Ito (Color Universal Design, 2008) and white. The
direction of the lines and the gap between them differ from kind to kind, too.
"""

from __future__ import annotations

from typing import NamedTuple

Colour = tuple[int, int, int]  # RGB


class Distances(NamedTuple):
    """The smallest CIEDE2000 distances between colours of parts."""

    neighbours: float
    any_two: float


BASIC_APART = Distances(neighbours=21, any_two=10.5)  # between two basic parts
PANELS_APART = Distances(neighbours=15, any_two=6)  # between a panel and any part
BACKGROUND_APART = 20.5

BACKGROUND: Colour = (0, 0, 0)

PART_COLOURS: dict[str, Colour] = {
    "back_bumper": (26, 79, 48),
    "back_glass": (19, 114, 63),
    "back_left_door": (138, 0, 104),
    "back_left_light": (184, 115, 255),
    "back_right_door": (237, 174, 21),
    "back_right_light": (123, 7, 181),
    "front_bumper": (210, 255, 10),
    "front_glass": (158, 193, 255),
    "front_left_door": (114, 144, 27),
    "front_left_light": (187, 109, 180),
    "front_right_door": (170, 3, 255),
    "front_right_light": (28, 143, 110),
    "hood": (67, 84, 2),
    "left_mirror": (255, 216, 140),
    "right_mirror": (247, 21, 112),
    "tailgate": (172, 255, 211),
    "trunk": (21, 176, 158),
    "wheel": (30, 255, 255),
    "roof": (255, 70, 145),
    "left_fender": (45, 0, 240),
    "right_fender": (195, 195, 120),
    "left_quarter_panel": (220, 220, 70),
    "right_quarter_panel": (170, 145, 220),
    "left_rocker_panel": (170, 195, 170),
    "right_rocker_panel": (170, 0, 95),
}

DAMAGE_COLOURS: dict[str, Colour] = {
    "scratch": (240, 228, 66),
    "dent": (86, 180, 233),
    "broken": (213, 94, 0),
    "cracked_glass": (255, 255, 255),
    "broken_light": (230, 159, 0),
    "primer": (0, 158, 115),
    "bent_hood": (204, 121, 167),
    "airbag": (0, 114, 178),
}


class Hatching(NamedTuple):
    """Parallel lines.

    Attributes:
        degrees: clockwise turn of the lines from vertical.
        gap: distance from line to line, in widths of a line.
    """

    degrees: int
    gap: int


HATCHINGS: dict[str, Hatching] = {
    "scratch": Hatching(45, 4),
    "dent": Hatching(135, 4),
    "broken": Hatching(0, 4),
    "cracked_glass": Hatching(90, 4),
    "broken_light": Hatching(45, 7),
    "primer": Hatching(135, 7),
    "bent_hood": Hatching(0, 7),
    "airbag": Hatching(90, 7),
}


def as_hex(colour: Colour) -> str:
    """Format a colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
