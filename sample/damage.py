"""A dent and some scratches on the left side of a car."""

from __future__ import annotations

import numpy as np
from car_panels import Cut
from meshes import Field, Floats, polygon_distance

# (x, z) of the middle of the dent, its radii along and upwards, its depth, all in metres.
DENT = (0.42, 0.62), (0.24, 0.15), 0.075
# (x, z) of the points of each scratch, which are as wide as WIDTH and end in a point.
SCRATCHES = (
    ((-0.38, 0.70), (-0.62, 0.665), (-0.90, 0.655), (-1.12, 0.62)),
    ((-0.34, 0.655), (-0.60, 0.63), (-0.86, 0.60), (-1.05, 0.59)),
    ((-0.45, 0.60), (-0.70, 0.58), (-0.98, 0.54)),
)
WIDTH = 0.011
_SIDE = 0.5  # least y of the left side


def dented(body: Field) -> Field:
    """Return the field of a body whose front left door is pushed in, with a crease."""
    (at, up), (along, high), depth = DENT

    def field(p: Floats) -> Floats:
        x, y, z = p.T
        across, above = (x - at) / along, (z - up) / high
        round_part = np.exp(-1.5 * (across**2 + above**2))
        crease = 0.3 * np.exp(-((above + 0.5 * across) ** 2) * 14 - 1.2 * across**2)
        return np.asarray(body(p) + np.where(y > _SIDE, depth * (round_part + crease), 0.0))

    return field


def scratches() -> list[Cut]:
    """Return the scratches, through which the bare metal shows."""
    return [Cut(_scratch(line), "steel", "back_left_door", gap=0.0) for line in SCRATCHES]


def _scratch(line: tuple[tuple[float, float], ...]) -> Field:
    points = np.array(line)
    across = np.array([0.0, 0.5 * WIDTH])
    middle = points[1:-1]
    ring = np.concatenate([points[:1], middle + across, points[-1:], (middle - across)[::-1]])

    def field(p: Floats) -> Floats:
        x, y, z = p.T
        near = polygon_distance(np.stack([x, z], axis=1), ring)
        return np.asarray(np.maximum(near, _SIDE - y))

    return field
