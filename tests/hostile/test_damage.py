"""Test that any output of the damage network becomes a result that all formats can write."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.damage_segments import find_pieces
from exports import FORMATS, export
from exports.annotation import kept_damage_kinds
from options import Options
from photo_result import Analysis, Result
from poligons_from_seg import label_map_to_outlines
from vision.labels import DAMAGE_KINDS, PART_NAMES, name_of

LIMITS = {f"{kind}_cells": 3.0 for kind in DAMAGE_KINDS} | {
    f"{kind}_confidence": 0.0 for kind in DAMAGE_KINDS
}


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Return a result of noise: patches of damage and of parts, of any size and shape."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.tuples(st.integers(1, 24), st.integers(1, 32)))
    size = draw(st.tuples(st.integers(1, 150), st.integers(1, 150)))
    coarse = random.normal(0, draw(st.floats(0, 5)), (9, 1 + shape[0] // 3, 1 + shape[1] // 3))
    logits = coarse.repeat(3, 1).repeat(3, 2)[:, : shape[0], : shape[1]].astype(np.float32)
    cells = find_pieces(logits, LIMITS).turned(draw(st.integers(0, 3)))
    patches = random.integers(0, 1 + len(PART_NAMES), (1 + size[0] // 9, 1 + size[1] // 9))
    parts = patches.repeat(9, 0).repeat(9, 1)[: size[0], : size[1]].astype(np.uint8)
    names = [name_of(label) for label in np.unique(parts[parts > 0]).tolist()]
    outlines = label_map_to_outlines(parts)
    found = Analysis(None, parts, dict.fromkeys(names, 0.9), outlines, damage=cells.enlarge(*size))
    return Result.of(found, "drawn", "drawn")


OPTIONS = st.builds(
    Options,
    tolerance=st.sampled_from([None, 0.0, 5.0]),
    min_area=st.sampled_from([0, 9]),
    min_confidence=st.sampled_from([0.0, 0.25, 0.9]),
    topology=st.sampled_from(["independent", "shared"]),
    parts=st.sampled_from([None, ("basic",), ("hood",)]),
)


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(results(), OPTIONS)
def test_every_result_is_written(result: Result, options: Options) -> None:
    assert Result.unpack(result.pack()) == result
    documents = {name: export("0" * 64, result, form, options) for name, form in FORMATS.items()}
    answer = json.loads(documents["json"])
    shown = {part["name"]: part["damaged"] for part in answer["parts"]}
    kinds = np.bincount(kept_damage_kinds(result, options).ravel(), minlength=9)
    areas = dict.fromkeys(DAMAGE_KINDS, 0)
    for damage in answer["damages"]:
        areas[damage["kind"]] += damage["area"]
        assert damage["area"] > 0
        assert damage["confidence"] >= options.min_confidence
        for part in damage["parts"]:
            assert 0 < part["share"] <= 1 or part["share"] == 0  # rounded to four decimals
            assert damage["kind"] in shown[part["name"]]
    assert list(areas.values()) == kinds[1:].tolist()
    assert result.damages is not None
    assert [damage.number for damage in result.damages] == list(range(1, 1 + len(result.damages)))
