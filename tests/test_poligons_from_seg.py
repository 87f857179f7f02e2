"""Polygons of masks: exact, valid, within their bounds, and close to the mask with few vertices."""

import dataclasses
import doctest
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import geometry.arrays
import poligons_from_seg
from geometry.rings import retrace, trace
from options import Topology
from poligons_from_seg import (
    DEFAULT_TOLERANCE,
    Polygon,
    bounding_box,
    label_map_to_outlines,
    label_map_to_polygons,
    mask_to_polygons,
    polygon_area,
    rasterize,
)

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]

ANNOTATIONS = Path(__file__).parents[2] / "shared/data/car_parts/annotations.json"

sizes = st.tuples(st.integers(1, 14), st.integers(1, 14))
grains = st.integers(1, 4)
tolerances = st.floats(0, 5)
topologies = st.sampled_from(["independent", "shared"])
some = settings(max_examples=30, deadline=None)
many = settings(max_examples=60, deadline=None)

DIAGONAL = np.eye(3, dtype=np.bool_)
PINCHED = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.bool_)
NESTED = np.zeros((9, 9), np.bool_)
NESTED[:] = True
NESTED[1:8, 1:8] = False
NESTED[2:7, 2:7] = True
NESTED[3:6, 3:6] = False
NESTED[4, 4] = True


def enlarged(array: NDArray[np.generic], grain: int) -> NDArray[np.generic]:
    """Enlarge each pixel to grain x grain pixels: regions as thick as those of photos."""
    return array.repeat(grain, axis=0).repeat(grain, axis=1)


masks = st.builds(enlarged, hnp.arrays(np.bool_, sizes), grains)
label_maps = st.builds(enlarged, hnp.arrays(np.uint8, sizes, elements=st.integers(0, 3)), grains)
full_maps = st.builds(enlarged, hnp.arrays(np.uint8, sizes, elements=st.integers(1, 4)), grains)


def shape_of(polygon: Polygon) -> shapely.Polygon:
    return shapely.Polygon(polygon.exterior, polygon.holes)


def shapes_of(found: dict[int, list[Polygon]]) -> list[shapely.Polygon]:
    return [shape_of(polygon) for polygons in found.values() for polygon in polygons]


def outlines(shapes: list[shapely.Polygon]) -> shapely.MultiLineString:
    return shapely.MultiLineString([line for s in shapes for line in (s.exterior, *s.interiors)])


def iou(polygons: list[Polygon], mask: Mask) -> float:
    """Return the IoU of exact areas: the polygons against the region that the pixels cover."""
    found = shapely.union_all([shape_of(polygon) for polygon in polygons])
    pixels = shapely.union_all([shape_of(p) for p in mask_to_polygons(mask, tolerance=0)])
    common = found.intersection(pixels).area
    return float(common / (found.area + pixels.area - common))


def vertices(polygons: list[Polygon]) -> int:
    return sum(len(ring) for p in polygons for ring in (p.exterior, *p.holes))


