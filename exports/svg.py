"""`svg`: a drawing of the photo's size with a layer per part, to be placed over the photo.

Each layer has the part's name as its id, and a title. Browsers show the title as a tooltip, and
screen readers read it. Clicks reach the layer as `event.target.closest("g")`. Inkscape shows the
layers in its list of layers. Each damage is a hatched layer above the parts, with an id such as
`damage-1`.
"""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from analysis.photo_damage import Damage
from exports.annotation import ImageAnnotation
from exports.coordinates import number
from exports.palette import DAMAGE_COLOURS, HATCHINGS, PART_COLOURS, as_hex
from photo_result import Part
from poligons_from_seg import Polygon, Ring
from vision.labels import DAMAGE_KINDS

_NAMESPACES = (
    'xmlns="http://www.w3.org/2000/svg" '
    'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"'
)


def write(annotation: ImageAnnotation) -> bytes:
    """Return the drawing; one unit is one pixel of the photo."""
    layers = "".join(_layer(part) for part in annotation.parts)
    if annotation.damages:
        layers += _damage(annotation, annotation.damages)
    return (
        f'<svg {_NAMESPACES} viewBox="0 0 {annotation.width} {annotation.height}" '
        f'width="{annotation.width}" height="{annotation.height}" fill-opacity="0.5">\n'
        f"<title>Parts of a car</title>\n{layers}</svg>\n"
    ).encode()


def _damage(annotation: ImageAnnotation, damages: list[Damage]) -> str:
    """Return the patterns of the kinds of damage, and a layer for each damage."""
    line = max(1, round(max(annotation.width, annotation.height) / 600))
    kinds = sorted({damage.kind for damage in damages}, key=DAMAGE_KINDS.index)
    patterns = "".join(_pattern(kind, line) for kind in kinds)
    layers = "".join(_damage_layer(damage, line) for damage in damages)
    return f"<defs>{patterns}</defs>\n{layers}"


def _pattern(kind: str, line: int) -> str:
    """Return the lines of a kind of damage.

    Args:
        kind: one of DAMAGE_KINDS.
        line: width of a line in pixels.
    """
    degrees, gap = HATCHINGS[kind]
    step = (gap + 1) * line
    return (
        f'<pattern id="hatching-{kind}" patternUnits="userSpaceOnUse" width="{step}" '
        f'height="{step}" patternTransform="rotate({degrees})">'
        f'<rect width="{line}" height="{step}" fill="{as_hex(DAMAGE_COLOURS[kind])}" '
        f'fill-opacity="1"/></pattern>'
    )


def _damage_layer(damage: Damage, line: int) -> str:
    name, kind = f"damage-{damage.number}", damage.kind.replace("_", " ")
    on = ", ".join(part.name.replace("_", " ") for part in damage.parts)
    title = f"{kind}, {damage.confidence:.0%}" + (f", on {on}" if on else "")
    path = _path(damage.polygons)
    return (
        f'<g id="{name}" class="damage" inkscape:groupmode="layer" '
        f"inkscape:label={quoteattr(f'{name} {damage.kind}')}><title>{title}</title>"
        f'<path fill="url(#hatching-{damage.kind})" fill-opacity="1" fill-rule="evenodd" '
        f'stroke="black" stroke-width="{3 * line}" d="{path}"/>'
        f'<path fill="none" stroke="{as_hex(DAMAGE_COLOURS[damage.kind])}" '
        f'stroke-width="{line}" d="{path}"/></g>\n'
    )


def _path(polygons: list[Polygon]) -> str:
    return "".join(
        _closed(ring) for polygon in polygons for ring in (polygon.exterior, *polygon.holes)
    )


def _layer(part: Part) -> str:
    title = f"{part.name.replace('_', ' ')}, {part.confidence:.0%}"
    path = _path(part.polygons)
    return (
        f'<g id={quoteattr(part.name)} class="part" inkscape:groupmode="layer" '
        f'inkscape:label={quoteattr(part.name)} fill="{as_hex(PART_COLOURS[part.name])}">'
        f'<title>{title}</title><path fill-rule="evenodd" d="{path}"/></g>\n'
    )


def _closed(ring: Ring) -> str:
    return "M" + " ".join(f"{number(x)},{number(y)}" for x, y in ring) + "Z"
