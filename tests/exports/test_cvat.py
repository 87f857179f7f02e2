"""`cvat`, checked against a schema of the documented format, and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import xmlschema

from exports.annotation import ImageAnnotation
from exports.cvat import encode_mask, merge, write
from poligons_from_seg import Polygon, rasterize

pytest_plugins = ["tests.exports.scenes"]

SCHEMA = xmlschema.XMLSchema(Path(__file__).parent / "cvat_images_1_1.xsd")


def draw(image: ElementTree.Element) -> dict[str, Any]:
    """Return masks by label, the run-length code read as CVAT documents it."""
    size = int(image.attrib["height"]), int(image.attrib["width"])
    masks: dict[str, Any] = {}
    for shape in image:
        if shape.tag == "polygon":
            pairs = [point.split(",") for point in shape.attrib["points"].split(";")]
            mask = rasterize([Polygon([(float(x), float(y)) for x, y in pairs])], *size)
        else:
            left, top, width, height = (
                int(shape.attrib[name]) for name in ("left", "top", "width", "height")
            )
            counts = [int(count) for count in shape.attrib["rle"].split(",")]
            flat = np.repeat(np.arange(len(counts)) % 2, counts)
            mask = np.zeros(size, bool)
            mask[top : top + height, left : left + width] = flat.reshape(height, width) == 1
        name = shape.attrib["label"]
        masks[name] = masks.get(name, np.zeros(size, bool)) | mask
    return masks


def test_document_fits_schema_and_masks(scene: ImageAnnotation, check_masks: Any) -> None:
    document = write(scene)
    SCHEMA.validate(document.decode())
    (image,) = ElementTree.fromstring(document).iter("image")
    assert image.attrib["name"] == "car & co.png"
    check_masks(scene, draw(image), share=0.01)


def test_schema_refuses_other_documents(drawn_scene: ImageAnnotation) -> None:
    document = write(drawn_scene).decode()
    for good, bad in (
        ('label="hood"', 'label="sunroof"'),
        ("<version>1.1", "<version>2"),
        ('points="', 'points="1;'),
    ):
        assert good in document
        assert not SCHEMA.is_valid(document.replace(good, bad))


def test_merged_files_keep_photos_apart(scene: ImageAnnotation, empty: ImageAnnotation) -> None:
    document = merge([write(scene), write(empty), write(scene)])
    SCHEMA.validate(document.decode())
    root = ElementTree.fromstring(document)
    first, second, third = root.iter("image")
    assert [image.attrib["id"] for image in (first, second, third)] == ["0", "1", "2"]
    assert root.findtext("meta/task/size") == "3"
    assert len(second) == 0
    assert len(first) == len(third) == sum(len(part.polygons) for part in scene.parts)


@pytest.mark.parametrize(
    ("mask", "code"),
    [([[0, 0], [0, 0]], "4"), ([[1, 1], [1, 1]], "0, 4"), ([[0, 1], [1, 0]], "1, 2, 1")],
)
def test_encode_mask(mask: list[list[int]], code: str) -> None:
    assert encode_mask(np.array(mask, bool)) == code
