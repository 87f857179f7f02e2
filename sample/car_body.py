"""The shape of the car body as an implicit surface, and the lines that cut it into panels.

Nominal metres: x forward from the middle of the wheelbase, y to the car's own left, z up from the
ground. Every shape is a field (negative inside); the body is where `body` is zero. Designers draw a
car as side, top, front and rear surfaces that meet in rounded edges; so does this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from meshes import Field, Floats, polygon_distance, rounded, smooth_max, smooth_min
from scipy.interpolate import PchipInterpolator

AXLE = 1.335
"""Distance of each axle from x = 0."""
WHEEL_RADIUS = 0.325
ARCH_RADIUS = 0.365


def _curve(*points: tuple[float, float]) -> PchipInterpolator:
    knots = np.array(sorted(points))
    return PchipInterpolator(knots[:, 0], knots[:, 1], extrapolate=True)


# fmt: off
HOOD_LINE = _curve(
    (2.6, 0.48), (2.25, 0.66), (2.05, 0.755), (1.8, 0.835), (1.5, 0.893), (1.1, 0.952),
    (0.7, 0.985),
)
DECK_LINE = {
    "sedan": _curve((0.7, 0.985), (0.0, 1.0), (-1.2, 1.045), (-1.8, 1.085), (-2.2, 1.085)),
    "hatchback": _curve((0.7, 0.985), (0.0, 1.0), (-1.2, 1.04), (-1.8, 1.06), (-2.2, 1.02)),
    "coupe": _curve((0.7, 0.985), (0.0, 0.995), (-1.2, 1.03), (-1.8, 1.05), (-2.2, 1.04)),
}
ROOF_LINE = {
    "sedan": _curve(
        (1.0, 1.25), (0.6, 1.368), (0.2, 1.436), (-0.25, 1.462), (-0.7, 1.45), (-1.2, 1.40),
        (-2, 1.25),
    ),
    "hatchback": _curve(
        (1.0, 1.25), (0.6, 1.368), (0.2, 1.440), (-0.25, 1.470), (-0.8, 1.465), (-1.5, 1.42),
        (-2, 1.36),
    ),
    "coupe": _curve(
        (1.0, 1.23), (0.6, 1.325), (0.2, 1.378), (-0.2, 1.388), (-0.6, 1.355), (-1.1, 1.26),
        (-1.6, 1.13), (-2, 1.02),
    ),
}
NOSE_LINE = _curve(
    (0.1, 2.10), (0.2, 2.185), (0.3, 2.225), (0.42, 2.235), (0.55, 2.225), (0.68, 2.185),
    (0.8, 2.09), (1.0, 1.8), (1.5, 1.0),
)
TAIL_LINE = {
    "sedan": _curve(
        (0.1, 2.10), (0.25, 2.22), (0.45, 2.30), (0.6, 2.30), (0.8, 2.24), (1.06, 2.23),
        (1.2, 2.20), (1.5, 2.1),
    ),
    "hatchback": _curve(
        (0.1, 1.90), (0.25, 1.98), (0.45, 2.05), (0.6, 2.05), (0.8, 2.0), (1.06, 1.92),
        (1.5, 1.75),
    ),
    "coupe": _curve(
        (0.1, 2.05), (0.25, 2.16), (0.45, 2.23), (0.6, 2.23), (0.8, 2.18), (1.06, 2.18),
        (1.2, 2.15), (1.5, 2.0),
    ),
}
"""How far back the tail reaches at each height, as NOSE_LINE says for the front. The other lines
give heights along the length, on the middle of the car."""
# fmt: on


@dataclass(frozen=True)
class Shape:
    """The body of one style; its methods are fields or curves over points (N, 3)."""

    style: str = "sedan"

    def width(self, x: Floats, z: Floats) -> Floats:
        """Half width of the body's side at each (x, z): barrel, shoulder line, arches, handles."""
        half = 0.882 - np.where(z < 0.6, 0.30, 0.36) * (z - 0.6) ** 2
        half -= 0.10 * np.maximum(x - 0.9, 0) ** 2 + 0.07 * np.maximum(-1.0 - x, 0) ** 2
        above = z - (0.775 - 0.025 * x)
        fade = 1 / (1 + np.exp((x - 1.75) / 0.12))
        half += 0.017 * fade * np.exp(-np.sqrt(above**2 + 0.008**2) / 0.075)
        along = 1 / (1 + np.exp((np.abs(x + 0.08) - 0.80) / 0.11))
        low = z - (0.385 - 0.035 * x)
        half -= 0.018 * along * np.exp(-((low / 0.085) ** 2))
        half += 0.012 * along * np.exp(-(((low + 0.115) / 0.05) ** 2))
        for axle in (AXLE, -AXLE):
            from_hub = np.hypot(x - axle, z - WHEEL_RADIUS)
            half += 0.022 * np.exp(-(((from_hub - ARCH_RADIUS) / 0.075) ** 2))
        for handle in HANDLES[self.style]:
            dent = ((x - handle[0] - 0.01) / 0.085) ** 2 + ((z - handle[1]) / 0.032) ** 2
            half -= 0.016 * np.exp(-(dent**2))
        return np.asarray(half)

    def top(self, x: Floats, y: Floats) -> Floats:
        """Height of hood, shoulder and deck at each (x, y)."""
        side = np.abs(y)
        height = np.where(x > 0.7, HOOD_LINE(x), DECK_LINE[self.style](x))
        crease = 0.33 + 0.16 * np.clip((2.1 - x) / 1.2, 0, 1.3)
        height += 0.016 / (1 + np.exp((side - crease) / 0.018)) - 0.01
        return np.asarray(height - 0.12 * (side / 0.8) ** 2.4)

    def lower(self, p: Floats) -> Floats:
        """The body below the windows."""
        x, y, z = p.T
        across = (y / 0.75) ** 2
        side = np.abs(y) - self.width(x, z)
        top = (z - self.top(x, y)) * 0.96
        nose = (x - NOSE_LINE(z) + 0.13 * across + 0.05 * across**2) * 0.9
        tail = (-x - TAIL_LINE[self.style](z) + 0.10 * across + 0.03 * across**2) * 0.95
        floor = 0.175 + 0.10 * np.clip(-1.6 - x, 0, 0.6) - z
        solid = smooth_max(side, top, 0.15)
        solid = smooth_max(smooth_max(solid, nose, 0.20), tail, 0.20)
        return smooth_max(solid, floor, 0.06)

    def glass_width(self, x: Floats, z: Floats) -> Floats:
        """Half width of the cabin at each (x, z)."""
        lean = 0.765 - 0.36 * (z - 0.92) - 0.20 * np.maximum(z - 0.92, 0) ** 2
        return np.asarray(
            lean - 0.06 * np.maximum(x - 0.1, 0) ** 2 - 0.07 * np.maximum(-0.5 - x, 0) ** 2
        )

    def windscreen(self, p: Floats) -> Floats:
        x, y, z = p.T
        rise = z - 0.955
        return np.asarray((x - 1.06 + 0.21 * y**2 + 1.88 * rise + 0.35 * rise**2) * 0.455)

    def rear_window(self, p: Floats) -> Floats:
        x, y, z = p.T
        slope, base, size = REAR_WINDOW[self.style]
        return np.asarray((base - x + 0.16 * y**2 + slope * (z - 1.04)) * size)

    def cabin(self, p: Floats) -> Floats:
        x, y, z = p.T
        side = (np.abs(y) - self.glass_width(x, z)) * 0.92
        roof = z - (ROOF_LINE[self.style](x) - 0.09 * (y / 0.6) ** 2)
        shell = smooth_max(side, roof, 0.10)
        shell = smooth_max(shell, self.windscreen(p), 0.09)
        floor = 0.70 + 0.22 * np.clip(-x, 0, 1) - z
        return smooth_max(smooth_max(shell, self.rear_window(p), 0.12), floor, 0.02)

    def body(self, p: Floats) -> Floats:
        return smooth_min(self.lower(p), self.cabin(p), 0.035)