@pytest.mark.parametrize("module", [poligons_from_seg, geometry.arrays])
def test_docstring_examples_run(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted >= 2
    assert result.failed == 0


# Exactness


@given(masks)
@example(np.zeros((4, 5), np.bool_))
@example(np.ones((4, 5), np.bool_))
@example(np.ones((1, 1), np.bool_))
@example(DIAGONAL)
@example(DIAGONAL[::-1])
@example(PINCHED)
@example(NESTED)
@many
def test_exact_outlines_restore_mask(mask: Mask) -> None:
    polygons = mask_to_polygons(mask, tolerance=0)
    assert np.array_equal(rasterize(polygons, *mask.shape), mask)
    assert all(shape_of(polygon).is_valid for polygon in polygons)
    assert sum(polygon_area(polygon) for polygon in polygons) == mask.sum()


@given(masks)
@many
def test_one_polygon_for_each_4_connected_piece_largest_first(mask: Mask) -> None:
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    areas = [polygon_area(polygon) for polygon in mask_to_polygons(mask, tolerance=0)]
    assert areas == sorted((float(area) for area in stats[1:count, cv2.CC_STAT_AREA]), reverse=True)


@given(label_maps, topologies)
@many
def test_exact_outlines_restore_label_map(labels: Labels, topology: Topology) -> None:
    found = label_map_to_polygons(labels, topology=topology, tolerance=0)
    drawn = np.zeros_like(labels)
    for label, polygons in found.items():
        drawn[rasterize(polygons, *labels.shape)] = label
    assert np.array_equal(drawn, labels)
    assert list(found) == [label for label in np.unique(labels).tolist() if label]


def test_pieces_that_touch_at_corner_are_apart() -> None:
    polygons = mask_to_polygons(DIAGONAL, tolerance=0)
    assert [polygon.exterior for polygon in polygons] == [
        [(0, 0), (1, 0), (1, 1), (0, 1)],
        [(1, 1), (2, 1), (2, 2), (1, 2)],
        [(2, 2), (3, 2), (3, 3), (2, 3)],
    ]


def test_pocket_closed_at_corner_is_a_hole() -> None:
    (polygon,) = mask_to_polygons(PINCHED, tolerance=0)
    assert polygon.exterior == [(0, 0), (3, 0), (3, 2), (2, 2), (2, 3), (0, 3)]
    assert [sorted(hole) for hole in polygon.holes] == [[(1, 1), (1, 2), (2, 1), (2, 2)]]


def test_islands_in_holes_are_separate_polygons() -> None:
    outer, middle, inner = mask_to_polygons(NESTED, tolerance=0)
    assert [polygon_area(p) for p in (outer, middle, inner)] == [81 - 49, 25 - 9, 1]
    assert [len(p.holes) for p in (outer, middle, inner)] == [1, 1, 0]


# --- properties of every mask and every option


@given(masks, tolerances, st.none() | st.integers(3, 12))
@example(PINCHED, 2.0, 3)
@example(NESTED, 5.0, 3)
@many
def test_polygons_are_valid_and_keep_to_max_vertices(
    mask: Mask, tolerance: float, most: int | None
) -> None:
    polygons = mask_to_polygons(mask, tolerance=tolerance, max_vertices=most)
    assert len(polygons) == len(mask_to_polygons(mask, tolerance=0))
    height, width = mask.shape
    for polygon in polygons:
        assert shape_of(polygon).is_valid
        rings = [polygon.exterior, *polygon.holes]
        assert all(3 <= len(ring) <= (most or mask.size * 4) for ring in rings)
        assert all(0 <= x <= width and 0 <= y <= height for ring in rings for x, y in ring)
        # clockwise on screen is counter-clockwise with y up
        assert shapely.LinearRing(polygon.exterior).is_ccw
        assert not any(shapely.LinearRing(hole).is_ccw for hole in polygon.holes)


@given(label_maps, tolerances, topologies)
@some
def test_outlines_stay_within_tolerance(
    labels: Labels, tolerance: float, topology: Topology
) -> None:
    exact = outlines(shapes_of(label_map_to_polygons(labels, tolerance=0)))
    found = outlines(
        shapes_of(label_map_to_polygons(labels, tolerance=tolerance, topology=topology))
    )
    for one, other in ((exact, found), (found, exact)):
        points = shapely.points(shapely.get_coordinates(shapely.segmentize(one, 0.2)))
        assert np.max(shapely.distance(points, other), initial=0) <= tolerance + 1e-9


@given(label_maps, tolerances)
@some
def test_shared_borders_leave_no_overlap(labels: Labels, tolerance: float) -> None:
    found = label_map_to_polygons(labels, topology="shared", tolerance=tolerance)
    shapes = shapes_of(found)
    assert all(shape.is_valid for shape in shapes)
    assert shapely.coverage_is_valid(shapes)
    polygons = [p for ps in found.values() for p in ps]
    drawn = [rasterize([polygon], *labels.shape).astype(int) for polygon in polygons]
    assert np.max(sum(drawn, np.zeros(labels.shape, int))) <= 1
    total = sum(shape.area for shape in shapes)
    assert shapely.union_all(shapes).area == pytest.approx(total, abs=1e-6)


@given(full_maps, tolerances)
@some
def test_shared_borders_leave_no_gap(labels: Labels, tolerance: float) -> None:
    shapes = shapes_of(label_map_to_polygons(labels, topology="shared", tolerance=tolerance))
    together = shapely.union_all(shapes)
    assert isinstance(together, shapely.Polygon)
    assert not together.interiors


# Outlines of both labels had to be refined, and crossed each other.
CROSSING = np.array(
    [
        [1, 2, 2, 2, 1, 2, 2, 2, 1, 2, 2, 1, 2],
        [2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2],
        [2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2],
    ],
    np.uint8,
)


@given(label_maps, st.floats(0.5, 5))
@example(CROSSING, 3.0)
@some
def test_other_labels_do_not_change_label(labels: Labels, tolerance: float) -> None:
    found = label_map_to_polygons(labels, tolerance=tolerance)
    for label, polygons in found.items():
        assert polygons == mask_to_polygons(labels == label, tolerance=tolerance)


@given(label_maps, st.sets(st.integers(1, 3), min_size=1), st.data())
@some
def test_retraced_rings_are_those_of_the_new_map(
    labels: Labels, changed: set[int], data: st.DataObject
) -> None:
    new = labels.copy()
    places = np.argwhere(np.isin(labels, list(changed)))
    for y, x in places[data.draw(hnp.arrays(np.bool_, len(places)))]:
        new[y, x] = data.draw(st.sampled_from([0, *changed]))
    found, expected = retrace(trace(labels), new, changed), trace(new)
    for field in dataclasses.fields(expected):
        np.testing.assert_array_equal(*(getattr(each, field.name) for each in (found, expected)))


def test_neighbours_have_their_border_vertices_in_common() -> None:
    y, x = np.mgrid[:80, :120]
    labels = np.where(x > 60 + 8 * np.sin(y / 9), 2, 1).astype(np.uint8)
    found = label_map_to_polygons(labels, topology="shared")
    one, other = (set(found[label][0].exterior) for label in (1, 2))
    border = one & other
    assert len(border) >= 6
    assert all(45 < x < 75 for x, _ in border)
    apart = label_map_to_polygons(labels)
    assert not shapely.coverage_is_valid(shapes_of(apart))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 0)])
