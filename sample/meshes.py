"""Triangle meshes as numpy arrays: cutting along level sets, rims, solids of revolution.

A mesh is (vertices (N, 3) float64 in metres, triangles (M, 3) int64, counter-clockwise seen from
outside).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Field = Callable[[Floats], Floats]
"""A scalar field: points (N, 3) -> values (N,), negative inside, roughly a distance in metres."""


@dataclass(frozen=True)
class Piece:
    """One object of the scene: a mesh, the name of its material, and the car part it belongs to."""

    material: str
    vertices: Floats
    triangles: Ints
    normals: Floats | None = None
    label: str | None = None
    only_in_masks: bool = False

    def smooth_normals(self) -> Floats:
        if self.normals is None:
            raise ValueError(f"a piece of {self.material} without normals has no edge to fold")
        return self.normals

    def sunk(self, by: float) -> Piece:
        """The piece moved inwards, against its normals."""
        return replace(self, vertices=self.vertices - by * self.smooth_normals())

    def moved(self, offset: tuple[float, float, float]) -> Piece:
        return replace(self, vertices=self.vertices + np.array(offset))

    def scaled(self, factors: tuple[float, float, float]) -> Piece:
        scale = np.array(factors)
        normals = None if self.normals is None else unit(self.normals / scale)
        triangles = self.triangles if scale.prod() > 0 else self.triangles[:, ::-1]
        return replace(self, vertices=self.vertices * scale, normals=normals, triangles=triangles)

    def rotated(self, axis: int, degrees: float) -> Piece:
        angle = np.radians(degrees)
        turn = np.eye(3)
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        normals = None if self.normals is None else self.normals @ turn.T
        return replace(self, vertices=self.vertices @ turn.T, normals=normals)


def unit(vectors: Floats) -> Floats:
    """Vectors (N, 3) scaled to length 1."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12))


def smooth_max(a: Floats, b: Floats | float, radius: float) -> Floats:
    """Maximum with a rounded edge (quadratic blend): the intersection of two fields."""
    blend = np.maximum(radius - np.abs(a - b), 0.0) / radius
    return np.asarray(np.maximum(a, b) + blend * blend * radius / 4)


def smooth_min(a: Floats, b: Floats, radius: float) -> Floats:
    """Minimum with a fillet: the union of two fields."""
    return -smooth_max(-a, -b, radius)


def gradient(field: Field, points: Floats, step: float = 1e-3) -> Floats:
    """Central differences of a field at points (N, 3)."""
    columns = []
    for axis in range(3):
        shift = np.zeros(3)
        shift[axis] = step
        columns.append((field(points + shift) - field(points - shift)) / (2 * step))
    return np.stack(columns, axis=1)


def onto_surface(field: Field, points: Floats, rounds: int = 3) -> Floats:
    """Points moved along the gradient until the field is zero (Newton's method)."""
    for _ in range(rounds):
        slope = gradient(field, points)
        size = np.maximum((slope * slope).sum(axis=1), 1e-2)
        points = points - slope * (np.clip(field(points), -0.02, 0.02) / size)[:, None]
    return points


def clip(vertices: Floats, triangles: Ints, values: Floats) -> tuple[Floats, Ints]:
    """The part of a mesh where values (N,), linear over each triangle, are negative."""
    inside = values <= 0
    count = inside[triangles].sum(axis=1)
    one = _first(triangles[count == 1], inside, wanted=True)
    two = _first(triangles[count == 2], inside, wanted=False)
    edges = np.concatenate([one[:, [0, 1]], one[:, [0, 2]], two[:, [0, 1]], two[:, [0, 2]]])
    pairs, index = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)
    start, end = pairs[:, 0], pairs[:, 1]
    share = values[start] / (values[start] - values[end])
    cut = vertices[start] + share[:, None] * (vertices[end] - vertices[start])
    n1, n2 = len(one), len(two)
    index = index.reshape(-1) + len(vertices)
    a1, a2 = index[:n1], index[n1 : 2 * n1]
    b1, b2 = index[2 * n1 : 2 * n1 + n2], index[2 * n1 + n2 :]
    pieces = [
        triangles[count == 3],
        np.stack([one[:, 0], a1, a2], axis=1),
        np.stack([b1, two[:, 1], two[:, 2]], axis=1),
        np.stack([b1, two[:, 2], b2], axis=1),
    ]
    return compact(np.concatenate([vertices, cut]), np.concatenate(pieces))


def _first(triangles: Ints, inside: NDArray[np.bool_], wanted: bool) -> Ints:
    """Triangles rotated so that their single corner with inside == wanted comes first."""
    if not len(triangles):
        return triangles
    corner = (inside[triangles] == wanted).argmax(axis=1)
    order = (corner[:, None] + np.arange(3)) % 3
    return np.take_along_axis(triangles, order, axis=1)


