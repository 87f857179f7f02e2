"""Test that layouts in training are those of the service, turned and mirrored rightly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from car_classification import with_margin
from tests.support.pictures import SAMPLE
from training.layout_training import LayoutBatches, box_warps, grids, layout_logits
from training.layouts import CELLS, Layouts, find_parts, see_layouts
from training.pack import Row, Source, write_packs
from training.photos import read_packs
from training.precision import CPU
from training.soft_maps import SoftMaps
from training.types_photos import UNKNOWN
from training.weights import (
    BASIC_CLASSES,
    LAYOUT_SIZE,
    MARGIN,
    TURNS,
    load_network,
)
from vision.labels import label_of
from vision.model_files import MODELS, read_description
from vision.part_layout import place_label_map, placement

HOOD = label_of("hood")


def drawn(boxes: NDArray[np.int64], tall: NDArray[np.bool_], folder: Path) -> Layouts:
    """Return layouts of one hood each, in boxes (n, 4) of cells."""
    count = len(boxes)
    maps = SoftMaps(folder, count, CELLS, BASIC_CLASSES, CPU)
    for number, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        plain = np.zeros(
            (1, BASIC_CLASSES, *((128, 96) if tall[number] else (96, 128))), np.float32
        )
        plain[:, 0] = 1
        plain[:, 0, y0:y1, x0:x1], plain[:, HOOD, y0:y1, x0:x1] = 0.2, 0.8
        maps.write(np.array([number]), torch.from_numpy(plain))
    return Layouts(
        maps,
        tall,
        boxes.astype(np.float64),
        np.full(count, 3),
        np.zeros(count, np.int64),
        np.full(count, 4),
        np.full(count, "car_types"),
        np.full(count, "train"),
    )


def test_grids_are_those_of_service(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 50, (12, 2))
    boxes = np.concatenate([first, first + rng.integers(8, 40, (12, 2))], 1)
    tall = np.arange(12) % 2 == 0
    layouts = drawn(boxes, tall, tmp_path)
    given = grids(layouts, np.arange(12), box_warps(layouts.boxes)).numpy()
    for number, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        shape = (128, 96) if tall[number] else (96, 128)
        cells = layouts.maps.read(np.array([number]))[0].view(-1, *shape).numpy()
        box = with_margin((float(x0), float(y0), float(x1), float(y1)), MARGIN)
        expected = place_label_map(cells, placement(box, LAYOUT_SIZE), LAYOUT_SIZE)
        np.testing.assert_allclose(given[number], expected, atol=0.02)


def test_box_without_islands() -> None:
    labels = np.zeros((96, 128), np.uint8)
    labels[20:60, 30:70] = HOOD
    labels[90:92, 120:122] = HOOD
    labels[60:70, 40:50] = 3
    assert find_parts(labels) == (30, 20, 70, 70, 2)
    assert find_parts(np.zeros((96, 128), np.uint8))[4] == 0


class FewerLabels(nn.Module):
    """A network of `models/`, which may have fewer labels than there are names of parts."""

    def __init__(self, network: nn.Module, labels: int) -> None:
        super().__init__()
        self.network, self.labels = network, labels

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x[:, : self.labels])
        return logits


def network_of(name: str) -> nn.Module:
    description = read_description(name)
    file = MODELS / description.weights
    network = load_network(description.architecture, description.options, file, CPU)
    return FewerLabels(network, description.options.get("labels", 3))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Layouts:
    """The sample in four turns, as the part network in `models/` sees it."""
    folder = tmp_path_factory.mktemp("layouts")
    cv2.imwrite(str(folder / "none.png"), np.zeros((90, 120), np.uint8))
    car = Row("car", "car", "train", "car_types", type="hatchback", doors=4)
    sources = [
        Source(car, SAMPLE),
        Source(Row("empty", "empty", "train", "not_cars"), folder / "none.png"),
        Source(
            Row("a", "annotated", "calibration", "car_parts", labels="labels"),
            SAMPLE,
            folder / "none.png",
        ),
    ]
    write_packs(sources, folder / "packs")
    data = read_packs(folder / "packs", CPU)
    network = network_of("parts")
    first = see_layouts(data, network, "x", folder / "layouts", 2)
    network.forward = None  # type: ignore[assignment]
    again = see_layouts(data, network, "x", folder / "layouts", 2)  # nothing is seen again
    np.testing.assert_array_equal(first.boxes, again.boxes)
    return again


def test_turned_photos(seen: Layouts) -> None:
    """The hood is on the other side of the car when the photo is upside down."""
    assert len(seen) == TURNS  # calibration photos are left out
    assert seen.turns.tolist() == [0, 1, 2, 3]
    assert (seen.parts > 3).all()
    middles = []
    for number in range(TURNS):
        height, width = (128, 96) if seen.tall[number] else (96, 128)
        hood = seen.maps.read(np.array([number]))[0, HOOD].view(height, width).numpy() > 0.5
        ys, xs = np.nonzero(hood)
        x0, y0, x1, y1 = seen.boxes[number]
        middles.append(((xs.mean() - (x0 + x1) / 2) / 40, (ys.mean() - (y0 + y1) / 2) / 40))
    for turn in range(1, TURNS):
        (x, y), (before_x, before_y) = middles[turn], middles[turn - 1]
        assert (x, y) == pytest.approx((-before_y, before_x), abs=0.15)  # clockwise


def test_layout_network_agrees(seen: Layouts) -> None:
    network = network_of("shapes")
    logits = layout_logits(seen, np.arange(TURNS), network, 2)
    assert logits[:, -TURNS:].argmax(1).tolist() == [0, 1, 2, 3]


def test_mirrored_turns_are_other_way(seen: Layouts) -> None:
    """The network in `models/` tells the turn of changed layouts, mirrored ones too."""
    network = network_of("shapes")
    torch.manual_seed(0)
    x, types, turns, weights = LayoutBatches(seen, 128).draw(np.random.default_rng(0))
    assert x.shape == (128, BASIC_CLASSES, *LAYOUT_SIZE)
    assert types.tolist() == [2] * 64
    assert set(turns[64:].tolist()) == {0, 1, 2, 3}
    assert (weights > 0).all()
    torch.testing.assert_close(x.sum(1), torch.ones(128, *LAYOUT_SIZE), atol=1e-3, rtol=0)
    with torch.no_grad():
        told = network(x)[:, -TURNS:].argmax(1)
    assert (told == turns).float().mean() > 0.9


def test_no_car_of_known_type_is_refused(tmp_path: Path) -> None:
    layouts = drawn(np.array([[10, 10, 40, 40]]), np.array([False]), tmp_path)
    layouts.types[:] = UNKNOWN
    with pytest.raises(ValueError, match="known type"):
        LayoutBatches(layouts, 4)