def test_picture_without_pixels_has_no_polygons(shape: tuple[int, int]) -> None:
    assert mask_to_polygons(np.zeros(shape, np.bool_)) == []


def test_any_memory_layout_and_integer_type() -> None:
    mask = np.random.default_rng(1).random((30, 40)) < 0.7
    expected = mask_to_polygons(mask)
    frozen = mask.copy()
    frozen.flags.writeable = False
    assert mask_to_polygons(frozen) == expected
    assert mask_to_polygons(np.asfortranarray(mask)) == expected
    assert mask_to_polygons(np.repeat(mask, 2, axis=1)[:, ::2]) == expected
    assert mask_to_polygons(mask[::-1][::-1]) == expected
    wide = mask.astype(np.int64) * 300
    assert label_map_to_polygons(wide) == {300: expected}  # type: ignore[arg-type]


# Options


def test_pieces_below_min_area_are_left_out() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[:4, :4] = mask[10:12, 10:13] = mask[18, 18] = True
    kept = [polygon_area(p) for p in mask_to_polygons(mask, tolerance=0, min_area=6)]
    assert kept == [16, 6]
    assert mask_to_polygons(mask, min_area=17) == []


def test_shared_borders_next_to_removed_pieces() -> None:
    labels = np.ones((12, 12), np.uint8)
    labels[:, 6:] = 2
    labels[4:6, 5:7] = 3
    found = label_map_to_polygons(labels, topology="shared", min_area=5)
    assert sorted(found) == [1, 2]
    assert shapely.coverage_is_valid(shapes_of(found))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_vertices": 2}, "max_vertices must be at least 3, not 2"),
        ({"tolerance": -1.0}, "tolerance must be"),
        ({"tolerance": float("nan")}, "tolerance must be"),
        ({"tolerance": float("inf")}, "tolerance must be"),
        ({"min_area": -1.0}, "min_area must be"),
        ({"topology": "both"}, "topology must be"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        label_map_to_polygons(np.ones((3, 3), np.uint8), **options)  # type: ignore[arg-type]


def test_mask_must_have_two_dimensions() -> None:
    with pytest.raises(ValueError, match="two-dimensional"):
        mask_to_polygons(np.ones((3, 3, 3), np.bool_))


# Quality


def test_rectangle_has_its_four_corners() -> None:
    mask = np.zeros((50, 60), np.bool_)
    mask[5:40, 10:57] = True
    (polygon,) = mask_to_polygons(mask)
    assert sorted(polygon.exterior) == [(10, 5), (10, 40), (57, 5), (57, 40)]


@pytest.mark.parametrize("seed", range(8))
def test_polygon_round_trip(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.arange(7) * 2 * np.pi / 7 + rng.uniform(-0.3, 0.3, 7)
    corners = 100 + rng.uniform(60, 95, (7, 1)) * np.stack((np.cos(angles), np.sin(angles)), 1)
    drawn = Polygon([(x, y) for x, y in corners.tolist()])
    mask = rasterize([drawn], 200, 200)
    found = mask_to_polygons(mask)
    assert vertices(found) <= 9
    assert iou(found, mask) > 0.98
    common = shape_of(found[0]).intersection(shape_of(drawn)).area
    assert common / shape_of(found[0]).union(shape_of(drawn)).area > 0.99


def test_disc_with_hole() -> None:
    y, x = np.mgrid[:120, :160] + 0.5
    distance = np.hypot(x - 80, y - 60)
    mask = (distance < 50) & (distance > 20)
    (polygon,) = mask_to_polygons(mask)
    assert len(polygon.holes) == 1
    assert vertices([polygon]) <= 28
    assert iou([polygon], mask) > 0.97


def test_more_tolerance_means_fewer_vertices() -> None:
    y, x = np.mgrid[:200, :300] + 0.5
    mask = np.hypot(x - 150, (y - 100) * 1.5) < 120 + 10 * np.sin(np.arctan2(y - 100, x - 150) * 5)
    found = [mask_to_polygons(mask, tolerance=t) for t in (0, 0.5, 1, 2, 4, 8)]
    counts = [vertices(polygons) for polygons in found]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == len(counts)
    overlaps = [iou(polygons, mask) for polygons in found]
    assert overlaps == sorted(overlaps, reverse=True)


@pytest.fixture(scope="module")
def annotated_parts() -> list[Mask]:
    """Return some of the annotated parts, drawn by the pixel-centre rule, cut to their boxes."""
    if not ANNOTATIONS.exists():
        pytest.skip("needs the annotated photos of shared/data")
    found = []
    for annotation in json.loads(ANNOTATIONS.read_text())["annotations"][::50]:
        rings = annotation["segmentation"]
        rings = json.loads(rings) if isinstance(rings, str) else rings
        pieces = [Polygon(list(zip(ring[::2], ring[1::2], strict=True))) for ring in rings]
        mask = rasterize(pieces, 512, 512)
        if mask.any():
            x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
            found.append(mask[y : y + height, x : x + width])
    return found


@pytest.mark.parametrize(
    ("tolerance", "overlap", "count"), [(DEFAULT_TOLERANCE, 0.980, 16), (1.25, 0.985, 24)]
)
def test_annotated_parts_need_few_vertices(
    annotated_parts: list[Mask], tolerance: float, overlap: float, count: int
) -> None:
    found = [mask_to_polygons(mask, tolerance=tolerance) for mask in annotated_parts]
    assert np.mean([iou(*pair) for pair in zip(found, annotated_parts, strict=True)]) >= overlap
    polygons = sum(len(pieces) for pieces in found)
    assert sum(vertices(pieces) for pieces in found) / polygons <= count


# Drawing and measuring


coordinates = st.floats(-3, 15).map(lambda value: round(value * 8) / 8)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=7, unique=True))
@many
def test_rasterize_sets_pixels_whose_centres_are_inside(
    ring: list[tuple[float, float]],
) -> None:
    shape = shapely.Polygon(ring)
    if not shape.is_valid:
        return
    drawn = rasterize([Polygon(ring)], 10, 12)
    y, x = np.mgrid[:10, :12] + 0.5
    inside = shapely.contains_xy(shape, x, y)
    on_edge = shapely.intersects_xy(shape.boundary, x, y)
    assert np.array_equal(drawn[~on_edge], inside[~on_edge])


