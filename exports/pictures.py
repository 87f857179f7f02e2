"""Draw a result as pictures: label maps, the mask of a part, the overlay of parts and damage.

Names are placed with the pole of inaccessibility, the point of a polygon that is farthest from its
outline: Garcia-Castellanos and Lombardo, Poles of inaccessibility, Scottish Geographical Journal
123 (2007).
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from analysis.photo_damage import Damage
from exports.annotation import ImageAnnotation
from exports.palette import BACKGROUND, DAMAGE_COLOURS, HATCHINGS, PART_COLOURS, Colour

Rings = list[list[tuple[float, float]]]

_SHIFT = 4  # OpenCV draws with coordinates in 1/16 pixel
_FILL = 0.5  # opacity of a part's colour inside its outline
_TEXT = 1 / 48  # size of names, as a share of the longest side
_LEAST_TEXT = 12  # pixels; smaller names are hard to read


def label_map_png(labels: NDArray[np.uint8]) -> bytes:
    """Return a palette PNG: a pixel's value is its label, its colour that of the part."""
    return _palette_png(labels, PART_COLOURS.values())


def damage_png(kinds: NDArray[np.uint8]) -> bytes:
    """Return a palette PNG: a pixel's value is the number of its kind of damage, or 0."""
    return _palette_png(kinds, DAMAGE_COLOURS.values())


def _palette_png(labels: NDArray[np.uint8], colours: Iterable[Colour]) -> bytes:
    picture = Image.fromarray(labels)
    picture.putpalette([channel for colour in (BACKGROUND, *colours) for channel in colour])
    return _png(picture)


def mask_png(mask: NDArray[np.bool_]) -> bytes:
    """Return a grey PNG: 255 inside the part, 0 elsewhere."""
    return _png(Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))))


def overlay_png(annotation: ImageAnnotation) -> bytes:
    """Return an RGBA PNG of the parts on a transparent background."""
    parts = [
        (part.name, [[polygon.exterior, *polygon.holes] for polygon in part.polygons])
        for part in annotation.parts
    ]
    drawn = draw_parts_alone(annotation.height, annotation.width, parts)
    hatch_damage(drawn, damage_shapes(annotation.damages or ()))
    return _png(Image.fromarray(drawn))


def damage_shapes(damages: Iterable[Damage]) -> list[tuple[str, list[Rings]]]:
    """Return the kind of each damage and its polygons, each a list of rings."""
    return [
        (damage.kind, [[polygon.exterior, *polygon.holes] for polygon in damage.polygons])
        for damage in damages
    ]


def hatch_damage(
    picture: NDArray[np.uint8], damages: Iterable[tuple[str, Iterable[Rings]]]
) -> None:
    """Hatch and outline damage on a picture, in the colours of the palette.

    Args:
        picture: (H, W, 3) or (H, W, 4) uint8, changed in place; new pixels are opaque.
        damages: kind of each damage and its polygons, as the parts of `draw_parts`.
    """
    width = _thickness(picture)
    opaque = (255,) * (picture.shape[2] - 3)
    for kind, polygons in damages:
        colour = (*DAMAGE_COLOURS[kind], *opaque)
        for rings in polygons:
            fixed = [_fixed_point(ring) for ring in rings]
            _hatch(picture, kind, fixed, colour)
            for pen, wide in (((0, 0, 0, *opaque), 3 * width), (colour, width)):
                cv2.polylines(picture, fixed, True, pen, wide, cv2.LINE_8, _SHIFT)


def _hatch(
    picture: NDArray[np.uint8], kind: str, rings: list[NDArray[np.int32]], colour: tuple[int, ...]
) -> None:
    """Draw the lines of a kind of damage inside rings, in OpenCV's coordinates."""
    x, y, wide, high = cv2.boundingRect(np.concatenate(rings) >> _SHIFT)
    left, top = max(x, 0), max(y, 0)
    window = picture[top : y + high + 1, left : x + wide + 1]
    inside = np.zeros(window.shape[:2], np.uint8)
    corner = np.array((left << _SHIFT, top << _SHIFT), np.int32)
    moved = [(ring - corner).astype(np.int32) for ring in rings]
    cv2.fillPoly(inside, moved, 1, cv2.LINE_8, _SHIFT)
    width = _thickness(picture)
    degrees, gap = HATCHINGS[kind]
    turn = np.deg2rad(degrees)
    rows = (np.arange(top, top + window.shape[0]) * np.sin(turn))[:, None]
    columns = np.arange(left, left + window.shape[1]) * np.cos(turn)
    lines = (rows + columns) % ((gap + 1) * width) < width
    window[lines & (inside > 0)] = colour


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def draw_parts(
    rgb: NDArray[np.uint8], parts: Iterable[tuple[str, Iterable[Rings]]]
) -> NDArray[np.uint8]:
    """Fill and outline parts on a photo, in the colours of the palette.

    Args:
        rgb: (H, W, 3) uint8.
        parts: name of each part and its polygons, each a list of rings: the exterior, then holes,
            in pixel-corner coordinates.

    Returns:
        (H, W, 3) uint8, a new picture.
    """
    shapes = _shapes(parts)
    filled = rgb.copy()
    for colour, rings in shapes:
        cv2.fillPoly(filled, rings, colour, cv2.LINE_AA, _SHIFT)
    drawn = cv2.addWeighted(filled, _FILL, rgb, 1 - _FILL, 0).astype(np.uint8)
    for colour, rings in shapes:
        cv2.polylines(drawn, rings, True, colour, _thickness(rgb), cv2.LINE_AA, _SHIFT)
    return drawn


