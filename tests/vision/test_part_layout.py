"""Test the input of the layout network."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from car_classification import TypeClassifier, type_probabilities
from img_to_segments import PartSegmenter
from pipeline import Pipeline
from segment_interface import decode_image
from vision.part_layout import place_label_map, placement, softmax

SIZE = (32, 48)


def block(
    height: int, width: int, rows: slice, columns: slice, dtype: type = np.float32
) -> NDArray[np.float32]:
    """Return three labels: background, nothing, and a block."""
    cells: NDArray[np.float32] = np.zeros((3, height, width), dtype)
    cells[0] = 1
    cells[:, rows, columns] = np.array([0, 0, 1])[:, None, None]
    return cells * (255 if dtype is np.uint8 else 1)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("factor", [1, 2, 5])
def test_part_keeps_position(factor: int, dtype: type) -> None:
    f = factor
    cells = block(40 * f, 60 * f, slice(10 * f, 18 * f), slice(30 * f, 42 * f), dtype)
    box = (6.0 * f, 4.0 * f, 54.0 * f, 36.0 * f)  # of the grid's proportions
    grid = place_label_map(cells, placement(box, SIZE), SIZE)
    assert grid.shape == (3, *SIZE)
    assert grid.dtype == np.float32
    expected = block(*SIZE, slice(6, 14), slice(24, 36))
    np.testing.assert_allclose(grid, expected, atol=1e-5)


def test_background_around_photo() -> None:
    cells = block(8, 8, slice(0, 8), slice(0, 8))
    grid = place_label_map(
        cells, placement((0.0, 0.0, 8.0, 8.0), SIZE), SIZE
    )  # a square amid 48 x 32
    assert (grid[2][2:-2, 10:38] == 1).all()  # the edge is drawn soft
    assert (grid[2][:, :6] == 0).all()
    assert (grid[0][:, :6] == 1).all()
    np.testing.assert_allclose(grid.sum(0), 1, atol=1e-5)


def test_box_beyond_photo() -> None:
    cells = block(20, 30, slice(0, 20), slice(0, 30))
    grid = place_label_map(cells, placement((-30.0, -20.0, 30.0, 20.0), SIZE), SIZE)
    assert grid[2][20:, 28:].min() == pytest.approx(1)
    assert grid[2][:12, :20].max() == 0


def test_softmax_of_maps_and_of_rows() -> None:
    maps = np.random.default_rng(0).normal(0, 50, (5, 3, 2)).astype(np.float32)
    found = softmax(maps)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1, 1], softmax(maps[:, 1, 1]), rtol=1e-5)


def test_type_probabilities_of_both_networks() -> None:
    picture, shape = np.log([0.6, 0.4]), np.log([0.1, 0.9])
    weights = {"picture_weight": 1.0, "shape_weight": 1.0}
    both = type_probabilities(picture, shape, weights)
    np.testing.assert_allclose(both, np.array([0.06, 0.36]) / 0.42)
    alone = type_probabilities(picture, shape, weights | {"shape_weight": 0.0})
    np.testing.assert_allclose(alone, [0.6, 0.4])


def test_type_of_sample(pipeline: Pipeline, sample: bytes) -> None:
    rgb = decode_image(sample, 50_000_000)
    seen, classify = PartSegmenter().cells(rgb).basic, TypeClassifier()
    view = classify(rgb, seen.box(*rgb.shape[:2]), seen.probabilities)
    assert classify.type_of(view, seen) == pipeline.analyse(rgb).type
    assert sum(view.scores.values()) == pytest.approx(1)
    assert sum(view.turned) == pytest.approx(1)
    assert view.turned[0] > 0.9
    assert view.no_car < 0.1
    assert view.two_doors < 0.5


def test_layout_at_any_size_of_photo(sample: bytes) -> None:
    """The box is in pixels, the cells are not."""
    rgb = decode_image(sample, 50_000_000)
    seen, classify = PartSegmenter().cells(rgb).basic, TypeClassifier()
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = seen.box(height, width)
    one = classify.shape.logits(seen.probabilities, (x0, y0, x1, y1), (height, width))
    other = classify.shape.logits(
        seen.probabilities, (3 * x0, 3 * y0, 3 * x1, 3 * y1), (3 * height, 3 * width)
    )
    np.testing.assert_allclose(one, other, atol=1e-4)
