"""Build the fittings of the body: wheels, mirrors, handles, lamps, plates, wipers, the interior."""

from __future__ import annotations

from dataclasses import replace

import car_body as car
import numpy as np
from car_body import Shape
from meshes import (
    Floats,
    Piece,
    clip,
    gradient,
    grid,
    onto_surface,
    revolve,
    rim,
    smooth_min,
    superellipsoid,
    unit,
)

Point = tuple[float, float, float]
SIDES = (("left", 1.0), ("right", -1.0))


def block(
    material: str, centre: Point, size: Point, power: float = 5.0, label: str | None = None
) -> Piece:
    """A box with rounded edges around a centre; size is half of each side."""
    return Piece(material, *superellipsoid(size, power), label=label).moved(centre)


def tube(material: str, points: Floats, radius: float, closed: bool = False) -> Piece:
    """A round bar along points (N, 3)."""
    along = unit(np.gradient(points, axis=0))
    side = unit(np.cross(along, np.array([0.13, 0.21, 0.97])))
    up = np.cross(along, side)
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)[None, :, None]
    ring = side[:, None] * np.cos(angle) + up[:, None] * np.sin(angle)
    return Piece(material, *grid(points[:, None] + radius * ring, closed, True))


def seat(shape: Shape, guess: Point) -> tuple[Floats, Floats]:
    """The nearest point of the body's surface, and the normal there."""
    point = onto_surface(shape.body, np.array([guess]), rounds=40)
    return point[0], unit(gradient(shape.body, point))[0]


def _spokes(p: Floats) -> Floats:
    """Distance to the metal of a wheel with five pairs of spokes, in its plane (x, z)."""
    radius, angle = np.hypot(p[:, 0], p[:, 2]), np.arctan2(p[:, 2], p[:, 0])
    fifth = 2 * np.pi / 5
    angle = np.abs((angle + fifth / 2) % fifth - fifth / 2)
    point = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    start, end = np.array([0.035, 0.012]), np.array([0.204, 0.058])
    line = end - start
    share = np.clip((point - start) @ line / (line @ line), 0, 1)
    spoke = np.linalg.norm(point - start - share[:, None] * line, axis=1) - 0.0150 + 0.0035 * share
    return smooth_min(smooth_min(spoke, radius - 0.060, 0.020), 0.199 - radius, 0.020)


def _dish(p: Floats) -> Floats:
    """Height of the wheel's face: dished, with edges that fall away."""
    radius = np.hypot(p[:, 0], p[:, 2])
    edge = np.exp(np.minimum(_spokes(p), 0) / 0.0035)
    groove = 0.004 * np.exp(-(((radius - 0.062) / 0.004) ** 2))
    return np.asarray(0.052 + 0.034 * (radius / 0.2) ** 1.6 - 0.007 * edge - groove)


def wheel_face() -> list[Piece]:
    radius, angle = np.meshgrid(
        np.linspace(0.002, 0.208, 90), np.linspace(0, 2 * np.pi, 360, endpoint=False), indexing="ij"
    )
    flat = np.stack([radius * np.cos(angle), 0 * radius, radius * np.sin(angle)], axis=2)
    vertices, faces = grid(flat, closed_v=True)
    vertices, faces = clip(vertices, faces[:, ::-1], _spokes(vertices))
    vertices[:, 1] = _dish(vertices)
    normals = unit(gradient(lambda p: p[:, 1] - _dish(p), vertices, 5e-4))
    face = Piece("alloy", vertices, faces, normals, "wheel")
    return [face, rim(face, 0.035)]


