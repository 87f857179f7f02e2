"""`svg`, drawn by resvg."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import numpy as np
import resvg_py
from PIL import Image

from exports.annotation import ImageAnnotation
from exports.palette import PART_COLOURS
from exports.svg import write

pytest_plugins = ["tests.exports.scenes"]

SVG = "{http://www.w3.org/2000/svg}"


def layers(document: bytes) -> dict[str, ElementTree.Element]:
    return {layer.attrib["id"]: layer for layer in ElementTree.fromstring(document).iter(f"{SVG}g")}


def test_layers_match_masks(scene: ImageAnnotation, check_masks: Any) -> None:
    root = ElementTree.fromstring(write(scene))
    masks = {}
    for name in layers(write(scene)):
        alone = ElementTree.fromstring(write(scene))
        for layer in alone.findall(f"{SVG}g"):
            if layer.attrib["id"] != name:
                alone.remove(layer)
        picture = Image.open(BytesIO(resvg_py.svg_to_bytes(ElementTree.tostring(alone, "unicode"))))
        pixels = np.asarray(picture.convert("RGBA"))
        assert pixels.shape[:2] == (scene.height, scene.width)
        masks[name] = pixels[..., 3] > 63  # half of a part's alpha
        colours = pixels[pixels[..., 3] > 126][:, :3].astype(int)
        assert np.abs(colours - PART_COLOURS[name]).max(initial=0) <= 2
    assert root.attrib["viewBox"] == f"0 0 {scene.width} {scene.height}"
    check_masks(scene, masks, share=0.1)


def test_each_layer_has_title(scene: ImageAnnotation) -> None:
    found = layers(write(scene))
    assert list(found) == [part.name for part in scene.parts]
    for part in scene.parts:
        title = found[part.name].findtext(f"{SVG}title")
        assert title == f"{part.name.replace('_', ' ')}, {part.confidence:.0%}"
