"""Pages of worst cases: photo, truth and answer side by side. They hold photos of the data sets,
so they go only into folders that git ignores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES
from palette import PART_COLOURS
from training.answers import Answer, TypeAnswer, widen
from training.figures import figures_of
from training.parts_data import read_rgb
from training.parts_metrics import PartScores

Image = NDArray[np.uint8]

TILE = (240, 320)  # height, width
COLOURS = np.array([(127, 127, 127), *(PART_COLOURS[name] for name in PART_NAMES)], np.uint8)


def worst_parts(found: Sequence[Answer], out: Path, count: int = 12) -> None:
    """Write the photos with the lowest mean IoU: one row of three tiles each."""

    def score(answer: Answer) -> float:
        scores = PartScores()
        scores.add(answer.guess, answer.truth)
        return figures_of(scores.confusion)["miou"] if answer.truth.any() else 1.0

    rows = []
    for value, answer in sorted(((score(a), a) for a in found), key=lambda pair: pair[0])[:count]:
        rgb = widen(read_rgb(answer.photo), cv2.INTER_LINEAR)
        truth = np.minimum(answer.truth, len(COLOURS) - 1)  # 255 is ignored
        tiles = [
            tile(rgb, f"{answer.photo.name}: IoU {value:.2f}"),
            tile(_mixed(rgb, truth), "truth"),
            tile(_mixed(rgb, answer.guess), "answer"),
        ]
        rows.append(np.hstack(tiles))
    _write(rows, out)


def worst_types(found: Sequence[TypeAnswer], out: Path, count: int = 24) -> None:
    """Write the photos whose true type was given least: three tiles per row."""

    def chance(answer: TypeAnswer) -> float:
        return 0.0 if answer.scores is None else float(answer.scores[answer.label])

    cars = [answer for answer in found if answer.label < len(TYPE_NAMES)]
    wrong = sorted((a for a in cars if a.guess != a.label), key=chance)[:count]
    names = (*TYPE_NAMES, "no car")
    tiles = [
        tile(read_rgb(a.photo), f"{names[a.label]} {chance(a):.2f}, given {names[a.guess]}")
        for a in wrong
    ]
    tiles += [np.zeros((*TILE, 3), np.uint8)] * (-len(tiles) % 3)
    _write([np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)], out)


def tile(rgb: Image, caption: str) -> Image:
    """A picture fitted into a tile, with a caption on its lower edge."""
    scale = min(TILE[0] / rgb.shape[0], TILE[1] / rgb.shape[1])
    height, width = max(1, int(rgb.shape[0] * scale)), max(1, int(rgb.shape[1] * scale))
    canvas = np.zeros((*TILE, 3), np.uint8)
    canvas[:height, :width] = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    canvas[TILE[0] - 20 :] = 0
    place, font = (4, TILE[0] - 6), cv2.FONT_HERSHEY_SIMPLEX
    return cv2.putText(canvas, caption, place, font, 0.4, (255, 255, 255), 1).astype(np.uint8)


def _mixed(rgb: Image, labels: Image) -> Image:
    shown = np.where(labels[..., None] > 0, COLOURS[labels] * 0.65 + rgb * 0.35, rgb)
    return shown.astype(np.uint8)


def _write(rows: list[Image], out: Path) -> None:
    """Write tiles as a JPEG; an old one goes where there is nothing to show."""
    out.unlink(missing_ok=True)
    if rows:
        out.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
