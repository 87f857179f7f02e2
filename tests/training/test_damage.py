"""Test the photos of damage, the batches and figures of the damage network, and its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.tiny import DAMAGE, SIZE, write_data
from training.damage_answers import DamageAnswer, Shown
from training.damage_data import list_damaged, may_have_damage
from training.damage_rows import damage_rows, damage_verdicts
from training.damage_training import (
    DamageBatches,
    check_damage,
    f1,
    presence_figures,
)
from training.fit import seeded
from training.pack import list_sources, write_packs
from training.photos import TrainingData, read_packs
from training.precision import CPU
from training.undamaged import undamaged
from training.weights import DAMAGE as OPTIONS
from vision.labels import DAMAGE_KINDS
from vision.networks import build_network


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("damage")
    data = write_data(folder / "data")
    write_packs(list_sources(data, folder / "cache"), folder / "packs")
    return read_packs(folder / "packs", CPU)


def test_cases_are_split_whole(tmp_path: Path) -> None:
    photos = list_damaged(write_data(tmp_path))
    assert [photo.part for photo in photos] == ["train", "train", "val", "calibration"]
    assert len({photo.key for photo in photos}) == 4
    assert list_damaged(tmp_path / "nothing") == []


def test_smaller_damage_covers_larger(tmp_path: Path) -> None:
    photo = list_damaged(write_data(tmp_path))[1]
    assert photo.kinds == ("scratch", "airbag")
    labels = photo.labels()
    (x0, y0, x1, y1), (u0, v0, u1, v1) = DAMAGE[1], DAMAGE[8]
    assert labels.shape == (SIZE, SIZE)
    assert (labels[y0:y1, x0:x1] == 1).all()
    # cv2 draws the pixels on the outline, too.
    assert (labels == 1).sum() == (x1 - x0 + 1) * (y1 - y0 + 1)
    assert (labels > 0).sum() == (u1 - u0 + 1) * (v1 - v0 + 1)
    assert photo.mask("airbag")[y0:y1, x0:x1].all()
    assert not photo.mask("dent").any()


def test_packs_keep_kinds_and_labels(packed: TrainingData) -> None:
    photos = packed.damaged
    assert [len(photos.of_part(part)) for part in ("train", "calibration", "val")] == [2, 1, 1]
    assert photos.rows[1].damage == ("scratch", "airbag")
    assert set(packed.damage[1].flatten().tolist()) == {0, 1, 8}
    assert packed.damage.shape[0] == len(photos)


def test_photos_of_sellers_are_no_undamaged_ones(packed: TrainingData) -> None:
    assert may_have_damage("street/lensor_0001.webp")
    assert not may_have_damage("street/thumbs_0001.webp")
    sources = [packed.cars.rows[index].source for index in undamaged(packed.cars, "train").tolist()]
    assert set(sources) == {"car_types", "car_types_in_context", "street"}


def test_batch_has_damage_and_undamaged_cars(packed: TrainingData) -> None:
    batch = DamageBatches(packed, 8).draw(seeded(0, 0))
    assert batch.x.shape == (8, 3, 384, 512)
    assert batch.labels.shape == (8, 192, 256)
    damaged = (batch.labels > 0).flatten(1).any(1)
    assert not damaged[6:].any()
    assert damaged[:6].float().mean() > 0.5


def test_untrained_network_has_figures(packed: TrainingData) -> None:
    torch.manual_seed(0)
    network = build_network("pyramid", OPTIONS).eval()
    figures = check_damage(packed, network, 3)
    assert figures.keys() >= {
        "damage_macro_f1", "damage_any_f1", "damage_iou", "undamaged_damaged", "damage_f1_scratch"
    }  # fmt: skip
    assert all(0 <= value <= 1 for value in figures.values())


def test_f1_of_photos() -> None:
    given, true = np.array([True, True, False]), np.array([True, False, True])
    assert f1(given, true) == 0.5
    assert f1(given, true, np.array([1.0, 0.0, 1.0])) == pytest.approx(2 / 3)
    assert f1(~true & ~true & ~given, np.zeros(3, np.bool_)) == 0


def test_presence_leaves_out_kinds_without_photos() -> None:
    true = np.zeros((2, len(DAMAGE_KINDS)), np.bool_)
    true[0, 1] = True
    figures = presence_figures(true, true)
    assert figures == {"damage_f1_dent": 1, "damage_macro_f1": 1, "damage_any_f1": 1}


def answers() -> list[DamageAnswer]:
    """Return a photo of a dent that is found with a wrong scratch, and two undamaged ones."""
    dent, scratch = Shown("dent", 0.9, right=True), Shown("scratch", 0.4, right=False)
    return [
        DamageAnswer("case 1", frozenset({"dent"}), [dent, scratch], overlap=30, union=60),
        DamageAnswer("case 2", frozenset({"dent"}), [], overlap=0, union=40),
        DamageAnswer("cars a", frozenset(), [scratch]),
        DamageAnswer("cars b", frozenset(), []),
    ]


def test_rows_of_damage() -> None:
    rows = damage_rows(answers(), 5)
    figures = {row.name: row.estimate.value for row in rows.rows}
    assert figures["damage_iou"] == pytest.approx(0.3)
    assert figures["damage_right"] == 0.5
    assert figures["undamaged_damaged"] == 0.5
    assert figures["damage_macro_f1"] == pytest.approx(2 / 3)
    # One of two is found, and a wrong photo counts as 0.8.
    assert figures["damage_any_f1"] == pytest.approx(2 / (2 + 0.8 + 1))
    assert rows.details["damage_f1_dent"] == pytest.approx(2 / 3)
    assert all(row.estimate.low <= row.estimate.high for row in rows.rows)


def test_rows_need_photos_of_damage() -> None:
    assert damage_rows(answers()[2:], 5).rows == []


def test_verdicts_of_one_case_share_number() -> None:
    verdicts = damage_verdicts(answers()[:2])
    assert verdicts.confidence.tolist() == [0.9, 0.4]
    assert verdicts.right.tolist() == [True, False]
    assert verdicts.photo.tolist() == [0, 0]