REAR_WINDOW = {
    "sedan": (2.0, -1.86, 0.44),
    "hatchback": (0.60, -1.88, 0.86),
    "coupe": (2.9, -1.93, 0.33),
}
"""How far it leans per metre of height, where it begins, and what makes the field a distance."""
GLASS_TOP = {"sedan": (1.405, 1.365), "hatchback": (1.405, 1.37), "coupe": (1.345, 1.27)}
"""Height of the upper edge of windscreen and rear window."""
HANDLES = {
    "sedan": ((0.02, 0.80), (-0.93, 0.825)),
    "hatchback": ((0.02, 0.80), (-0.93, 0.825)),
    "coupe": ((-0.40, 0.81),),
}
"""(x, z) of the handles of the doors on each side, as many as there are doors."""
DOORS_END = {"sedan": (-1.16, 0.9), "hatchback": (-1.16, 0.9), "coupe": (-0.62, 0.25)}
"""Where the last door ends at the shoulder, and how far its window frame leans per metre."""
B_PILLAR = -0.235
# fmt: off
WINDOWS = {
    "sedan": [
        (0.86, 0.925), (0.55, 1.115), (0.20, 1.288), (-0.05, 1.345), (-0.35, 1.362), (-0.75, 1.345),
        (-1.10, 1.275), (-1.38, 1.13), (-1.50, 1.03), (-1.40, 0.995), (-0.4, 0.952),
    ],
    "hatchback": [
        (0.86, 0.925), (0.55, 1.115), (0.20, 1.288), (-0.05, 1.345), (-0.35, 1.368), (-0.85, 1.36),
        (-1.30, 1.31), (-1.52, 1.20), (-1.56, 1.08), (-1.40, 1.01), (-0.4, 0.955),
    ],
    "coupe": [
        (0.86, 0.925), (0.55, 1.10), (0.20, 1.245), (-0.05, 1.285), (-0.35, 1.292), (-0.70, 1.262),
        (-1.05, 1.19), (-1.32, 1.10), (-1.45, 1.03), (-1.34, 0.99), (-0.4, 0.95),
    ],
}
HEADLIGHT = [
    (0.51, 0.575), (0.47, 0.655), (0.72, 0.712), (1.02, 0.757), (1.36, 0.790), (1.34, 0.750),
    (1.12, 0.655), (0.88, 0.582), (0.68, 0.562),
]
TAILLIGHT = [(0.50, 0.80), (0.50, 0.93), (0.9, 0.955), (1.28, 0.935), (1.30, 0.90), (1.0, 0.78)]
GRILLE = [(-0.45, 0.652), (0.45, 0.652), (0.38, 0.552), (-0.38, 0.552)]
INTAKE = [(-0.42, 0.400), (0.42, 0.400), (0.52, 0.255), (-0.52, 0.255)]
FOG = [(0.56, 0.42), (0.72, 0.44), (0.76, 0.33), (0.60, 0.29)]
# fmt: on


