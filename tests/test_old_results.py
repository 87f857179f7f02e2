"""Results that were stored before results had a model version."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from car_classification import TYPE_NAMES, CarType
from photo_result import FIRST_VERSION, NO_CAR, Analysis, Result, outline
from poligons_from_seg import label_map_to_outlines
from vision.labels import label_of, name_of

WITH_TRUNK = ("convertible", "coupe", "sedan")
CONFIDENCES = {"hood": 0.9, "tailgate": 0.3, "trunk": 0.6, "wheel": 0.8}


def label(name: str) -> int:
    return label_of(name)


def drawn(*lids: str) -> NDArray[np.uint8]:
    """Draw a hood, wheels in two pieces, and lids of 300 pixels that touch each other."""
    labels = np.zeros((60, 80), np.uint8)
    labels[5:25, 5:35] = label("hood")
    labels[40:50, 10:20] = labels[40:50, 50:60] = label("wheel")
    for number, name in enumerate(lids):
        labels[10:30, 40 + 15 * number : 55 + 15 * number] = label(name)
    return labels


def body_type(name: str) -> CarType:
    """Return a type that is unsure, but surest of this name."""
    scores = {other: 0.7 if other == name else 0.3 / 7 for other in TYPE_NAMES}
    return CarType(name, 0.7, scores)


def stored(labels: NDArray[np.uint8], car_type: CarType | None, *, runs: bool = True) -> bytes:
    """Return the bytes that the service stored before: no version, a message, all parts."""
    present = {name_of(value) for value in np.unique(labels[labels > 0]).tolist()}
    parts = outline(labels, {name: CONFIDENCES[name] for name in sorted(present)})
    fields: dict[str, Any] = {
        "width": labels.shape[1],
        "height": labels.shape[0],
        "type": car_type and vars(car_type),
        "message": f"{len(parts)} parts were found.",
        "parts": [
            vars(part) | {"polygons": [vars(polygon) for polygon in part.polygons]}
            for part in parts
        ],
    }
    head = zlib.compress(json.dumps(fields, separators=(",", ":")).encode(), level=1)
    if runs:
        flat = labels.ravel()
        starts = np.concatenate(([0], np.flatnonzero(np.diff(flat)) + 1))
        lengths = np.diff(starts, append=flat.size).astype("<u4")
        packed = b"R" + zlib.compress(flat[starts].tobytes() + lengths.tobytes(), level=1)
    else:  # earlier still: all pixels
        packed = zlib.compress(labels.tobytes())
    return len(head).to_bytes(4, "big") + head + packed


def expected(labels: NDArray[np.uint8], car_type: CarType | None, **confidences: float) -> Result:
    """Return the result with the parts of a label map, as an old one is read."""
    analysis = Analysis(car_type, labels, confidences, label_map_to_outlines(labels))
    return Result.of(analysis, FIRST_VERSION)


def test_result_without_lid_is_unchanged() -> None:
    labels, suv = drawn(), body_type("suv")
    data = stored(labels, suv)
    result = Result.unpack(data)
    assert result == expected(labels, suv, hood=0.9, wheel=0.8)
    assert (result.model_version, result.rotation, result.other_cars) == ("1", 0, False)
    assert data.endswith(result.packed_labels)


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("old", ["tailgate", "trunk"])
@pytest.mark.parametrize("name", TYPE_NAMES)
def test_lid_gets_its_english_name(name: str, old: str, runs: bool) -> None:
    new = "trunk" if name in WITH_TRUNK else "tailgate"
    result = Result.unpack(stored(drawn(old), body_type(name), runs=runs))
    confidences = {"hood": 0.9, new: CONFIDENCES[old], "wheel": 0.8}
    alike = expected(drawn(new), body_type(name), **confidences)
    assert replace(result, packed_labels=alike.packed_labels) == alike
    assert np.array_equal(result.labels(), drawn(new))
    assert list(result.exteriors()) == ["hood", new, "wheel"]


@pytest.mark.parametrize(("name", "new"), [("coupe", "trunk"), ("wagon", "tailgate")])
def test_two_lids_become_one(name: str, new: str) -> None:
    result = Result.unpack(stored(drawn("tailgate", "trunk"), body_type(name)))
    merged = drawn(new, new)
    confidences = {"hood": 0.9, new: 0.6, "wheel": 0.8}
    assert result == expected(merged, body_type(name), **confidences)
    (lid,) = [part for part in result.parts if part.name == new]
    assert (lid.area, lid.bbox, len(lid.polygons)) == (2 * 300, (40, 10, 30, 20), 1)
    assert np.array_equal(result.labels(), merged)


def test_lid_of_no_type_is_tailgate() -> None:
    result = Result.unpack(stored(drawn("trunk"), None))
    assert list(result.exteriors()) == ["hood", "tailgate", "wheel"]


def test_photo_without_car() -> None:
    labels = np.zeros((60, 80), np.uint8)
    result = Result.unpack(stored(labels, None))
    assert result == expected(labels, None)
    assert result.message() == NO_CAR


def test_stored_version() -> None:
    result = Result.unpack(stored(drawn("tailgate", "trunk"), body_type("suv")))
    assert Result.unpack(result.pack()) == result


@pytest.mark.parametrize("lid", ["tailgate", "trunk"])
def test_new_results_keep_their_names(lid: str) -> None:
    labels, confidences = drawn(lid), {"hood": 0.9, lid: 0.6, "wheel": 0.8}
    outlines = label_map_to_outlines(labels)
    analysis = Analysis(body_type("suv"), labels, confidences, outlines)
    result = Result.of(analysis, "1a2b")
    assert Result.unpack(result.pack()) == result
