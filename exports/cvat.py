"""`cvat`: "CVAT for images 1.1" XML (https://docs.cvat.ai/docs/dataset_management/formats/).

Each visible piece is one polygon. CVAT polygons have no holes, so a piece with a hole is a mask.
Pieces of one part have the same `group_id`. If the photo was examined for damage, the kinds of
damage are labels after the parts. Damage lies above the parts, with group numbers from 101.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree  # parses only the output of `write`
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray

from exports.annotation import ImageAnnotation
from exports.coordinates import number, run_lengths
from exports.palette import DAMAGE_COLOURS, PART_COLOURS, as_hex
from poligons_from_seg import Polygon, bounding_box, rasterize
from vision.labels import DAMAGE_KINDS, label_of

_BEFORE_DAMAGE = 100  # group numbers of damage follow it


def write(annotation: ImageAnnotation) -> bytes:
    """Return the annotations of one photo."""
    image = Element(
        "image",
        id="0",
        name=annotation.file_name,
        width=str(annotation.width),
        height=str(annotation.height),
    )
    for part in annotation.parts:
        group = {"z_order": "0", "group_id": str(label_of(part.name))}
        _add(image, part.name, part.polygons, group, annotation)
    for damage in annotation.damages or ():
        group = {"z_order": "1", "group_id": str(_BEFORE_DAMAGE + damage.number)}
        _add(image, damage.kind, damage.polygons, group, annotation)
    return _document([image], damage=annotation.damages is not None)


def _add(
    image: Element,
    label: str,
    polygons: list[Polygon],
    group: dict[str, str],
    annotation: ImageAnnotation,
) -> None:
    """Add the pieces of a part or of damage to an image."""
    common = {"label": label, "source": "auto", "occluded": "0"}
    for polygon in polygons:
        if polygon.holes:
            SubElement(image, "mask", common | _mask(polygon, annotation) | group)
        else:
            points = ";".join(f"{number(x)},{number(y)}" for x, y in polygon.exterior)
            SubElement(image, "polygon", common | {"points": points} | group)


def merge(documents: Sequence[bytes]) -> bytes:
    """Merge the documents of all photos into one, with new numbers."""
    roots = [ElementTree.fromstring(document) for document in documents]  # noqa: S314
    images = [image for root in roots for image in root.iter("image")]
    names = {label.findtext("name") for root in roots for label in root.iter("label")}
    for index, image in enumerate(images):
        image.set("id", str(index))
    return _document(images, damage=DAMAGE_KINDS[0] in names)


def encode_mask(mask: NDArray[np.bool_]) -> str:
    """Return a mask in CVAT's run lengths, row by row."""
    return ", ".join(map(str, run_lengths(mask.ravel())))


def _mask(polygon: Polygon, annotation: ImageAnnotation) -> dict[str, str]:
    box = bounding_box([polygon])
    assert box is not None  # noqa: S101 (a polygon has points)
    left, top = (int(max(value, 0)) for value in box[:2])
    right = int(min(np.ceil(box[2]), annotation.width))
    bottom = int(min(np.ceil(box[3]), annotation.height))
    moved = Polygon(
        [(x - left, y - top) for x, y in polygon.exterior],
        [[(x - left, y - top) for x, y in hole] for hole in polygon.holes],
    )
    return {
        "rle": encode_mask(rasterize([moved], bottom - top, right - left)),
        "left": str(left),
        "top": str(top),
        "width": str(right - left),
        "height": str(bottom - top),
    }


def _document(images: list[Element], *, damage: bool) -> bytes:
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "name").text = "Parts of cars"
    SubElement(task, "size").text = str(len(images))
    SubElement(task, "mode").text = "annotation"
    labels = SubElement(task, "labels")
    for name, colour in (PART_COLOURS | (DAMAGE_COLOURS if damage else {})).items():
        label = SubElement(labels, "label")
        SubElement(label, "name").text = name
        SubElement(label, "color").text = as_hex(colour)
        SubElement(label, "attributes")
    root.extend(images)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"