def test_rasterize_centre_on_edge() -> None:
    left = Polygon([(0.5, 0.5), (2.5, 0.5), (2.5, 2.5), (0.5, 2.5)])
    right = Polygon([(2.5, 0.5), (4.5, 0.5), (4.5, 2.5), (2.5, 2.5)])
    one, other = (rasterize([polygon], 4, 6) for polygon in (left, right))
    assert one.sum() == other.sum() == 4
    assert not (one & other).any()


def test_rasterize_unites_polygons_that_overlap() -> None:
    square = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)]
    moved = [(x + 2, y) for x, y in square]
    assert rasterize([Polygon(square), Polygon(moved)], 4, 6).all()
    assert not rasterize([], 4, 6).any()


@given(masks, st.floats(0, 3))
@some
def test_area_and_box_of_shapes(mask: Mask, tolerance: float) -> None:
    polygons = mask_to_polygons(mask, tolerance=tolerance)
    for polygon in polygons:
        assert polygon_area(polygon) == pytest.approx(shape_of(polygon).area)
    box = bounding_box(polygons)
    if polygons:
        assert box == pytest.approx(shapely.total_bounds([shape_of(p) for p in polygons]))
    else:
        assert box is None


@many
@given(label_maps, tolerances, topologies)
def test_areas_and_boxes_of_pixels(labels: Labels, tolerance: float, topology: Topology) -> None:
    found = label_map_to_outlines(labels, tolerance=tolerance, topology=topology)
    assert list(found) == [label for label in np.unique(labels).tolist() if label]
    polygons = label_map_to_polygons(labels, tolerance=tolerance, topology=topology)
    for label, outline in found.items():
        rows, columns = np.nonzero(labels == label)
        x, y = int(columns.min()), int(rows.min())
        width, height = int(columns.max()) + 1 - x, int(rows.max()) + 1 - y
        assert (outline.area, outline.bbox) == (len(rows), (x, y, width, height))
        assert outline.polygons == polygons[label]


