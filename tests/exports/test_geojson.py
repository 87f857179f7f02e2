"""`geojson`, read by shapely."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import shapely

from exports.annotation import ImageAnnotation
from exports.geojson import write
from poligons_from_seg import polygon_area

pytest_plugins = ["tests.exports.scenes"]


def multipolygon(feature: dict[str, Any]) -> shapely.MultiPolygon:
    geometry = shapely.from_geojson(json.dumps(feature["geometry"]))
    assert isinstance(geometry, shapely.MultiPolygon)
    return geometry


def test_shapely_reads_valid_polygons_of_same_area(scene: ImageAnnotation) -> None:
    document = json.loads(write(scene))
    assert document["type"] == "FeatureCollection"
    assert document["photo"]["model_version"] == scene.model_version
    for part, feature in zip(scene.parts, document["features"], strict=True):
        geometry = multipolygon(feature)
        assert feature["id"] == feature["properties"]["name"] == part.name
        assert geometry.is_valid
        assert len(geometry.geoms) == len(part.polygons)
        areas = [polygon_area(polygon) for polygon in part.polygons]
        assert np.allclose([piece.area for piece in geometry.geoms], areas, rtol=0.01, atol=1)


def test_winding_follows_rfc_7946(scene: ImageAnnotation) -> None:
    for feature in json.loads(write(scene))["features"]:
        for polygon in multipolygon(feature).geoms:
            assert polygon.exterior.is_ccw
            assert not any(hole.is_ccw for hole in polygon.interiors)


def test_boxes_match_masks(scene: ImageAnnotation) -> None:
    for part, feature in zip(scene.parts, json.loads(write(scene))["features"], strict=True):
        x, y, width, height = part.bbox
        assert feature["bbox"] == [x, y, x + width, y + height]
