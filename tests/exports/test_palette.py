"""Test that parts that touch differ in colour for any kind of colour vision."""

from __future__ import annotations

import itertools

import pytest
from coloraide import Color

from exports.palette import (
    BACKGROUND,
    BACKGROUND_APART,
    BASIC_APART,
    PANELS_APART,
    PART_COLOURS,
    Distances,
    as_hex,
)
from vision.labels import PANELS, PART_NAMES

# Each part and those that it touches on cars (and its counterpart on the other side).
NEIGHBOURS = {
    "front_bumper": "hood front_left_light front_right_light front_left_door front_right_door "
    "wheel",
    "hood": "front_glass front_left_light front_right_light front_left_door front_right_door "
    "left_mirror right_mirror wheel",
    "front_glass": "front_left_door front_right_door left_mirror right_mirror",
    "front_left_door": "front_right_door back_left_door left_mirror front_left_light wheel",
    "front_right_door": "back_right_door right_mirror front_right_light wheel",
    "back_left_door": "back_right_door back_bumper back_left_light back_glass trunk tailgate "
    "left_mirror wheel",
    "back_right_door": "back_bumper back_right_light back_glass trunk tailgate right_mirror wheel",
    "back_bumper": "trunk tailgate back_left_light back_right_light wheel",
    "trunk": "tailgate back_glass back_left_light back_right_light",
    "tailgate": "back_glass back_left_light back_right_light",
    "back_glass": "back_left_light back_right_light",
    "front_left_light": "front_right_light wheel",
    "front_right_light": "wheel",
    "back_left_light": "back_right_light wheel",
    "back_right_light": "wheel",
    "left_mirror": "right_mirror",
    "roof": "front_glass back_glass front_left_door front_right_door back_left_door "
    "back_right_door tailgate",
}
for _side, _other in (("left", "right"), ("right", "left")):
    NEIGHBOURS |= {
        f"{_side}_fender": f"hood front_bumper front_{_side}_door front_{_side}_light wheel "
        f"front_glass {_side}_rocker_panel {_side}_mirror {_other}_fender",
        f"{_side}_quarter_panel": f"back_{_side}_door front_{_side}_door back_{_side}_light roof "
        f"back_bumper back_glass trunk tailgate wheel {_side}_rocker_panel {_other}_quarter_panel",
        f"{_side}_rocker_panel": f"front_{_side}_door back_{_side}_door wheel "
        f"{_other}_rocker_panel",
    }
# Simulations: Vienot et al. 1999 and Machado et al. 2009; Brettel et al. 1997 for tritanopia.
VISIONS = {
    "all cones": None,
    "protanopia": ("protan", "vienot"),
    "protanopia, Machado": ("protan", "machado"),
    "deuteranopia": ("deutan", "vienot"),
    "deuteranopia, Machado": ("deutan", "machado"),
    "tritanopia": ("tritan", "brettel"),
}


@pytest.fixture(params=VISIONS)
def seen(request: pytest.FixtureRequest) -> dict[str, Color]:
    """Return the colours as seen with a colour vision."""
    vision = VISIONS[request.param]
    colours = {}
    for name, rgb in {**PART_COLOURS, "background": BACKGROUND}.items():
        colour = Color(as_hex(rgb))
        if vision is not None:
            colour.filter(vision[0], method=vision[1], in_place=True)
        colours[name] = colour.convert("srgb").clip()
    return colours


def limits(*names: str) -> Distances:
    return PANELS_APART if set(names) & set(PANELS) else BASIC_APART


def apart(one: Color, other: Color) -> float:
    return one.delta_e(other, method="2000")


def test_every_part_has_a_distinct_colour() -> None:
    assert list(PART_COLOURS) == list(PART_NAMES)
    assert as_hex((1, 35, 171)) == "#0123ab"


def test_neighbours_are_known_parts() -> None:
    for name, others in NEIGHBOURS.items():
        assert {name, *others.split()} <= set(PART_NAMES)
    assert {name for others in NEIGHBOURS.values() for name in others.split()} | set(
        NEIGHBOURS
    ) == set(PART_NAMES)


def test_neighbours_differ_in_colour(seen: dict[str, Color]) -> None:
    for name, others in NEIGHBOURS.items():
        for other in others.split():
            assert apart(seen[name], seen[other]) >= limits(name, other).neighbours


def test_all_parts_differ_in_colour(seen: dict[str, Color]) -> None:
    for one, other in itertools.combinations(PART_NAMES, 2):
        assert apart(seen[one], seen[other]) >= limits(one, other).any_two


def test_parts_contrast_with_background(seen: dict[str, Color]) -> None:
    for name in PART_NAMES:
        assert apart(seen[name], seen["background"]) >= BACKGROUND_APART, name
