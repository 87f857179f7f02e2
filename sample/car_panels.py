"""The panels of the body: which lines cut it, in which order, and what each panel is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import car_body as car
import numpy as np
from car_body import Shape, beyond, both, out, outline
from meshes import Field, Floats, Ints, Piece, clip, gradient, onto_surface, rim, smooth_max, unit
from skimage.measure import marching_cubes

GAP = 0.0028
"""Half the width of the gap between two panels."""
Point = tuple[float, float, float]
BOUNDS = ((-2.42, -0.96, 0.12), (2.32, 0.96, 1.52))
"""Corners of the box around the body of a car."""


@dataclass(frozen=True)
class Cut:
    """One cut: what is inside the field becomes a panel, the rest goes on to the next cut."""

    field: Field
    material: str | None
    label: str | None = None
    sided: bool = False
    gap: float = GAP
    depth: float = 0.018
    sink: float = 0.0
    wall: str | None = None
    slats: tuple[float, float, str] | None = None
    """Bars across an opening: their pitch and height in metres, and their material."""


def windscreen_glass(shape: Shape, margin: float) -> Field:
    def field(p: Floats) -> Floats:
        x, y, z = p.T
        side = np.abs(y) - (shape.glass_width(x, z) - 0.045 - margin)
        high = z - (car.GLASS_TOP[shape.style][0] - 0.09 * y**2 - margin)
        low = 0.012 + 0.6 * margin - shape.lower(p)
        rounded = smooth_max(smooth_max(side, high, 0.05), low, 0.02)
        return np.asarray(np.maximum(rounded, -0.1 - x))

    return field


def rear_glass(shape: Shape) -> Field:
    high = car.GLASS_TOP[shape.style][1]

    def field(p: Floats) -> Floats:
        x, y, z = p.T
        side = np.abs(y) - (shape.glass_width(x, z) - 0.07)
        ends = np.maximum(z - (high - 0.09 * y**2), shape.top(x, y) + 0.03 - z)
        return np.asarray(np.maximum(smooth_max(side, ends, 0.06), x + 1.0))

    return field


def _hood_width(p: Floats) -> Floats:
    return np.asarray(0.655 + 0.07 * np.clip((2.1 - p[:, 0]) / 1.1, 0, 1.2))


def hood(shape: Shape) -> Field:
    def field(p: Floats) -> Floats:
        x, y, z = p.T
        side = np.abs(y) - _hood_width(p)
        front = x - (2.135 - 0.15 * (y / 0.6) ** 2 - 0.03 * (y / 0.6) ** 6)
        ahead = 0.018 - shape.cabin(p)
        low = np.maximum(0.6 - z, 0.5 - x)
        return np.asarray(np.maximum(np.maximum(smooth_max(side, front, 0.05), ahead), low))

    return field


def cowl(shape: Shape) -> Field:
    """The strip between hood and windscreen."""

    def field(p: Floats) -> Floats:
        x, y, z = p.T
        side = np.abs(y) - (shape.glass_width(x, z) - 0.02)
        near = np.maximum(shape.cabin(p) - 0.018, 0.7 - x)
        return np.asarray(np.maximum(near, np.maximum(side, 0.85 - z)))

    return field


def doors(shape: Shape) -> Field:
    windows = outline(car.WINDOWS[shape.style], "side")
    end, lean = car.DOORS_END[shape.style]

    def field(p: Floats) -> Floats:
        x, _, z = p.T
        front = x - (0.865 - 0.25 * (z - 0.75) ** 2)
        back = end - x + 0.25 * (z - 0.95)
        box = smooth_max(smooth_max(front, back, 0.04), 0.262 - z, 0.06)
        box = np.maximum(box, z - 0.96)
        frame = np.maximum(windows(p) - 0.032, end + lean * (z - 0.95) - x)
        arch = 0.43 - np.hypot(x + car.AXLE, z - car.WHEEL_RADIUS)
        whole = np.maximum(np.minimum(box, frame), arch)
        return np.asarray(np.maximum(whole, 0.42 - np.abs(p[:, 1])))

    return field


def bumper(p: Floats) -> Floats:
    x, y, z = p.T
    corner = np.abs(y) + 0.8 * (2.15 - x)
    high = z - (0.715 - 0.10 * np.clip(corner - 0.45, 0, 1) ** 1.5)
    return np.asarray(np.maximum(high, 1.60 + 0.10 * (z - 0.4) - x))


def rear_bumper(p: Floats) -> Floats:
    return np.asarray(np.maximum(p[:, 2] - 0.66, p[:, 0] + 1.64))


def lid(shape: Shape) -> Field:
    """Trunk lid, or tailgate."""

    def field(p: Floats) -> Floats:
        x, y, z = p.T
        wide = 0.64 if shape.style == "hatchback" else 0.60
        return smooth_max(smooth_max(np.abs(y) - wide, x + 1.55, 0.05), 0.67 - z, 0.05)

    return field


def split(shape: Shape, field: Field, front: bool) -> Field:
    """The part of a field in front of, or behind, the line between the two doors of a side."""
    if len(car.HANDLES[shape.style]) == 1:
        return field
    sign = 1 if front else -1

    def half(p: Floats) -> Floats:
        line = car.B_PILLAR - 0.05 * (p[:, 2] - 0.9)
        return np.maximum(field(p), sign * (line - p[:, 0]))

    return half


def shrunk(field: Field, by: float) -> Field:
    return lambda p: field(p) + by


def front_cuts(shape: Shape) -> list[Cut]:
    ahead = beyond(0, 1.9)
    return [
        Cut(car.arches, None, gap=0.0, depth=0.05),
        Cut(windscreen_glass(shape, 0.028), "glass", "front_glass", gap=0.0, sink=0.002),
        Cut(windscreen_glass(shape, 0.0), "gloss_black", "front_glass", sink=0.001),
        Cut(
            both(outline(car.HEADLIGHT, "nose"), beyond(0, 1.2)),
            "lens",
            "front_{}_light",
            True,
            depth=0.05,
            sink=0.002,
            wall="lamp_black",
        ),
        Cut(hood(shape), "paint", "hood", depth=0.03),
        Cut(cowl(shape), "plastic", gap=0.001),
        Cut(
            both(outline(car.GRILLE, "front"), ahead),
            "grille_black",
            "front_bumper",
            gap=0.001,
            depth=0.05,
            sink=0.05,
            wall="gloss_black",
            slats=(0.032, 0.011, "gloss_black"),
        ),
        Cut(
            both(outline(car.INTAKE, "front"), ahead),
            "grille_black",
            "front_bumper",
            gap=0.001,
            depth=0.07,
            sink=0.07,
            wall="plastic",
            slats=(0.034, 0.010, "plastic"),
        ),
        Cut(
            both(outline(car.FOG, "front"), ahead),
            "grille_black",
            "front_bumper",
            gap=0.001,
            depth=0.03,
            sink=0.03,
            wall="plastic",
        ),
        Cut(
            both(outline([(-y, z) for y, z in car.FOG], "front"), ahead),
            "grille_black",
            "front_bumper",
            gap=0.001,
            depth=0.03,
            sink=0.03,
            wall="plastic",
        ),
        Cut(both(bumper, beyond(2, 0.225, -1)), "plastic", "front_bumper", gap=0.001),
        Cut(bumper, "paint", "front_bumper"),
    ]


def rear_cuts(shape: Shape) -> list[Cut]:
    boot = "tailgate" if shape.style == "hatchback" else "trunk"
    lamp = both(outline(car.TAILLIGHT, "tail"), beyond(0, -1.5, -1))
    return [
        Cut(rear_glass(shape), "dark_glass", "back_glass", sink=0.002),
        Cut(lamp, "tail_lens", "back_{}_light", True, sink=0.001),
        Cut(lid(shape), "paint", boot),
        Cut(both(rear_bumper, beyond(2, 0.30, -1)), "plastic", "back_bumper", gap=0.001),
        Cut(rear_bumper, "paint", "back_bumper"),
    ]


def side_cuts(shape: Shape) -> list[Cut]:
    whole = both(outline(car.WINDOWS[shape.style], "side"), out(0.42))
    door = doors(shape)
    cuts = []
    for name, _ in zip(("front", "back"), car.HANDLES[shape.style], strict=False):
        front = name == "front"
        label = f"{name}_{{}}_door"
        edge = -1.10 if not front else -9.0
        half = split(shape, door, front)
        pane = both(
            shrunk(whole, 0.014),
            split(shape, whole, front),
            shrunk(half, 0.05),
            beyond(0, edge),
            beyond(0, 0.66, -1),
        )
        cuts.append(Cut(pane, "side_glass", label, True, gap=0.0006, sink=0.004))
        cuts.append(Cut(both(whole, half), "gloss_black", label, True, gap=0.001))
        cuts.append(Cut(half, "paint", label, True, depth=0.03))
    cuts.append(Cut(shrunk(whole, 0.014), "side_glass", gap=0.0006, sink=0.004))
    cuts.append(Cut(whole, "gloss_black", gap=0.0006))
    cuts.append(Cut(beyond(2, 0.215, -1), "plastic", gap=0.0006))
    return cuts


def surface(body: Field, bounds: tuple[Point, Point], cell: float) -> tuple[Floats, Ints]:
    """The whole body as one mesh of triangles of about `cell` metres."""
    low, high = np.array(bounds)
    axes = [np.arange(a, b, cell) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = np.concatenate([body(slab.reshape(-1, 3)) for slab in points])
    volume = values.reshape(points.shape[:3])
    vertices, faces, _, _ = marching_cubes(  # type: ignore[no-untyped-call,unused-ignore]
        volume, 0.0, spacing=(cell,) * 3
    )
    vertices = onto_surface(body, vertices.astype(np.float64) + low)
    return vertices, faces.astype(np.int64)


def finished(body: Field, material: str, mesh: tuple[Floats, Ints]) -> Piece:
    """A panel put back onto the smooth surface, with the surface's own normals."""
    vertices = onto_surface(body, mesh[0], rounds=1)
    return Piece(material, vertices, mesh[1], unit(gradient(body, vertices)))


