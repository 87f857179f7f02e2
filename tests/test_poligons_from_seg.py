"""Behaviour of the polygon geometry: exactness, validity, limits."""

import doctest

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import poligons_from_seg
from poligons_from_seg import Polygon, label_map_to_polygons, mask_to_polygons, rasterize

Mask = NDArray[np.bool_]

sizes = st.tuples(st.integers(1, 14), st.integers(1, 14))
masks = hnp.arrays(np.bool_, sizes)
label_maps = hnp.arrays(np.uint8, sizes, elements=st.integers(0, 3))


def as_shapely(polygon: Polygon) -> shapely.Polygon:
    return shapely.Polygon(polygon.exterior, polygon.holes)


def test_docstring_examples_run() -> None:
    result = doctest.testmod(poligons_from_seg)
    assert result.attempted >= 5
    assert result.failed == 0


@given(masks)
@settings(max_examples=300, deadline=None)
def test_exact_outline_gives_the_mask_back(mask: Mask) -> None:
    polygons = mask_to_polygons(mask, tolerance=0)
    assert np.array_equal(rasterize(polygons, *mask.shape), mask)
    assert all(as_shapely(polygon).is_valid for polygon in polygons)


@given(label_maps)
@settings(max_examples=200, deadline=None)
def test_exact_label_map_comes_back(labels: NDArray[np.uint8]) -> None:
    found = label_map_to_polygons(labels, tolerance=0)
    back = np.zeros_like(labels)
    for label, polygons in found.items():
        back[rasterize(polygons, *labels.shape)] = label
    assert np.array_equal(back, labels)


@given(masks, st.floats(0, 4))
@settings(max_examples=300, deadline=None)
def test_simplified_polygons_are_valid(mask: Mask, tolerance: float) -> None:
    assert all(as_shapely(p).is_valid for p in mask_to_polygons(mask, tolerance=tolerance))


def test_max_vertices_below_three_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        mask_to_polygons(np.ones((3, 3), np.bool_), max_vertices=2)
