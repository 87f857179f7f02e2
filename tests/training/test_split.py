"""Test the three parts of the split."""

from __future__ import annotations

from pathlib import Path

from tests.training.tiny import VALIDATION, annotated_names, write_data
from training.pack import list_sources
from training.parts_data import annotated_photos
from training.split import Part, part_of, validation_names
from training.type_data import list_empty, list_samples, list_street
from vision.labels import PART_NAMES

PARTS: tuple[Part, ...] = ("train", "calibration", "val")


def test_calibration_share() -> None:
    parts = [part_of(f"{number:05d}", val=False) for number in range(6000)]
    assert set(parts) == {"train", "calibration"}
    assert 1 / 15 < parts.count("calibration") / len(parts) < 1 / 10


def test_val_takes_precedence() -> None:
    assert {part_of(f"{number:05d}", val=True) for number in range(50)} == {"val"}


def test_validation_names() -> None:
    assert len(set(validation_names())) == 59


def test_annotated_photos_are_in_one_part(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    names = {
        part: [sample.image.name for sample in annotated_photos(data, part, tmp_path / "cache")]
        for part in PARTS
    }
    assert names["val"] == annotated_names(8)[:VALIDATION]
    assert len(names["calibration"]) == 1
    found = [name for part in PARTS for name in names[part]]
    assert sorted(found) == sorted(annotated_names(8))


def test_car_is_in_one_part(tmp_path: Path) -> None:
    """The same car may be in `car_types` and, uncropped, in `car_types_in_context`."""
    data = write_data(tmp_path / "data")
    stems = [{s.path.stem for s in list_samples(data, part)} for part in PARTS]
    assert all(stems)
    assert not stems[0] & stems[1]
    assert not stems[2] & (stems[0] | stems[1])


def test_empty_and_street_photos_are_in_one_part(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    empty = [path for part in PARTS for path in list_empty(data, part)]
    street = [sample.path for part in PARTS for sample in list_street(data, part)]
    assert len(set(empty)) == len(empty) == 8
    assert len(set(street)) == len(street) == 3


def test_packs_hold_calibration_photos_with_label_maps_only(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    rows = [source.row for source in list_sources(data, tmp_path / "cache")]
    kept = [row for row in rows if row.part == "calibration"]
    assert {row.kind for row in kept} == {"annotated", "damaged"}
    assert all(row.labels for row in kept)
    for row in rows:  # what a teacher must not see is marked
        if "val" in row.photo.split("/"):
            assert row.part == "val", row
    for row in rows:
        assert set(row.missing) <= set(PART_NAMES)
