"""Polygons with holes as one ring."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exports.coordinates import keyhole, number
from poligons_from_seg import Polygon, mask_to_polygons, polygon_area, rasterize


def shoelace(ring: list[tuple[float, float]]) -> float:
    points = np.asarray(ring)
    after = np.roll(points, -1, axis=0)
    return float(np.sum(points[:, 0] * after[:, 1] - after[:, 0] * points[:, 1]) / 2)


@settings(deadline=None)  # the first picture is slow
@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_bridged_ring_encloses_same_pixels(mask: np.typing.NDArray[np.bool_]) -> None:
    for polygon in mask_to_polygons(mask, tolerance=0):
        ring = keyhole(polygon)
        assert shoelace(ring) == pytest.approx(polygon_area(polygon))
        alone, with_holes = ([Polygon(ring)], [polygon])
        assert np.array_equal(rasterize(alone, *mask.shape), rasterize(with_holes, *mask.shape))


def test_bridges_stay_inside() -> None:
    yy, xx = np.mgrid[:90, :90]
    mask = np.ones((90, 90), bool)
    for x, y in ((20, 20), (60, 20), (40, 50), (70, 60), (20, 70)):
        mask &= np.hypot(xx - x, yy - y) > 9
    polygon = mask_to_polygons(mask)[0]
    assert len(polygon.holes) == 5
    ring = keyhole(polygon)
    shape = shapely.Polygon(polygon.exterior, polygon.holes).buffer(1e-9)
    assert shape.covers(shapely.LinearRing(ring))
    assert len(ring) == len(polygon.exterior) + sum(len(hole) + 2 for hole in polygon.holes)


def test_polygon_without_holes_is_unchanged() -> None:
    square = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
    assert keyhole(Polygon(square)) == square


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (0.5, "0.5"), (1.239, "1.24"), (100, "100")])
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