def wheel() -> list[Piece]:
    """A wheel around the y axis, its outside towards +y."""
    half = [(0.214, 0.084), (0.222, 0.097), (0.240, 0.103), (0.243, 0.1055)]
    half += [(0.247, 0.104), (0.270, 0.1055), (0.285, 0.1045), (0.288, 0.106), (0.291, 0.103)]
    half += [(0.303, 0.099), (0.306, 0.0955)]
    half += [(0.316, 0.090), (0.3235, 0.072), (0.325, 0.048), (0.318, 0.046), (0.318, 0.040)]
    half += [(0.325, 0.038), (0.325, 0.010), (0.318, 0.008)]
    tyre = half + [(r, -y) for r, y in reversed(half)]
    hoop = [(0.219, 0.093), (0.221, 0.098), (0.216, 0.1), (0.211, 0.094), (0.206, 0.084)]
    hoop += [(0.203, 0.06), (0.198, 0.0), (0.200, -0.09)]
    parts = wheel_face()
    for material, profile in (
        ("rubber", tyre),
        ("alloy", hoop),
        ("steel", [(0.165, -0.002), (0.165, 0.008), (0.085, 0.008), (0.080, 0.025), (0.0, 0.025)]),
        ("well", [(0.205, -0.055), (0.0, -0.055)]),
        ("gloss_black", [(0.027, 0.050), (0.027, 0.062), (0.022, 0.066), (0.0, 0.067)]),
    ):
        parts.append(Piece(material, *revolve(profile), label="wheel"))
    for turn in np.arange(5) * 2 * np.pi / 5 + np.pi / 5:
        bolt = (0.043 * np.cos(turn), 0.052, 0.043 * np.sin(turn))
        parts.append(block("steel", bolt, (0.007, 0.008, 0.007), 2.5, "wheel"))
    parts.append(block("lamp_black", (0.12, 0.012, 0.02), (0.035, 0.028, 0.07), 4, "wheel"))
    disc = Piece("well", *revolve([(0.21, 0.04), (0.0, 0.04)]), label="wheel", only_in_masks=True)
    return [*parts, disc]


def wheels(shape: Shape, steer: float) -> list[Piece]:
    """The four wheels and the dark wells around them."""
    parts: list[Piece] = []
    model = wheel()
    well = [(0.40, 0.0), (0.40, 0.36), (0.0, 0.36)]
    for index, (front, (_, sign)) in enumerate((f, s) for f in (1, -1) for s in SIDES):
        for piece in model:
            turned = piece.rotated(1, 23.0 + 31.0 * index).scaled((1, sign, 1))
            turned = turned.rotated(2, steer if front > 0 else 0.0)
            parts.append(turned.moved((front * car.AXLE, 0.768 * sign, car.WHEEL_RADIUS)))
        lining = Piece("well", *revolve(well)).scaled((1, -1, 1)).moved((0, 0.84, 0))
        lining = lining.scaled((1, sign, 1)).moved((front * car.AXLE, 0, car.WHEEL_RADIUS + 0.01))
        keep = lining.vertices[:, 2] - 0.2
        vertices, triangles = clip(lining.vertices, lining.triangles, -keep)
        parts.append(replace(lining, vertices=vertices, triangles=triangles))
    return parts


def mirrors() -> list[Piece]:
    parts = []
    for side, sign in SIDES:
        label = f"{side}_mirror"
        housing = block("paint", (0, 0, 0), (0.070, 0.112, 0.074), 2.9, label)
        shape = housing.vertices.copy()
        shape[:, 2] *= 1 + 1.3 * (shape[:, 1] - 0.0)
        shape[:, 0] = np.where(shape[:, 0] < -0.03, -0.03, shape[:, 0])
        glass = block("chrome", (-0.031, 0, 0), (0.003, 0.098, 0.060), 2.9, label)
        base = block("gloss_black", (0, 0, -0.072), (0.045, 0.085, 0.022), 3.0, label)
        arm = block("gloss_black", (0.01, -0.11, -0.065), (0.030, 0.075, 0.018), 3.0, label)
        for piece in (replace(housing, vertices=shape), glass, base, arm):
            parts.append(piece.rotated(2, 6).moved((0.66, 0.955, 0.985)).scaled((1, sign, 1)))
    return parts


def handles(shape: Shape) -> list[Piece]:
    parts = []
    for (x, z), door in zip(car.HANDLES[shape.style], ("front", "back"), strict=False):
        at = float(shape.width(np.array([x + 0.2]), np.array([z]))[0])
        for side, sign in SIDES:
            label = f"{door}_{side}_door"
            grip = block("paint", (x - 0.005, at + 0.016, z), (0.108, 0.011, 0.0135), 3.2, label)
            strip = block("chrome", (x - 0.005, at + 0.027, z), (0.090, 0.002, 0.004), 3.2, label)
            parts += [grip.scaled((1, sign, 1)), strip.scaled((1, sign, 1))]
    return parts