def draw_names(
    rgb: NDArray[np.uint8], parts: Iterable[tuple[str, Iterable[Rings]]]
) -> NDArray[np.uint8]:
    """Write the name of each part on a photo, at the widest place of its largest piece.

    A name that would cover another one is moved up or down by some lines.

    Args:
        rgb: (H, W, 3) uint8.
        parts: see `draw_parts`; parts without polygons get no name.

    Returns:
        (H, W, 3) uint8, a new picture.
    """
    height, width = rgb.shape[:2]
    size = max(_LEAST_TEXT, max(height, width) * _TEXT)
    font = ImageFont.load_default(size)
    stroke = max(1, round(size / 10))
    picture = Image.fromarray(rgb)
    pen = ImageDraw.Draw(picture)
    taken: list[shapely.Polygon] = []
    for name, polygons in parts:
        pieces = [shapely.Polygon(rings[0], rings[1:]) for rings in polygons]
        if not pieces:
            continue
        text = name.replace("_", " ")
        x, y = _widest_place(max(pieces, key=lambda piece: piece.area))
        margin = pen.textlength(text, font) / 2 + stroke
        x = min(max(x, margin), max(width - margin, margin))
        for lines in (0, 1, -1, 2, -2, 3, -3):
            middle = min(max(y + size * lines, size / 2), height - size / 2)
            area = shapely.box(x - margin, middle - size / 2, x + margin, middle + size / 2)
            if not any(area.intersects(other) for other in taken):
                break
        taken.append(area)
        pen.text((x, middle), text, "white", font, "mm", stroke_width=stroke, stroke_fill="black")
    return np.asarray(picture)


def _widest_place(piece: shapely.Polygon) -> tuple[float, float]:
    """Return the point of a piece that is farthest from its outline."""
    radius = shapely.maximum_inscribed_circle(piece, tolerance=1)  # a line from the centre
    x, y = radius.coords[0]
    return x, y


def draw_parts_alone(
    height: int, width: int, parts: Iterable[tuple[str, Iterable[Rings]]]
) -> NDArray[np.uint8]:
    """Draw parts on a transparent background: half transparent areas, opaque outlines.

    Edges are not antialiased, because antialiasing would mix in a background colour.

    Returns:
        (height, width, 4) uint8 RGBA, transparent outside the parts.
    """
    shapes = _shapes(parts)
    drawn = np.zeros((height, width, 4), np.uint8)
    for colour, rings in shapes:
        cv2.fillPoly(drawn, rings, (*colour, round(_FILL * 255)), cv2.LINE_8, _SHIFT)
    for colour, rings in shapes:
        cv2.polylines(drawn, rings, True, (*colour, 255), _thickness(drawn), cv2.LINE_8, _SHIFT)
    return drawn


def _shapes(
    parts: Iterable[tuple[str, Iterable[Rings]]],
) -> list[tuple[Colour, list[NDArray[np.int32]]]]:
    """Return colour and rings of each polygon, in OpenCV's coordinates."""
    return [
        (PART_COLOURS[name], [_fixed_point(ring) for ring in rings])
        for name, polygons in parts
        for rings in polygons
    ]


def _thickness(picture: NDArray[np.uint8]) -> int:
    """Return the width of outlines in pixels: 1/600 of the longest side, at least 1."""
    side: int = max(picture.shape[:2])
    return max(1, round(side / 600))


def _fixed_point(ring: list[tuple[float, float]]) -> NDArray[np.int32]:
    """Convert a ring to OpenCV's coordinates, whose (0, 0) is the centre of the top left pixel."""
    return np.round((np.asarray(ring) - 0.5) * (1 << _SHIFT)).astype(np.int32)
