"""What the options do to a result."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from exports.scene import Scene, scene_of
from img_to_segments import PART_NAMES
from options import Options
from photo_result import Result
from poligons_from_seg import rasterize

pytest_plugins = ["scenes"]

HASH = "ab" * 32


def names(scene: Scene) -> list[str]:
    return [part.name for part in scene.parts]


def vertices(scene: Scene) -> int:
    return sum(
        len(ring)
        for part in scene.parts
        for polygon in part.polygons
        for ring in (polygon.exterior, *polygon.holes)
    )


def test_without_options_the_kept_polygons_are_shown(result: Result) -> None:
    scene = scene_of(HASH, result, Options())
    assert scene.parts is result.parts
    assert scene.file_name == f"{HASH}.png"


def test_the_exact_outline_gives_the_mask_back(result: Result) -> None:
    scene = scene_of(HASH, result, Options(tolerance=0))
    labels = result.labels()
    for part in scene.parts:
        mask = labels == PART_NAMES.index(part.name) + 1
        assert np.array_equal(rasterize(part.polygons, result.height, result.width), mask)


def test_more_tolerance_means_fewer_vertices(result: Result) -> None:
    counts = [vertices(scene_of(HASH, result, Options(tolerance=value))) for value in (0, 1, 3, 10)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[1] > 2 * counts[3]


def test_no_ring_has_more_vertices_than_allowed(result: Result) -> None:
    scene = scene_of(HASH, result, Options(tolerance=0.5, max_vertices=12))
    for part in scene.parts:
        for polygon in part.polygons:
            assert len(polygon.exterior) <= 12


def test_small_pieces_are_left_out(drawn: Result) -> None:
    scene = scene_of(HASH, drawn, Options(min_area=100))
    assert names(scene) == [
        part.name for part in drawn.parts if part.name not in ("left_mirror", "right_mirror")
    ]
    before, after = (
        next(part for part in parts if part.name == "wheel") for parts in (drawn.parts, scene.parts)
    )
    assert len(before.polygons) == 3
    assert len(after.polygons) == 2  # the island in the hub is gone
    label = PART_NAMES.index("wheel") + 1
    assert after.area == np.count_nonzero(scene.labels() == label) < before.area
    assert np.count_nonzero(drawn.labels() == label) == before.area  # the result is not touched


def test_a_piece_of_just_the_area_stays(drawn: Result) -> None:
    assert "right_mirror" in names(scene_of(HASH, drawn, Options(min_area=72)))
    assert "right_mirror" not in names(scene_of(HASH, drawn, Options(min_area=73)))


@pytest.mark.parametrize("topology", ["independent", "shared"])
def test_parts_with_little_confidence_are_left_out(drawn: Result, topology: str) -> None:
    limit = drawn.parts[3].confidence
    options = Options(min_confidence=limit, topology=topology)  # type: ignore[arg-type]
    scene = scene_of(HASH, drawn, options)
    assert names(scene) == [part.name for part in drawn.parts if part.confidence >= limit]
    assert len(scene.parts) == len(drawn.parts) - 3
    assert len(np.unique(scene.labels())) == len(scene.parts) + 1


def test_shared_borders_have_no_gap_and_no_overlap(drawn: Result) -> None:
    scene = scene_of(HASH, drawn, Options(topology="shared", tolerance=2))
    covered = sum(
        rasterize(part.polygons, drawn.height, drawn.width).astype(int) for part in scene.parts
    )
    assert np.max(covered) == 1
    pieces = [
        shapely.Polygon(polygon.exterior, polygon.holes)
        for part in scene.parts
        for polygon in part.polygons
    ]
    assert shapely.coverage_is_valid(pieces)