def lamps(shape: Shape) -> list[Piece]:
    """Reflectors and projector lenses behind the front glass, and fog lamps."""
    parts = []
    dome = [(0.0, 0.012), (0.012, 0.010), (0.022, 0.004), (0.026, 0.0)]
    bowl = [(0.047, 0.016), (0.049, 0.012), (0.040, -0.004), (0.026, -0.014), (0.0, -0.016)]
    places = ((0.60, 0.655, 0.032, 0.9), (0.73, 0.672, 0.036, 1.0), (0.65, 0.362, 0.016, 0.62))
    for y, z, depth, size in places:
        for side, sign in SIDES:
            point, normal = seat(shape, (2.0, y, z))
            label = f"front_{side}_light" if z > 0.5 else "front_bumper"
            centre = point - depth * normal
            for material, profile in (("chrome", bowl), ("white_lamp", dome)):
                piece = Piece(material, *revolve(profile, 48), label=label)
                piece = piece.scaled((size, size, size)).rotated(2, -90 + 18)
                parts.append(piece.moved((centre[0], centre[1], centre[2])).scaled((1, sign, 1)))
    return parts


def plates(shape: Shape) -> list[Piece]:
    parts = []
    for x, z, label in ((2.3, 0.475, "front_bumper"), (-2.4, 0.56, "back_bumper")):
        point, normal = seat(shape, (x, 0, z))
        sign = float(np.sign(normal[0]))
        for material, ahead, height in (("plastic", 0.002, 0.063), ("plate", 0.009, 0.055)):
            size = (0.007, 0.205 + height, height)
            parts.append(block(material, (point[0] + sign * ahead, 0, z), size, 14.0, label))
    return parts


def wipers(shape: Shape) -> list[Piece]:
    parts = []
    for start, end in (((-0.50, 0.03), (0.10, 0.075)), ((0.08, 0.03), (0.60, 0.085))):
        ys = np.linspace(start[0], end[0], 24)
        above = np.linspace(start[1], end[1], 24)
        z = shape.top(np.full(24, 1.0), ys) + above - 0.01
        guess = np.stack([1.06 - 0.21 * ys**2 - 1.88 * (z - 0.955), ys, z], axis=1)
        points = onto_surface(shape.body, guess, rounds=20)
        points += 0.012 * unit(gradient(shape.body, points))
        parts.append(replace(tube("plastic", points, 0.007), label="front_glass"))
    return parts


def interior() -> list[Piece]:
    parts = [
        block("trim", (0.80, 0, 0.83), (0.26, 0.66, 0.135), 4.0),
        block("cloth", (-0.2, 0, 0.30), (1.5, 0.74, 0.06), 8.0),
        block("cloth", (-1.28, 0, 0.80), (0.12, 0.60, 0.24), 5.0),
        block("cloth", (-1.02, 0, 0.48), (0.26, 0.60, 0.10), 5.0),
        block("trim", (-1.62, 0, 0.965), (0.28, 0.58, 0.02), 6.0),
        block("trim", (0.15, 0, 0.45), (0.5, 0.11, 0.13), 5.0),
        block("plastic", (0.25, 0, 1.275), (0.015, 0.11, 0.032), 3.0),
    ]
    for y in (-0.36, 0.36):
        back = block("cloth", (0, 0, 0.27), (0.085, 0.235, 0.31), 3.6).rotated(1, -14)
        parts.append(block("cloth", (-0.10, y, 0.47), (0.27, 0.24, 0.10), 3.6))
        parts.append(back.moved((-0.34, y, 0.50)))
        parts.append(block("cloth", (-0.50, y, 1.145), (0.05, 0.13, 0.085), 3.2))
        parts.append(block("cloth", (-1.33, y, 1.07), (0.045, 0.12, 0.07), 3.2))
    angle = np.linspace(0, 2 * np.pi, 64)
    ring = np.stack([0 * angle, 0.185 * np.cos(angle), 0.185 * np.sin(angle)], axis=1)
    parts.append(tube("plastic", ring, 0.016).rotated(1, -25).moved((0.43, 0.36, 0.90)))
    parts.append(block("plastic", (0.45, 0.36, 0.90), (0.03, 0.15, 0.03), 3.0))
    return parts


def fittings(shape: Shape, steer: float = 0.0) -> list[Piece]:
    """Everything of the car but the panels of its body."""
    bolted = [*wheels(shape, steer), *mirrors(), *handles(shape), *lamps(shape), *plates(shape)]
    return [*bolted, *wipers(shape), *interior()]