def compact(vertices: Floats, triangles: Ints) -> tuple[Floats, Ints]:
    """The same mesh without vertices that no triangle uses."""
    used, index = np.unique(triangles, return_inverse=True)
    return vertices[used], index.reshape(triangles.shape).astype(np.int64)


def rim(piece: Piece, depth: float, material: str | None = None) -> Piece:
    """A panel's folded edge: a wall along its border, `depth` deep against its normals."""
    faces = piece.triangles
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, index, count = np.unique(
        np.sort(edges, axis=1), axis=0, return_index=True, return_counts=True
    )
    border = edges[index[count == 1]]
    a, b = border[:, 0], border[:, 1]
    points, normals = piece.vertices, piece.smooth_normals()
    n = len(border)
    outward = unit(np.cross(points[b] - points[a], normals[a] + normals[b]))
    corners = [points[a], points[b], points[b] - depth * normals[b], points[a] - depth * normals[a]]
    quad = np.arange(n)
    walls = [
        np.stack([quad + n, quad, quad + 3 * n], axis=1),
        np.stack([quad + n, quad + 3 * n, quad + 2 * n], axis=1),
    ]
    soft = unit(outward + 0.7 * normals[a])
    return replace(
        piece,
        material=material or piece.material,
        vertices=np.concatenate(corners),
        triangles=np.concatenate(walls),
        normals=np.concatenate([soft, soft, outward, outward]),
    )


def grid(points: Floats, closed_u: bool = False, closed_v: bool = False) -> tuple[Floats, Ints]:
    """A mesh over a grid of points (U, V, 3), optionally closed in either direction."""
    rows, columns = points.shape[:2]
    u, v = np.meshgrid(
        np.arange(rows if closed_u else rows - 1),
        np.arange(columns if closed_v else columns - 1),
        indexing="ij",
    )
    a = (u * columns + v).ravel()
    b = (((u + 1) % rows) * columns + v).ravel()
    c = (((u + 1) % rows) * columns + (v + 1) % columns).ravel()
    d = (u * columns + (v + 1) % columns).ravel()
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    return points.reshape(-1, 3).astype(np.float64), faces.astype(np.int64)


def revolve(profile: list[tuple[float, float]], steps: int = 96) -> tuple[Floats, Ints]:
    """A profile of (radius, y) turned about the y axis."""
    line = np.array(profile)
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)[:, None]
    radius, y = line[None, :, 0], line[None, :, 1] + 0 * angle
    around = np.stack([radius * np.cos(angle), y, radius * np.sin(angle)], axis=2)
    return grid(around, closed_u=True)


def superellipsoid(
    size: tuple[float, float, float], power: float = 4.0, steps: int = 48
) -> tuple[Floats, Ints]:
    """A box with rounded edges: |x/a|^p + |y/b|^p + |z/c|^p = 1 with half sizes a, b, c."""
    lat, lon = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, steps // 2 + 1),
        np.linspace(-np.pi, np.pi, steps, endpoint=False),
        indexing="ij",
    )
    ball = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=2)
    scale = (np.abs(ball) ** power).sum(axis=2, keepdims=True) ** (-1 / power)
    vertices, faces = grid(ball * scale * np.array(size), closed_v=True)
    return vertices, faces[:, ::-1]


def polygon_distance(points: Floats, corners: list[tuple[float, float]]) -> Floats:
    """Signed distance (N,) of points (N, 2) to a closed polygon, negative inside."""
    ring = np.array(corners)
    best = np.full(len(points), np.inf)
    inside = np.zeros(len(points), dtype=bool)
    x, y = points[:, 0], points[:, 1]
    for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        edge = end - start
        along = np.clip(((points - start) @ edge) / (edge @ edge), 0, 1)
        best = np.minimum(best, np.hypot(*(points - start - along[:, None] * edge).T))
        crosses = (start[1] > y) != (end[1] > y)
        rise = edge[1] if edge[1] else 1.0
        inside ^= crosses & (x < edge[0] * (y - start[1]) / rise + start[0])
    return np.where(inside, -best, best)


def rounded(corners: list[tuple[float, float]], rounds: int = 3) -> list[tuple[float, float]]:
    """A polygon with its corners cut into curves (Chaikin's algorithm)."""
    ring = np.array(corners)
    for _ in range(rounds):
        following = np.roll(ring, -1, axis=0)
        ring = np.stack([0.8 * ring + 0.2 * following, 0.2 * ring + 0.8 * following], axis=1)
        ring = ring.reshape(-1, 2)
    return [(float(x), float(y)) for x, y in ring]