@many
@given(label_maps, tolerances, topologies, st.integers(2, 3))
def test_map_of_squares(labels: Labels, tolerance: float, topology: Topology, side: int) -> None:
    """The outlines are those of the map in which each pixel is a square."""
    large = np.asarray(enlarged(labels, side), np.uint8)
    exact = label_map_to_outlines(large, tolerance=0)
    assert label_map_to_outlines(labels, tolerance=0, scale=side) == exact
    found = label_map_to_outlines(labels, tolerance=tolerance, topology=topology, scale=side)
    assert [(o.area, o.bbox) for o in found.values()] == [(o.area, o.bbox) for o in exact.values()]
    polygons = {label: outline.polygons for label, outline in found.items()}
    lines = outlines(shapes_of(polygons))
    wanted = outlines(shapes_of({label: outline.polygons for label, outline in exact.items()}))
    for one, other in ((lines, wanted), (wanted, lines)):
        points = shapely.points(shapely.get_coordinates(shapely.segmentize(one, 0.2)))
        assert np.max(shapely.distance(points, other), initial=0) <= tolerance + 1e-9
    assert all(shape.is_valid for shape in shapes_of(polygons))
    for x, y in shapely.get_coordinates(lines).tolist():
        assert (round(x, 2), round(y, 2)) == (x, y)


def test_map_of_squares_min_area() -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[:3, :3], labels[6:, 7:] = 1, 2
    assert list(label_map_to_outlines(labels, min_area=30, scale=2)) == [1]
    assert list(label_map_to_outlines(labels, min_area=24, scale=2)) == [1, 2]
