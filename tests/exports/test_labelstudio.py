"""`labelstudio`: what its importer looks at.

Label Studio's own check of predictions reads the same file in `tests/exports/readers.py`.
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import numpy as np

from exports.annotation import ImageAnnotation
from exports.labelstudio import LABELING_CONFIG, merge, write
from img_to_segments import PART_NAMES
from poligons_from_seg import Polygon, rasterize

pytest_plugins = ["tests.exports.scenes"]


def test_regions_fit_labeling_interface(scene: ImageAnnotation) -> None:
    interface = ElementTree.fromstring(LABELING_CONFIG)
    control, picture = interface.find("PolygonLabels"), interface.find("Image")
    assert control is not None
    assert picture is not None
    assert [label.attrib["value"] for label in control] == list(PART_NAMES)
    (task,) = json.loads(write(scene))
    assert task["data"] == {picture.attrib["value"].removeprefix("$"): "car & co.png"}
    regions = task["predictions"][0]["result"]
    assert task["predictions"][0]["model_version"].endswith(scene.model_version)
    assert len({region["id"] for region in regions}) == len(regions)
    for region in regions:
        assert region["from_name"] == control.attrib["name"]
        assert region["to_name"] == control.attrib["toName"] == picture.attrib["name"]
        assert region["type"] == "polygonlabels"


def test_points_are_in_percent_of_photo(scene: ImageAnnotation, check_masks: Any) -> None:
    (task,) = json.loads(write(scene))
    masks: dict[str, Any] = {}
    for region in task["predictions"][0]["result"]:
        size = region["original_width"], region["original_height"]
        assert size == (scene.width, scene.height)
        points = np.array(region["value"]["points"])
        assert points.min() >= 0
        assert points.max() <= 100
        ring = [(x, y) for x, y in (points / 100 * size).tolist()]
        mask = rasterize([Polygon(ring)], scene.height, scene.width)
        (name,) = region["value"]["polygonlabels"]
        masks[name] = masks.get(name, np.zeros_like(mask)) | mask
    check_masks(scene, masks, share=0.01)


def test_merged_tasks(scene: ImageAnnotation, empty: ImageAnnotation) -> None:
    tasks = json.loads(merge([write(scene), write(empty)]))
    assert [len(task["predictions"][0]["result"]) > 0 for task in tasks] == [True, False]
