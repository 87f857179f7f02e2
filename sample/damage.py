"""A dent and some scratches on the left side of a car."""

from __future__ import annotations

import numpy as np
from car_panels import Cut
from meshes import Field, Floats, polygon_distance

# (x, z) of the middle of the dent, its radii along and upwards, its depth, all in metres.
DENT = (0.42, 0.62), (0.24, 0.15), 0.075
# (x, z) of the points of each scratch, which are as wide as WIDTH and end in a point.
SCRATCHES = (
    ((-0.33, 0.735), (-0.55, 0.70), (-0.85, 0.69), (-1.12, 0.65)),
    ((-0.36, 0.70), (-0.60, 0.672), (-0.90, 0.66), (-1.02, 0.645)),
    ((-0.30, 0.655), (-0.60, 0.63), (-0.86, 0.60), (-1.08, 0.59)),
    ((-0.42, 0.60), (-0.70, 0.58), (-1.00, 0.55)),
)
WIDTH = 0.03
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
    """Return the scratches, through which the light primer shows."""
    return [Cut(_scratch(line), "plate", "back_left_door", gap=0.0) for line in SCRATCHES]


def _scratch(line: tuple[tuple[float, float], ...]) -> Field:
    points = np.array(line)
    across = np.array([0.0, 0.5 * WIDTH])
    middle = points[1:-1]
    ring = np.concatenate([points[:1], middle + across, points[-1:], (middle - across)[::-1]])

    def field(p: Floats) -> Floats:
        x, y, z = p.T
        near = polygon_distance(np.stack([x, z], axis=1), [(a, b) for a, b in ring.tolist()])
        return np.asarray(np.maximum(near, _SIDE - y))

    return field
