"""Test the listing of photos, and the corrected labels."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.training.tiny import VALIDATION, annotated_names, write_data
from training.corrections import DataError, read_corrections
from training.parts_data import annotated_photos, read_labels
from training.type_data import NO_CAR, TYPES, list_empty, list_samples, list_street
from vision.labels import PANELS, label_of


def test_data_without_validation_photos_are_refused(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    document = data / "car_parts" / "annotations.json"
    text = document.read_text(encoding="utf-8")
    for number, name in enumerate(annotated_names(8)[:VALIDATION]):
        text = text.replace(name, f"other{number}.jpg")
    document.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="names none of the photos in"):
        annotated_photos(data, "train", tmp_path / "cache")


def test_data_without_corrections_are_refused(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (data / "car_parts" / "corrections.json").unlink()
    with pytest.raises(DataError, match=r"corrections\.json"):
        annotated_photos(data, "train", tmp_path / "cache")


def test_corrections_change_labels(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    name = annotated_names(8)[0]
    correction = {
        "type": "pickup", "rename": {"hood": "trunk", "front_left_light": "front_right_light"},
        "bad": ["front_bumper"], "missing": ["back_bumper"],
    }  # fmt: skip
    text = json.dumps({name: correction})
    (data / "car_parts" / "corrections.json").write_text(text, encoding="utf-8")
    val = annotated_photos(data, "val", tmp_path / "cache")
    corrected, plain = (read_labels(sample.labels) for sample in val)
    assert val[0].missing == ("back_bumper", *PANELS)  # no mask shows the panels
    assert val[1].missing == PANELS
    for old, new in (
        ("hood", label_of("tailgate")),  # a lid, and a pickup's is a tailgate
        ("front_left_light", label_of("front_right_light")),
        ("front_bumper", 255),
        ("wheel", label_of("wheel")),
    ):
        here = plain == label_of(old)
        assert here.any()
        assert set(np.unique(corrected[here])) == {new}, old
    assert (corrected[plain == 0] == 0).all()


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"type": "sedan"}, "trunk"),
        ({"type": "convertible"}, "trunk"),
        ({"type": "wagon"}, "tailgate"),
        ({"type": "sedan", "rear": "tailgate"}, "tailgate"),
        ({"rear": "trunk"}, "trunk"),
        ({}, "tailgate"),  # nothing is known: the name that it has
    ],
)
def test_lid_gets_ordinary_name(tmp_path: Path, row: dict[str, str], name: str) -> None:
    file = tmp_path / "corrections.json"
    file.write_text(json.dumps({"a.jpg": row}), encoding="utf-8")
    assert read_corrections(file)["a.jpg"].name_of("tailgate") == name


def test_type_photos_are_in_one_set_only(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    train, val = list_samples(data, "train"), list_samples(data, "val")
    assert [s.path for s in val if s.label == NO_CAR] == list_empty(data, "val")
    (boxed,) = [s for s in val if s.box is not None]
    assert boxed.box == (14.0, 18.0, 82.0, 88.0)
    assert (boxed.label, boxed.doors) == (TYPES.index("sedan"), 2)
    assert {s.path.name: s.doors for s in train if s.label != NO_CAR} == {
        "trainsedan0.jpg": 4, "trainsedan1.jpg": None, "trainsuv0.jpg": None,
        "trainsuv1.jpg": None, "trainsuv11.jpg": None, "trainsedan0.webp": 4,
    }  # fmt: skip
    assert [s.path.name for s in list_samples(data, "calibration") if s.label != NO_CAR] == [
        "trainsedan11.jpg"
    ]


def test_every_sixth_photo_without_car_is_for_validation(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    val = [path.name for path in list_empty(data, "val")]
    assert val == ["0.webp", "motorcycle_1.webp"]  # the first and the seventh of both folders
    assert len(list_empty(data, "train")) == 6


def test_street_photos_have_type_and_part(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    (train,) = list_street(data, "train")
    assert (train.path.name, train.label) == ("street_0.webp", TYPES.index("suv"))
    assert [(s.path.name, s.doors) for s in list_street(data, "val")] == [
        ("street_1.webp", 2), ("street_2.webp", None)
    ]  # fmt: skip


def test_label_maps_can_be_read_during_rewrite(tmp_path: Path) -> None:
    """Two trainings share them; a reader must never see half a file."""
    data = write_data(tmp_path / "data", count=4)
    maps = [sample.labels for sample in annotated_photos(data, "train", tmp_path / "cache")]
    ended = threading.Event()

    def write_again() -> None:
        for _ in range(20):
            annotated_photos(data, "train", tmp_path / "cache")
        ended.set()

    writer = threading.Thread(target=write_again)
    writer.start()
    deadline = time.monotonic() + 120
    while not ended.is_set():
        assert time.monotonic() < deadline
        assert all(read_labels(path).any() for path in maps)
    writer.join()
    written = {path.name for path in (tmp_path / "cache" / "labels").iterdir()}
    assert written == {Path(name).with_suffix(".png").name for name in annotated_names(4)}
