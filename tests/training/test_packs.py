"""Test that packs return the photos, labels and facts that went into them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.tiny import SIZE, VALIDATION, write_data
from training.corrections import DataError
from training.imagenet import BACKBONES, load_imagenet
from training.pack import list_sources, make_packs, write_packs
from training.parts_data import annotated_photos, read_labels
from training.photos import read_packs
from training.precision import CPU
from vision.networks import build_network


def test_photos_and_facts(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    write_packs(list_sources(data, tmp_path / "cache"), tmp_path / "packs")
    packed = read_packs(tmp_path / "packs", CPU)
    assert [len(packed.annotated.of_part(part)) for part in ("train", "calibration", "val")] == [
        5, 1, VALIDATION
    ]  # fmt: skip
    (boxed,) = [row for row in packed.cars.rows if row.part == "val" and row.box is not None]
    assert (boxed.box, boxed.type, boxed.doors) == ((14, 18, 82, 88), "sedan", 2)
    assert {row.photo: row.close_up for row in packed.cars.rows if row.source == "damage"} == {
        "damage/0.webp": True, "damage/1.webp": False,  # an airbag is seen from inside
        "damage/3.webp": False,
    }  # fmt: skip
    assert {row.photo for row in packed.cars.rows if row.type is None and row.close_up} == {
        "street/street_3.webp", "damage/0.webp"
    }  # fmt: skip
    number = packed.annotated.of_part("train")[:1]
    original = cv2.imread(str(annotated_photos(data, "train", tmp_path / "cache")[0].image))
    assert original is not None
    photo = packed.annotated.take(number)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(photo[:SIZE, :SIZE], original[:, :, ::-1])
    assert (photo[SIZE:] == 127).all()


def test_label_maps_belong_to_their_photos(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    write_packs(list_sources(data, tmp_path / "cache"), tmp_path / "packs")
    packed = read_packs(tmp_path / "packs", CPU)
    (index,) = packed.annotated.of_part("calibration")
    (sample,) = annotated_photos(data, "calibration", tmp_path / "cache")
    assert packed.annotated.rows[index].photo == sample.image.name
    labels = packed.labels[index, :SIZE, :SIZE].numpy()
    np.testing.assert_array_equal(labels, read_labels(sample.labels))


def test_large_photos_shrink_with_their_boxes(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    sources = list_sources(data, tmp_path / "cache")
    (source,) = [
        s for s in sources if s.row.box is not None and s.row.part == "val" and not s.labels
    ]
    large = np.zeros((4 * SIZE, 8 * SIZE, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "large.png"), large)
    box = (80.0, 40.0, 400.0, 200.0)
    source = replace(source, row=replace(source.row, box=box), photo=tmp_path / "large.png")
    write_packs([*sources, source], tmp_path / "packs")
    row = read_packs(tmp_path / "packs", CPU).cars.rows[-1]
    assert (row.width, row.height, row.box) == (384, 192, (40, 20, 200, 100))


def test_packs_have_limit(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    sources = list_sources(data, tmp_path / "cache")
    paths = write_packs(sources, tmp_path / "packs", limit=20_000)
    assert len(paths) > 3
    assert max(path.stat().st_size for path in paths) < 40_000
    packed = read_packs(tmp_path / "packs", CPU)
    rows = packed.annotated.rows + packed.empty.rows + packed.cars.rows + packed.damaged.rows
    assert [row.photo for row in rows] == [source.row.photo for source in sources]
    assert len(write_packs(sources, tmp_path / "packs")) == 1  # earlier packs are gone
    assert list((tmp_path / "packs").iterdir()) == [tmp_path / "packs" / "pack0.zip"]


def test_trial_reads_few_photos_of_each_part(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    write_packs(list_sources(data, tmp_path / "cache"), tmp_path / "packs")
    packed = read_packs(tmp_path / "packs", CPU, limit=2)
    assert [len(packed.annotated.of_part(part)) for part in ("train", "calibration", "val")] == [
        2, 1, 2
    ]  # fmt: skip
    assert len(packed.labels) == len(packed.annotated)


def test_folder_without_packs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no packs"):
        read_packs(tmp_path, CPU)


def test_imagenet_weights_are_beside_packs(tmp_path: Path) -> None:
    make_packs(write_data(tmp_path / "data"), tmp_path / "packs", tmp_path / "cache")
    for backbone in BACKBONES:
        one, other = (
            build_network("classifier", {"model_name": backbone, "num_classes": 3})
            for _ in range(2)
        )
        assert load_imagenet(one, backbone, tmp_path / "packs") > 200
        load_imagenet(other, backbone)  # from the wheel
        for name, value in other.state_dict().items():
            if not name.startswith("classifier"):
                assert np.allclose(one.state_dict()[name], value, rtol=1e-3, atol=1e-4), name
