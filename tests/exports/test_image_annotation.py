"""Test the effect of options on a result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from exports import FORMATS, export
from exports.annotation import ImageAnnotation, annotate
from options import OptionError, Options
from photo_result import Analysis, Result
from poligons_from_seg import label_map_to_outlines, rasterize
from tests.exports.scenes import DOUBTFUL
from vision.labels import label_of

pytest_plugins = ["tests.exports.scenes"]

HASH = "ab" * 32


def names(scene: ImageAnnotation) -> list[str]:
    return [part.name for part in scene.parts]


def vertices(scene: ImageAnnotation) -> int:
    return sum(
        len(ring)
        for part in scene.parts
        for polygon in part.polygons
        for ring in (polygon.exterior, *polygon.holes)
    )


def test_kept_polygons_without_options(result: Result) -> None:
    scene = annotate(HASH, result, Options())
    assert scene.parts == result.sure_parts()
    assert scene.file_name == f"{HASH}.png"


def test_parts_by_name(result: Result) -> None:
    scene = annotate(HASH, result, Options(parts=("hood", "wheel")))
    assert names(scene) == ["hood", "wheel"]
    assert scene.message.startswith("2 parts were found.")
    kept = [label_of("hood"), label_of("wheel")]
    labels = result.labels()
    assert np.array_equal(scene.labels(), np.where(np.isin(labels, kept), labels, 0))
    whole = {part.name: part for part in result.parts}
    assert scene.parts == [whole["hood"], whole["wheel"]]


def test_parts_by_group() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[:20, :30], labels[20:, :30] = label_of("hood"), label_of("roof")
    outlines = label_map_to_outlines(labels)
    result = Result.of(Analysis(None, labels, {"hood": 0.9, "roof": 0.8}, outlines), "drawn")
    for group, found in (
        (None, ["hood", "roof"]),
        (("all",), ["hood", "roof"]),
        (("basic",), ["hood"]),
        (("panels",), ["roof"]),
        (("basic", "roof"), ["hood", "roof"]),
        (("left_fender",), []),
    ):
        assert names(annotate(HASH, result, Options(parts=group))) == found


def test_parts_unknown_name(result: Result) -> None:
    with pytest.raises(
        OptionError,
        match=r"There is no part 'sunroof'; the nearest is roof\. The names are all, basic",
    ):
        annotate(HASH, result, Options(parts=("hood", "sunroof")))


def test_default_confidence(unsure: Result) -> None:
    sure = [part for part in unsure.parts if part.name not in DOUBTFUL]
    scene = annotate(HASH, unsure, Options())
    assert len(sure) == len(unsure.parts) - len(DOUBTFUL)
    assert scene.parts == sure
    assert scene.message.startswith(f"{len(sure)} parts were found.")
    assert scene.model_version == unsure.model_version
    assert (scene.rotation, scene.other_cars) == (90, True)
    kept = {label_of(name) for name in names(scene)}
    labels = unsure.labels()
    assert np.array_equal(scene.labels(), np.where(np.isin(labels, list(kept)), labels, 0))
    everything = annotate(HASH, unsure, Options(min_confidence=0))
    assert everything.parts == unsure.parts
    assert everything.message.startswith(f"{len(unsure.parts)} parts were found.")
    assert np.array_equal(everything.labels(), labels)
    nothing = annotate(HASH, unsure, Options(min_confidence=1))
    assert nothing.parts == []
    assert not nothing.labels().any()
    assert nothing.message.startswith("No part was found with enough confidence.")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("options", [Options(), Options(tolerance=1), Options(topology="shared")])
def test_every_format_leaves_unsure_parts_out(unsure: Result, form: str, options: Options) -> None:
    """The file is that of a result that never had them."""
    sure = unsure.sure_parts()
    confidences = {part.name: part.confidence for part in sure}
    labels = unsure.sure_labels()
    outlines = label_map_to_outlines(labels)
    analysis = Analysis(unsure.type, labels, confidences, outlines, rotation=90, other_cars=True)
    bare = Result.of(analysis, unsure.model_version)
    document = export(HASH, unsure, FORMATS[form], options)
    assert document == export(HASH, bare, FORMATS[form], options)
    assert document != export(HASH, unsure, FORMATS[form], replace(options, min_confidence=0))


def test_exact_outline_restores_mask(result: Result) -> None:
    scene = annotate(HASH, result, Options(tolerance=0))
    labels = result.labels()
    for part in scene.parts:
        mask = labels == label_of(part.name)
        assert np.array_equal(rasterize(part.polygons, result.height, result.width), mask)


def test_more_tolerance_means_fewer_vertices(result: Result) -> None:
    counts = [vertices(annotate(HASH, result, Options(tolerance=value))) for value in (0, 1, 3, 10)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[1] > 2 * counts[3]


def test_max_vertices_of_each_ring(result: Result) -> None:
    scene = annotate(HASH, result, Options(tolerance=0.5, max_vertices=12))
    for part in scene.parts:
        for polygon in part.polygons:
            assert len(polygon.exterior) <= 12


def test_small_pieces_are_left_out(drawn: Result) -> None:
    scene = annotate(HASH, drawn, Options(min_area=100))
    assert names(scene) == [
        part.name for part in drawn.parts if part.name not in ("left_mirror", "right_mirror")
    ]
    before, after = (
        next(part for part in parts if part.name == "wheel") for parts in (drawn.parts, scene.parts)
    )
    assert len(before.polygons) == 3
    assert len(after.polygons) == 2  # the island in the hub is gone
    label = label_of("wheel")
    assert after.area == np.count_nonzero(scene.labels() == label) < before.area
    assert np.count_nonzero(drawn.labels() == label) == before.area  # the result is not touched


def test_piece_of_exactly_min_area_stays(drawn: Result) -> None:
    assert "right_mirror" in names(annotate(HASH, drawn, Options(min_area=72)))
    assert "right_mirror" not in names(annotate(HASH, drawn, Options(min_area=73)))


@pytest.mark.parametrize("topology", ["independent", "shared"])
def test_parts_with_little_confidence_are_left_out(drawn: Result, topology: str) -> None:
    limit = drawn.parts[3].confidence
    options = Options(min_confidence=limit, topology=topology)  # type: ignore[arg-type]
    scene = annotate(HASH, drawn, options)
    assert names(scene) == [part.name for part in drawn.parts if part.confidence >= limit]
    assert len(scene.parts) == len(drawn.parts) - 3
    assert len(np.unique(scene.labels())) == len(scene.parts) + 1
    assert scene.message == f"{len(scene.parts)} parts were found."


def test_shared_borders_have_no_gap_and_no_overlap(drawn: Result) -> None:
    scene = annotate(HASH, drawn, Options(topology="shared", tolerance=2))
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


def test_result_of_squares(result: Result) -> None:
    """The default tolerance yields the stored polygons, and exact outlines restore the mask."""
    labels = result.labels()
    confidences = {part.name: part.confidence for part in result.parts}
    outlines = label_map_to_outlines(labels, scale=2)
    large = Result.of(Analysis(result.type, labels, confidences, outlines, scale=2), "drawn")
    masks = large.labels()
    assert masks.shape == (2 * result.height, 2 * result.width)
    same = annotate(HASH, large, Options(min_area=1, tolerance=2, max_vertices=10_000))
    assert same.parts == annotate(HASH, large, Options()).parts == large.sure_parts()
    for part in annotate(HASH, large, Options(tolerance=0)).parts:
        mask = masks == label_of(part.name)
        assert part.area == np.count_nonzero(mask)
        assert np.array_equal(rasterize(part.polygons, large.height, large.width), mask)