def body_pieces(
    shape: Shape, cell: float = 0.0125, body: Field | None = None, marks: Sequence[Cut] = ()
) -> list[Piece]:
    """Every panel of the body of a car with its folded edges.

    Args:
        shape: of the car.
        cell: edge of the triangles in metres.
        body: a changed body of this shape, such as a dented one.
        marks: cuts that come before those of the shape, such as scratches.
    """
    cuts = [*marks, *front_cuts(shape), *rear_cuts(shape), *side_cuts(shape)]
    return panels(body or shape.body, BOUNDS, cuts, cell)


def panels(body: Field, bounds: tuple[Point, Point], cuts: list[Cut], cell: float) -> list[Piece]:
    """Every panel that the cuts make of a body, with its folded edges."""
    vertices, triangles = surface(body, bounds, cell)
    pieces: list[Piece] = []
    for cut in cuts:
        values = cut.field(vertices)
        if cut.material:
            inner = clip(vertices, triangles, values + cut.gap)
            for side in ("left", "right") if cut.sided else ("",):
                mesh = inner
                if side:
                    mesh = clip(*inner, inner[0][:, 1] * (-1 if side == "left" else 1))
                label = cut.label.format(side) if cut.label else None
                panel = finished(body, cut.material, mesh)
                pieces += with_edges(replace(panel, label=label), cut)
        vertices, triangles = clip(vertices, triangles, cut.gap - values)
    rest = finished(body, "paint", (vertices, triangles))
    return [*pieces, rest, rim(rest, 0.04, "well")]


