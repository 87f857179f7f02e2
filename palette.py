"""One colour per part, the same in every picture.

Parts are often neighbours of few others: the eight colours of Okabe and Ito (2008), which people
with any kind of colour vision tell apart, and lighter and darker shades of them, are given out so
that neighbours differ in hue and in lightness.
"""

from __future__ import annotations

PART_COLOURS: dict[str, tuple[int, int, int]] = {  # RGB
    "back_bumper": (0, 114, 178),
    "back_glass": (86, 180, 233),
    "back_left_door": (0, 158, 115),
    "back_left_light": (213, 94, 0),
    "back_right_door": (102, 205, 170),
    "back_right_light": (240, 150, 80),
    "front_bumper": (0, 83, 130),
    "front_glass": (140, 205, 245),
    "front_left_door": (230, 159, 0),
    "front_left_light": (240, 228, 66),
    "front_right_door": (250, 200, 100),
    "front_right_light": (200, 185, 20),
    "hood": (204, 121, 167),
    "left_mirror": (180, 60, 0),
    "right_mirror": (150, 80, 40),
    "tailgate": (150, 75, 120),
    "trunk": (225, 170, 200),
    "wheel": (60, 60, 60),
}