def outline(corners: list[tuple[float, float]], view: str) -> Field:
    """Distance to a rounded polygon drawn in the side view (x, z), front view (y, z), or along
    the front or rear corner, where the first coordinate grows with |y| and with the way back."""
    ring = rounded(corners)

    def field(p: Floats) -> Floats:
        x, y, z = p.T
        first = {
            "side": x,
            "front": y,
            "nose": np.abs(y) + 0.8 * (2.15 - x),
            "tail": np.abs(y) + 0.8 * (2.20 + x),
        }[view]
        return polygon_distance(np.stack([first, z], axis=1), ring)

    return field


def both(*fields: Field, radius: float = 0.0) -> Field:
    """Return the intersection of fields, with rounded corners."""

    def field(p: Floats) -> Floats:
        value = fields[0](p)
        for other in fields[1:]:
            value = smooth_max(value, other(p), radius) if radius else np.maximum(value, other(p))
        return value

    return field


def beyond(axis: int, limit: float, sign: int = 1) -> Field:
    """Return the half-space above a limit of a coordinate, or below it for sign -1."""
    return lambda p: sign * (limit - p[:, axis])


def out(limit: float) -> Field:
    """Return the field of |y| above a limit."""
    return lambda p: limit - np.abs(p[:, 1])


def arches(p: Floats) -> Floats:
    """The openings around the wheels."""
    hub = np.minimum(np.abs(p[:, 0] - AXLE), np.abs(p[:, 0] + AXLE))
    return np.maximum(np.hypot(hub, p[:, 2] - WHEEL_RADIUS) - ARCH_RADIUS, 0.5 - np.abs(p[:, 1]))
