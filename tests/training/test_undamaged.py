"""Test the choice of undamaged cars: those in which a network sees damage more often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.tiny import write_data
from training.damage_training import DamageBatches, further_damage_step
from training.fit import seeded
from training.pack import list_sources, write_packs
from training.photos import TrainingData, read_packs
from training.precision import CPU
from training.undamaged import MinedCars, mine
from training.weights import DAMAGE
from vision.networks import build_network


class SeesScratches(nn.Module):
    """A damage network that sees a scratch in the first cells of all photos, and counts photos.

    Args:
        cells: their number.
        last: batch after which it fails.
    """

    def __init__(self, cells: int, last: int = 1000) -> None:
        super().__init__()
        self.cells, self.last, self.batches = cells, last, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.batches == self.last:
            raise KeyboardInterrupt
        self.batches += 1
        logits = torch.zeros(len(x), DAMAGE["classes"], 96 * 128)
        logits[:, 0] = 1
        logits[:, 1, : self.cells] = 2
        return logits.view(len(x), -1, 96, 128)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Return small data, with one photo for training by a seller."""
    folder = tmp_path_factory.mktemp("undamaged")
    data = write_data(folder / "data")
    street = data / "street"
    (street / "images" / "street_0.webp").rename(street / "images" / "lensor_0.webp")
    labels = (street / "labels.csv").read_text(encoding="utf-8")
    labels = labels.replace("street_0.webp", "lensor_0.webp")
    (street / "labels.csv").write_text(labels, encoding="utf-8")
    write_packs(list_sources(data, folder / "cache"), folder / "packs")
    return read_packs(folder / "packs", CPU)


def names_of(mined: MinedCars) -> set[str]:
    sets = mined.data.annotated, mined.data.cars
    return {sets[kind].rows[index].photo for kind, index in mined.rows.tolist()}


def test_mining_looks_at_undamaged_photos_for_training(
    packed: TrainingData, tmp_path: Path
) -> None:
    mined = mine(packed, SeesScratches(7), "network", tmp_path, 2)
    sets = packed.annotated, packed.cars
    rows = [sets[kind].rows[index] for kind, index in mined.rows.tolist()]
    assert {row.part for row in rows} == {"train"}
    assert {row.source for row in rows} == {
        "car_parts", "car_types", "car_types_in_context", "street"
    }  # fmt: skip
    held = [row for photos in sets for row in photos.rows if row.part != "train"]
    assert {row.part for row in held} == {"calibration", "val"}
    assert not names_of(mined) & {row.photo for row in held}
    assert not any("lensor_" in name or "damage" in name for name in names_of(mined))
    wanted = sum(row.part == "train" for row in packed.annotated.rows)
    assert (mined.rows[:, 0] == 0).sum() == wanted
    assert mined.cells.tolist() == [7] * len(rows)


def test_mining_goes_on_after_stop(packed: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        mine(packed, SeesScratches(7, last=2), "network", tmp_path, 1)
    rest = SeesScratches(9)
    mined = mine(packed, rest, "network", tmp_path, 1)
    assert mined.cells.tolist() == [7, 7] + [9] * (len(mined) - 2)
    assert rest.batches == len(mined) - 2
    again = mine(packed, SeesScratches(1, last=0), "network", tmp_path, 1)
    assert (again.cells == mined.cells).all()
    other = mine(packed, SeesScratches(1), "another network", tmp_path, 1)
    assert set(other.cells.tolist()) == {1}


def test_hard_photos_are_drawn_more_often(packed: TrainingData) -> None:
    rows = np.array([(0, 0), (1, 0), (1, 1)])
    mined = MinedCars(packed, rows, np.array([0, 30, 400]))
    assert mined.chances().tolist() == pytest.approx([0.05 / 1.65, 0.55 / 1.65, 1.05 / 1.65])
    drawn = mined.draw(3000, np.random.default_rng(0))
    counts = {photos is packed.cars: np.bincount(held) for photos, held, _ in drawn}
    assert counts[False].sum() + counts[True].sum() == 3000
    # Two thirds as above, and one third by chance.
    assert counts[True][1] / 3000 == pytest.approx((2 * 1.05 / 1.65 + 1 / 3) / 3, abs=0.03)
    assert counts[False][0] / 3000 == pytest.approx((2 * 0.05 / 1.65 + 1 / 3) / 3, abs=0.03)


def test_batch_has_three_mined_photos_of_eight(packed: TrainingData, tmp_path: Path) -> None:
    mined = mine(packed, SeesScratches(7), "network", tmp_path, 4)
    batch = DamageBatches(packed, 8, mined).draw(seeded(0, 0))
    assert batch.x.shape == (8, 3, 384, 512)
    damaged = (batch.labels > 0).flatten(1).any(1)
    assert not damaged[5:].any()
    assert damaged[:5].float().mean() > 0.5


def test_further_training_keeps_statistics(packed: TrainingData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network("pyramid", DAMAGE).train()
    mined = mine(packed, SeesScratches(7), "network", tmp_path, 4)
    before = {name: value.clone() for name, value in network.named_buffers()}
    step = further_damage_step(DamageBatches(packed, 2, mined))
    loss, samples = step(network, seeded(0, 0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert samples == 2
    assert loss.item() > 0
    for name, value in network.named_buffers():
        assert torch.equal(value, before[name]), name
    assert any(each.grad is not None and each.grad.any() for each in network.parameters())
