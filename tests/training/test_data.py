"""The fixed split, and photos that a teacher labels."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
from helpers import SAMPLE
from tiny import write_data

from img_to_segments import PART_NAMES
from training.parts_data import annotated_samples, read_labels
from training.pseudo_labels import LabelRun, label_photos
from training.type_data import NO_CAR, list_empty, list_samples


def test_the_split_depends_on_the_photos_alone_and_parts_no_twins(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", count=30)
    images = data / "car_parts" / "images"
    for number in range(15):  # the other half are twins: brighter, or mirrored
        photo = cv2.imread(str(images / f"drawn{number}.png"))
        assert photo is not None
        twin = photo[:, ::-1] if number % 2 else np.minimum(photo, 250) + np.uint8(5)
        cv2.imwrite(str(images / f"drawn{number + 15}.png"), twin)
    train, val = annotated_samples(data, tmp_path / "one")
    assert (train, val) == annotated_samples(data, tmp_path / "one")  # from the cache
    _, again = annotated_samples(data, tmp_path / "two")
    assert [sample.image for sample in again] == [sample.image for sample in val]
    numbers = {int(sample.image.stem.removeprefix("drawn")) for sample in val}
    assert len(numbers) == 4  # two of fifteen groups
    assert {(number + 15) % 30 for number in numbers} == numbers
    assert {sample.image for sample in train}.isdisjoint(sample.image for sample in val)


def test_photos_for_the_types_are_trained_on_or_measured_on(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    train, val = list_samples(data, "train"), list_samples(data, "val")
    assert {s.path for s in train}.isdisjoint(s.path for s in val)
    assert len(train) + len(val) == 4 + 2 + 2 + 6
    assert [s.path for s in val if s.label == NO_CAR] == list_empty(data, "val")
    (boxed,) = [s for s in val if s.box is not None]
    assert boxed.box == (14, 18, 82, 88)


def test_a_teacher_labels_what_it_is_sure_of(tmp_path: Path) -> None:
    sedans = tmp_path / "car_types" / "train" / "sedan"
    sedans.mkdir(parents=True)
    shutil.copy(SAMPLE, sedans / "car.jpg")
    cv2.imwrite(str(sedans / "grey.jpg"), np.full((90, 120, 3), 127, np.uint8))
    run = LabelRun(tmp_path, tmp_path / "out", longest=[256], threads=1)
    label_photos(run)
    (row,) = json.loads((run.out / "index.json").read_text(encoding="utf-8"))
    assert row["image"].endswith("car.jpg")
    assert 0.8 <= row["sure"] <= 1
    photo = cv2.imread(str(SAMPLE))
    assert photo is not None
    labels = read_labels(run.out / row["labels"], (0, 0))
    assert labels.shape == photo.shape[:2]
    assert {PART_NAMES.index("hood") + 1, PART_NAMES.index("wheel") + 1, 0} <= set(
        np.unique(labels)
    )
    assert PART_NAMES.index("trunk") + 1 not in labels  # as the annotators call a sedan's

    # What was labelled is not labelled again; a note that is missing is made again.
    before = {path: path.stat().st_mtime_ns for path in (run.out / "labels").iterdir()}
    removed = run.out / "labels" / (Path(row["labels"]).stem + ".json")
    removed.unlink()
    label_photos(run)
    after = {path: path.stat().st_mtime_ns for path in (run.out / "labels").iterdir()}
    assert {path for path in after if after[path] != before[path]} == {
        removed, removed.with_suffix(".png")
    }  # fmt: skip
    assert json.loads((run.out / "index.json").read_text(encoding="utf-8")) == [row]


def test_label_maps_may_be_read_while_they_are_written_again(tmp_path: Path) -> None:
    """Two trainings share them; a reader must never see half a file."""
    data = write_data(tmp_path / "data", count=4)
    train, val = annotated_samples(data, tmp_path / "cache")
    maps = [sample.labels for sample in train + val]
    ended = threading.Event()

    def write_again() -> None:
        for _ in range(20):
            annotated_samples(data, tmp_path / "cache")
        ended.set()

    writer = threading.Thread(target=write_again)
    writer.start()
    while not ended.is_set():
        assert all(read_labels(path, (0, 0)).any() for path in maps)
    writer.join()
    assert {path.name for path in (tmp_path / "cache" / "labels").iterdir()} == {
        path.name for path in maps if path
    }
