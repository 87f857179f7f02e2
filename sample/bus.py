"""A school bus: a box with a hood, cut into panels as the cars are. It has no car parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from car_body import beyond, both, out, outline
from car_panels import Cut, Point, panels
from car_parts import SIDES, block, tube, wheel
from meshes import Field, Floats, Piece, smooth_min

AXLES = (2.75, -2.2)
WHEEL_RADIUS = 0.46
BOUNDS = ((-4.1, -1.25, 0.4), (3.8, 1.25, 2.95))


def _box(low: Point, high: Point, radius: float) -> Field:
    """Distance to a box with rounded edges."""
    middle, half = (np.array(high) + low) / 2, (np.array(high) - low) / 2 - radius

    def field(p: Floats) -> Floats:
        away = np.abs(p - middle) - half
        outside = np.linalg.norm(np.maximum(away, 0), axis=1)
        return np.asarray(outside + np.minimum(away.max(axis=1), 0) - radius)

    return field


CABIN = _box((-4.0, -1.15, 0.55), (2.2, 1.15, 2.85), 0.22)
HOOD = _box((1.5, -0.98, 0.55), (3.65, 0.98, 1.52), 0.16)


def body(p: Floats) -> Floats:
    return smooth_min(CABIN(p), HOOD(p), 0.06)


def _arches(p: Floats) -> Floats:
    hub = np.minimum(*(np.abs(p[:, 0] - axle) for axle in AXLES))
    return np.maximum(np.hypot(hub, p[:, 2] - WHEEL_RADIUS) - 0.56, 0.6 - np.abs(p[:, 1]))


def _pane(along: str, first: tuple[float, float], z: tuple[float, float], *where: Field) -> Cut:
    axis = "xy".index(along)
    across = both(beyond(axis, first[0]), beyond(axis, first[1], -1))
    pane = both(across, beyond(2, z[0]), beyond(2, z[1], -1), radius=0.12)
    return Cut(both(pane, *where), "side_glass", gap=0.004, sink=0.015)


def _cuts() -> list[Cut]:
    ahead, sides = beyond(0, 1.9), out(0.95)
    cuts = [Cut(_arches, None, gap=0.0)]
    cuts += [_pane("y", (y, y + 0.93), (1.62, 2.42), ahead) for y in (-0.96, 0.03)]
    cuts += [_pane("y", (-0.85, 0.85), (1.75, 2.35), beyond(0, -3.7, -1))]
    cuts += [_pane("x", (x, x + 0.57), (1.72, 2.36), sides) for x in np.arange(-3.76, 1.2, 0.66)]
    cuts += [_pane("x", (1.56, 2.02), (1.62, 2.36), sides)]
    grille = outline([(-0.5, 0.92), (0.5, 0.92), (0.5, 1.34), (-0.5, 1.34)], "front")
    bars = (0.07, 0.03, "chrome")
    cuts.append(Cut(both(grille, ahead), "grille_black", sink=0.03, wall="plastic", slats=bars))
    for z in (0.82, 1.12, 1.52):  # rub rails
        rail = both(beyond(2, z - 0.03), beyond(2, z + 0.03, -1), beyond(0, 2.0, -1))
        cuts.append(Cut(rail, "plastic", gap=0.001))
    return cuts


def _wheels() -> list[Piece]:
    size = WHEEL_RADIUS / 0.325
    parts = []
    for axle in AXLES:
        parts.append(block("well", (axle, 0, 0.8), (0.6, 0.7, 0.3), 12.0))
        for _, sign in SIDES:
            for piece in wheel():
                shade = "steel" if piece.material == "alloy" else piece.material
                placed = piece.scaled((size, sign * size, size)).moved((axle, 0.97 * sign, 0.46))
                parts.append(replace(placed, material=shade, label=None))
    return [piece for piece in parts if not piece.only_in_masks]


def _fittings() -> list[Piece]:
    parts = [
        block("plastic", (3.72, 0, 0.62), (0.08, 1.08, 0.13), 8.0),
        block("plastic", (-4.04, 0, 0.66), (0.08, 1.12, 0.13), 8.0),
        block("plate", (3.81, 0, 0.62), (0.01, 0.16, 0.08), 14.0),
    ]
    for _, sign in SIDES:
        parts.append(block("chrome", (3.63, 0.73 * sign, 1.13), (0.03, 0.17, 0.13), 6.0))
        parts.append(block("white_lamp", (3.66, 0.73 * sign, 1.13), (0.02, 0.13, 0.09), 3.0))
        parts.append(block("tail_lens", (-4.0, 0.95 * sign, 1.3), (0.03, 0.12, 0.12), 3.0))
        for y, shade in ((0.78, "tail_lens"), (0.5, "amber")):
            parts.append(block(shade, (2.18, y * sign, 2.62), (0.05, 0.11, 0.11), 2.5))
        arm = np.array([(2.1, 1.1, 2.2), (2.45, 1.28, 2.25), (2.5, 1.36, 2.2)]) * (1, sign, 1)
        parts.append(tube("plastic", arm, 0.02))
        parts.append(block("plastic", (2.5, 1.36 * sign, 1.95), (0.05, 0.11, 0.26), 5.0))
        for x in np.arange(-3.5, 1.3, 0.72):
            parts.append(block("cloth", (x, 0.62 * sign, 1.45), (0.07, 0.44, 0.45), 6.0))
    return parts


def pieces(cell: float = 0.03) -> list[Piece]:
    """Everything of the bus."""
    return [*panels(body, BOUNDS, _cuts(), cell), *_wheels(), *_fittings()]
