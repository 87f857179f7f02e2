"""Draw pages of worst cases: photo, truth and answer side by side.

The pages show photos of the data sets, so write them only into folders that git ignores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from exports.palette import PART_COLOURS
from img_to_segments import PART_NAMES
from training.answers import Answer, PartsAnswer
from training.figures import figures_of
from training.parts_metrics import PartScores

Image = NDArray[np.uint8]

TILE = (240, 320)  # height, width
COLOURS = np.array([(127, 127, 127), *(PART_COLOURS[name] for name in PART_NAMES)], np.uint8)


def worst_parts(found: Sequence[PartsAnswer], out: Path, count: int = 12) -> None:
    """Write the photos with the lowest mean IoU, each as one row of three tiles."""

    def score(answer: PartsAnswer) -> float:
        scores = PartScores()
        scores.add(answer.guess, answer.truth, answer.photo.missing)
        return figures_of(scores.confusion)["miou"] if answer.truth.any() else 1.0

    rows = []
    for value, answer in sorted(((score(a), a) for a in found), key=lambda pair: pair[0])[:count]:
        rgb = answer.photo.pixels()
        truth = np.minimum(answer.truth, len(COLOURS) - 1)  # 255 is ignored
        tiles = [
            tile(rgb, f"{answer.photo.path.name}: IoU {value:.2f}"),
            tile(_mixed(rgb, truth), "truth"),
            tile(_mixed(rgb, answer.guess), "answer"),
        ]
        rows.append(np.hstack(tiles))
    _write(rows, out)


def worst_types(found: Sequence[Answer], out: Path, count: int = 24) -> None:
    """Write the photos with the least probability of their true type, three tiles per row."""

    def chance(answer: Answer) -> float:
        return 0.0 if answer.scores is None else answer.scores[str(answer.photo.type)]

    cars = [answer for answer in found if answer.photo.type is not None]
    wrong = sorted((a for a in cars if a.type != a.photo.type), key=chance)[:count]
    tiles = [
        tile(a.photo.pixels(), f"{a.photo.type} {chance(a):.2f}, given {a.type or 'none'}")
        for a in wrong
    ]
    tiles += [np.zeros((*TILE, 3), np.uint8)] * (-len(tiles) % 3)
    _write([np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)], out)


def tile(rgb: Image, caption: str) -> Image:
    """Fit a picture into a tile, with a caption on its lower edge."""
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
    """Write tiles as a JPEG; without tiles delete the old JPEG."""
    out.unlink(missing_ok=True)
    if rows:
        out.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
