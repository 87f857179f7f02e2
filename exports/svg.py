"""`svg`: a drawing of the photo's size with a layer per part, to be placed over the photo.

Each layer has the part's name as its id, and a title. Browsers show the title as a tooltip, and
screen readers read it. Clicks reach the layer as `event.target.closest("g")`. Inkscape shows the
layers in its list of layers.
"""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from exports.annotation import ImageAnnotation
from exports.coordinates import number
from exports.palette import PART_COLOURS, as_hex
from photo_result import Part
from poligons_from_seg import Ring

_NAMESPACES = (
    'xmlns="http://www.w3.org/2000/svg" '
    'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"'
)


def write(annotation: ImageAnnotation) -> bytes:
    """Return the drawing; one unit is one pixel of the photo."""
    layers = "".join(_layer(part) for part in annotation.parts)
    return (
        f'<svg {_NAMESPACES} viewBox="0 0 {annotation.width} {annotation.height}" '
        f'width="{annotation.width}" height="{annotation.height}" fill-opacity="0.5">\n'
        f"<title>Parts of a car</title>\n{layers}</svg>\n"
    ).encode()


def _layer(part: Part) -> str:
    title = f"{part.name.replace('_', ' ')}, {part.confidence:.0%}"
    path = "".join(
        _closed(ring) for polygon in part.polygons for ring in (polygon.exterior, *polygon.holes)
    )
    return (
        f'<g id={quoteattr(part.name)} class="part" inkscape:groupmode="layer" '
        f'inkscape:label={quoteattr(part.name)} fill="{as_hex(PART_COLOURS[part.name])}">'
        f'<title>{title}</title><path fill-rule="evenodd" d="{path}"/></g>\n'
    )


def _closed(ring: Ring) -> str:
    return "M" + " ".join(f"{number(x)},{number(y)}" for x, y in ring) + "Z"