def with_edges(panel: Piece, cut: Cut) -> list[Piece]:
    """A panel with its folded edge, and what fills it where it is an opening or a lamp."""
    pieces = [panel.sunk(cut.sink)]
    if not panel.material.endswith("glass"):
        pieces.append(rim(panel, cut.depth, cut.wall or "well"))
    if cut.slats:
        pitch, height, material = cut.slats
        phase = np.abs((panel.vertices[:, 2] % pitch) - pitch / 2) - height / 2
        bars = replace(part_of(panel, phase), material=material)
        pieces += [bars.sunk(0.012), rim(bars, 0.02).sunk(0.012)]
    if panel.material == "lens":
        pieces.append(replace(panel, material="lamp_black").sunk(cut.depth))
        edge = cut.field(panel.vertices)
        strip = np.maximum(edge + 0.012, -0.026 - edge)
        x, y, z = panel.vertices.T
        strip = np.maximum(strip, z - 0.675 - 0.14 * (np.abs(y) + 0.8 * (2.15 - x) - 0.9))
        pieces.append(replace(part_of(panel, strip), material="white_lamp").sunk(0.02))
    return pieces


def part_of(piece: Piece, values: Floats) -> Piece:
    """The part of a piece where values are negative, its normals carried along."""
    together = np.concatenate([piece.vertices, piece.smooth_normals()], axis=1)
    vertices, triangles = clip(together, piece.triangles, values)
    return replace(
        piece, vertices=vertices[:, :3], normals=unit(vertices[:, 3:]), triangles=triangles
    )
