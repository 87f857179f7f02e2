"""A car park around the car: asphalt, painted lines, kerb, grass, a wall, trees."""

from __future__ import annotations

from typing import Any

import bpy  # type: ignore[import-not-found,import-untyped,unused-ignore]
import numpy as np
from meshes import Floats, Ints, grid, revolve, superellipsoid
from scene import View, mesh_object

Span = tuple[float, float]


def _sheet(x: Span, y: Span, z: float) -> tuple[Floats, Ints]:
    corners = [[(a, b, z) for b in y] for a in x]
    return grid(np.array(corners))


def _box(x: Span, y: Span, z: Span) -> tuple[Floats, Ints]:
    size = ((x[1] - x[0]) / 2, (y[1] - y[0]) / 2, (z[1] - z[0]) / 2)
    vertices, faces = superellipsoid(size, 30.0, 64)
    return vertices + np.array([sum(x) / 2, sum(y) / 2, sum(z) / 2]), faces


def _leaves(
    rng: np.random.Generator, count: int, centres: Floats, radii: Floats
) -> tuple[Floats, Ints]:
    """Small four-sided leaves at random in a cloud of balls."""
    pick = rng.integers(len(centres), size=count)
    away = rng.normal(size=(count, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    at = centres[pick] + away * (radii[pick] * rng.uniform(0.55, 1.05, count))[:, None]
    one = rng.normal(size=(count, 3))
    two = np.cross(one, rng.normal(size=(count, 3)))
    size = rng.uniform(0.05, 0.10, (count, 1))
    one *= size / np.linalg.norm(one, axis=1, keepdims=True)
    two *= 0.6 * size / np.linalg.norm(two, axis=1, keepdims=True)
    corners = np.stack([at - one, at + two, at + one, at - two], axis=1)
    return corners.reshape(-1, 3), np.arange(4 * count, dtype=np.int64).reshape(-1, 4)


def _tree(rng: np.random.Generator, shades: dict[str, Any]) -> list[Any]:
    blobs = 26
    centres = rng.normal(size=(blobs, 3)) * np.array([1.15, 1.15, 0.85]) + np.array([0, 0, 4.6])
    crown = mesh_object("crown", *_leaves(rng, 26000, centres, rng.uniform(0.6, 1.1, blobs)))
    crown.data.materials.append(shades["leaf"])
    vertices, faces = revolve([(0.20, 0.0), (0.15, 1.2), (0.12, 3.0), (0.05, 5.0)], 20)
    trunk = mesh_object("stem", vertices[:, [0, 2, 1]], faces)
    trunk.data.materials.append(shades["bark"])
    return [crown, trunk]


def _hedge(rng: np.random.Generator, shades: dict[str, Any], y: Span, x: float) -> Any:
    count = 160
    centres = np.stack(
        [
            rng.normal(x, 0.12, count),
            rng.uniform(*y, count),
            rng.uniform(0.2, 0.75, count),
        ],
        axis=1,
    )
    made = mesh_object("hedge", *_leaves(rng, 60000, centres, rng.uniform(0.3, 0.45, count)))
    made.data.materials.append(shades["leaf"])
    return made


def _copy(thing: Any, place: tuple[float, float], turn: float, size: float) -> Any:
    twin = bpy.data.objects.new(thing.name, thing.data)
    bpy.context.scene.collection.objects.link(twin)
    twin.location = (*place, 0.0)
    twin.rotation_euler = (0, 0, turn)
    twin.scale = (size, size, size)
    return twin


def build(view: View, shades: dict[str, Any]) -> None:
    """All surroundings, turned so that the camera always sees the wall behind the car and the car
    mirrors the long building behind the camera."""
    rng = np.random.default_rng(view.seed)
    made = []
    solids = [
        ("asphalt", _sheet((-400, 400), (-400, 400), 0.0)),
        ("grass", _sheet((-60, -9.2), (-90, 90), 0.10)),
        ("kerb", _box((-9.25, -9.0), (-60, 60), (-0.1, 0.12))),
        ("concrete", _box((-14.2, -14.0), (-60, 60), (-0.5, 1.9))),
        ("concrete", _box((-14.3, -13.9), (-60, 60), (1.9, 2.0))),
        ("trim", _box((34, 44), (-45, 45), (1.6, 2.9))),
        ("trim", _box((34, 44), (-45, 45), (4.4, 5.7))),
        ("kerb", _box((34.2, 44), (-46, 46), (-0.5, 7.0))),
    ]
    bays = np.arange(-14.6, 16, 2.7)
    solids += [("line", _sheet((-8.6, -3.6), (y, y + 0.11), 0.004)) for y in bays]
    for name, mesh in solids:
        thing = mesh_object(name, *mesh)
        thing.data.materials.append(shades[name])
        made.append(thing)
    made.append(_hedge(rng, shades, (-12, 13), -12.6))
    model = _tree(rng, shades)
    spots = [(-17 - 5 * rng.random(), y + 2 * rng.random()) for y in range(-40, 44, 5)]
    spots += [(x + 3 * rng.random(), side * 46.0) for side in (-1, 1) for x in range(-12, 30, 7)]
    for place in spots:
        turn, size = rng.uniform(0, 6.28), rng.uniform(0.8, 1.5)
        made += [_copy(part, place, turn, size) for part in model]
    for part in model:
        part.location = (-19.0, 0.5, 0.0)
        made.append(part)
    pivot = bpy.data.objects.new("pivot", None)
    bpy.context.scene.collection.objects.link(pivot)
    for thing in made:
        thing.parent = pivot
    pivot.rotation_euler = (0, 0, np.radians(view.azimuth))
