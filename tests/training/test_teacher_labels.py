"""Test the labels that the part network in `models/` gives as a teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from img_to_segments import PartSegmenter
from tests.support.pictures import SAMPLE
from training.pack import Row, Source, write_packs
from training.photos import PhotoSet, TrainingData, read_packs
from training.precision import CPU
from training.soft_maps import SoftMaps
from training.teacher_labels import (
    SoftLabels,
    Teachers,
    apply_facts,
    find_street_cars,
    ignore_missing,
    label_photos,
)
from training.weights import CLASSES, PARTS, load_network
from vision.labels import BACK_DOORS, PART_NAMES, TAILGATE, TRUNK, label_of
from vision.model_files import MODELS

HOOD = label_of("hood")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return load_network("pyramid", PARTS, MODELS / "parts.safetensors", CPU)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """The sample as a photo of each part of the split, and photos without a car."""
    folder = tmp_path_factory.mktemp("data")
    grey = np.full((90, 120, 3), 127, np.uint8)
    cv2.imwrite(str(folder / "grey.png"), grey)
    cv2.imwrite(str(folder / "none.png"), np.zeros((90, 120), np.uint8))
    car = Row("car", "car", "train", "street", type="sedan", doors=4)
    sources = [
        Source(car, SAMPLE),
        Source(replace(car, photo="val", part="val"), SAMPLE),
        Source(Row("grey", "car", "train", "street"), folder / "grey.png"),
        Source(Row("empty", "empty", "train", "not_cars"), folder / "grey.png"),
        Source(
            Row("hood", "annotated", "train", "own", labels="labels", missing=("hood",)),
            SAMPLE,
            folder / "none.png",
        ),
    ]
    write_packs(sources, folder / "packs")
    return read_packs(folder / "packs", CPU)


def labelled(photos: PhotoSet, network: nn.Module, folder: Path, name: str = "x") -> SoftLabels:
    with torch.no_grad():
        return label_photos(photos, Teachers([network], [name]), folder, 2)


def test_car_is_labelled(data: TrainingData, network: nn.Module, tmp_path: Path) -> None:
    soft = labelled(data.cars, network, tmp_path)
    assert soft.usable().tolist() == [True, False, False]
    maps = soft.maps.read(np.array([0])).view(CLASSES, soft.side, soft.side)
    found = maps.argmax(0).numpy()
    photo = cv2.imread(str(SAMPLE))
    assert photo is not None
    rgb = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB).astype(np.uint8)
    seen = PartSegmenter()(rgb).labels
    row = data.cars.rows[0]
    size = (row.width // 4, row.height // 4)
    expected = cv2.resize(seen, size, interpolation=cv2.INTER_NEAREST)
    same = found[: size[1], : size[0]] == expected
    assert same[expected > 0].mean() > 0.85
    x0, y0, x1, y1 = soft.found.boxes[0]
    ys, xs = np.nonzero(expected)
    np.testing.assert_allclose(
        (x0, y0, x1, y1), np.array([xs.min(), ys.min(), xs.max(), ys.max()]) * 4, atol=16
    )


def test_validation_photos_are_never_labelled(
    data: TrainingData, network: nn.Module, tmp_path: Path
) -> None:
    soft = labelled(data.cars, network, tmp_path)
    assert not soft.maps.read(np.array([1])).any()
    assert soft.found.area[1] == 0


def test_cut_off_labelling_goes_on(data: TrainingData, network: nn.Module, tmp_path: Path) -> None:
    first = labelled(data.cars, network, tmp_path)

    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("all photos are labelled already")

    again = labelled(data.cars, Failing(), tmp_path)
    np.testing.assert_array_equal(again.found.boxes, first.found.boxes)
    assert torch.equal(again.maps.read(np.array([0])), first.maps.read(np.array([0])))
    with pytest.raises(AssertionError, match="labelled already"):
        labelled(data.cars, Failing(), tmp_path, "another teacher")


def test_street_cars_are_found(data: TrainingData, network: nn.Module, tmp_path: Path) -> None:
    soft = labelled(data.cars, network, tmp_path)
    with torch.no_grad():
        found = find_street_cars(data.cars, "val", network, 2)
    assert found.boxes[0].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(found.boxes[1], soft.found.boxes[0], atol=8)


def test_missing_annotations_are_ignored(data: TrainingData, network: nn.Module) -> None:
    with torch.no_grad():
        labels = ignore_missing(data, [network], 2)
    assert not data.labels.any()
    assert set(np.unique(labels.numpy()).tolist()) == {0, 255}
    share = (labels == 255).float().mean().item()
    assert 0.001 < share < 0.2  # the hood and the wheels


def facts(**known: object) -> PhotoSet:
    row = Row("x", "car", "train", "street", **known)  # type: ignore[arg-type]
    return PhotoSet([row], [b""], 384, CPU)


def chances(**parts: float) -> Tensor:
    out = torch.zeros(1, CLASSES, 1, 1)
    for name, value in parts.items():
        out[0, label_of(name)] = value
    out[0, 0] = 1 - sum(parts.values())
    return out


@pytest.mark.parametrize(
    ("car_type", "right", "wrong"), [("sedan", TRUNK, TAILGATE), ("suv", TAILGATE, TRUNK)]
)
def test_type_names_lid(car_type: str, right: int, wrong: int) -> None:
    out = apply_facts(chances(tailgate=0.6, trunk=0.3), facts(type=car_type), np.array([0]))
    assert out[0, right].item() == pytest.approx(0.9)
    assert out[0, wrong].item() == 0


def test_lids_of_pickups_teach_nothing() -> None:
    out = apply_facts(chances(tailgate=0.6, trunk=0.3), facts(type="pickup"), np.array([0]))
    assert out.max().item() == pytest.approx(1 / CLASSES)


def test_two_door_cars_have_no_back_door() -> None:
    given = chances(back_left_door=0.7, front_left_door=0.2)
    out = apply_facts(given, facts(doors=2), np.array([0]))
    assert out[0, BACK_DOORS[0]].item() == 0
    panel = "left_quarter_panel"
    instead = label_of(panel) if panel in PART_NAMES else 0
    assert out[0, instead].item() == pytest.approx(given[0, instead].item() + 0.7)
    assert torch.equal(apply_facts(given, facts(doors=4), np.array([0])), given)


def test_soft_maps_keep_likely_labels(tmp_path: Path) -> None:
    given = torch.tensor([0.5, 0.3, 0.1, 0.06, 0.04])[None, :, None].repeat(2, 1, 3)
    SoftMaps(tmp_path, 4, 3, 5, CPU).write(np.array([1, 3]), given)
    maps = SoftMaps(tmp_path, 4, 3, 5, CPU)  # what is there is kept
    read = maps.read(np.array([3, 0]))
    torch.testing.assert_close(read[0, :4], given[0, :4], atol=0.003, rtol=0)
    assert not read[0, 4].any()
    assert not read[1].any()
