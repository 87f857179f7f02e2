"""Second stage: a photo -> one mask per car part.

The parts are disjoint, so all masks together are one label map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from enlarge import enlarged_labels, parts_in, parts_left
from letterbox import Letterbox, fit_area
from model_files import MODELS, ModelDescription, normalise, read_description
from part_layout import Box, softmax
from runtimes import Choice, choose

PART_NAMES = (
    "back_bumper",
    "back_glass",
    "back_left_door",
    "back_left_light",
    "back_right_door",
    "back_right_light",
    "front_bumper",
    "front_glass",
    "front_left_door",
    "front_left_light",
    "front_right_door",
    "front_right_light",
    "hood",
    "left_mirror",
    "right_mirror",
    "tailgate",
    "trunk",
    "wheel",
)


EDGE = 1e-4  # calibration keeps confidences so far from 0 and 1, which have no logit


@dataclass(frozen=True)
class Cells:
    """The parts of one car at the network's resolution, over the whole photo.

    Attributes:
        logits: (labels, h, w).
        labels: (h, w) uint8: 0 background, i the part PART_NAMES[i - 1].
        probabilities: (labels, h, w).
        confidences: how sure each label that is present is, 0 to 1, see `_confidences`; {} where
            there is no car.
    """

    logits: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32] = field(repr=False)
    confidences: dict[int, float]

    def box(self, height: int, width: int) -> Box:
        """x0, y0, x1, y1 around all parts, in pixels of a copy of the photo of that size."""
        down, across = height / self.labels.shape[0], width / self.labels.shape[1]
        x, y, wide, high = cv2.boundingRect(self.labels)
        return x * across, y * down, (x + wide) * across, (y + high) * down


@dataclass(frozen=True)
class Segmentation:
    """The parts of one car.

    Attributes:
        labels: (H, W) uint8 at the photo's size: 0 background, i the part PART_NAMES[i - 1].
        confidences: how sure each part that is present is, 0 to 1, calibrated.
    """

    labels: NDArray[np.uint8]
    confidences: dict[str, float]


class PartSegmenter:
    """The part network and all that is between its logits and masks.

    Left and right are the car's own sides. Loaded once; safe to call from several threads.

    Raises:
        ModelError: if the model's files can't be used.

    Example:
        >>> segmentation = PartSegmenter()(np.full((120, 160, 3), 127, np.uint8))
        >>> segmentation.labels.shape, segmentation.confidences
        ((120, 160), {})
    """

    def __init__(
        self,
        description: ModelDescription | None = None,
        folder: Path = MODELS,
        runtime: Choice | None = None,
    ) -> None:
        self.description = description or read_description("parts", folder)
        self._network = (runtime or choose()).load(self.description, folder)

    def __call__(self, rgb: NDArray[np.uint8], size: tuple[int, int] | None = None) -> Segmentation:
        """Find the parts in a photo.

        Args:
            rgb: (h, w, 3) uint8, upright: the photo, or a smaller copy of all of it.
            size: (height, width) of the photo and so of the labels, None for that of `rgb`.
        """
        return self.enlarge(self.cells(rgb), *(size or rgb.shape[:2]))

    def cells(self, rgb: NDArray[np.uint8]) -> Cells:
        """Find the parts at the network's resolution, which is most of the work; see `__call__`."""
        logits = self.logits(rgb)
        thresholds = self.description.thresholds
        labels = _without_islands(_best_labels(logits), thresholds["island"])
        probabilities = softmax(logits)
        car = np.count_nonzero(labels) / labels.size
        confidences = _confidences(probabilities, labels) if car >= thresholds["car_area"] else {}
        return Cells(logits, labels, probabilities, confidences)

    def enlarge(self, cells: Cells, height: int, width: int) -> Segmentation:
        """The parts at the size of the photo."""
        if not cells.confidences:
            return Segmentation(np.zeros((height, width), np.uint8), {})
        labels = enlarged_labels(cells.logits, cells.labels, height, width)
        thresholds = self.description.thresholds
        sure = {
            PART_NAMES[label - 1]: _calibrated(cells.confidences[label], thresholds)
            for label in parts_left(labels, cells.confidences)
        }
        return Segmentation(labels, sure)

    def logits(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (labels, h, w) that cover the photo exactly, at the network's resolution."""
        fields = self.description.input
        placed = fit_area(rgb, fields["area"], fields["multiple"])
        (output,) = self._network(normalise(placed.pixels, self.description))
        return _cover(output, placed)


def _cover(output: NDArray[np.float32], placed: Letterbox) -> NDArray[np.float32]:
    """Cut the padding off an output (labels, h, w) so that it covers the photo, no more.

    The photo may end within a cell; the output is then sampled so that it ends there too.
    """
    stride = placed.pixels.shape[0] / output.shape[1]
    cells_h, cells_w = placed.height / stride, placed.width / stride
    whole_h, whole_w = max(1, round(cells_h)), max(1, round(cells_w))
    if (cells_h, cells_w) == (whole_h, whole_w):
        return output[:, :whole_h, :whole_w]
    ys = (np.arange(whole_h) + 0.5) * cells_h / whole_h - 0.5
    xs = (np.arange(whole_w) + 0.5) * cells_w / whole_w - 0.5
    map_x, map_y = np.meshgrid(xs.astype(np.float32), ys.astype(np.float32))
    return np.stack(
        [
            cv2.remap(channel, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for channel in output
        ]
    ).astype(np.float32)


def _best_labels(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`logits.argmax(0)`, (labels, h, w) -> (h, w), in a fifth of its time: map by map."""
    best = logits.max(0)
    labels = np.zeros(best.shape, np.uint8)
    for label in range(len(logits) - 1, -1, -1):  # the first of equal ones stays
        labels[logits[label] == best] = label
    return labels


def _without_islands(coarse: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Turn pieces of a part smaller than `share` of its largest piece into background."""
    cleaned = coarse.copy()
    for label in parts_in(coarse):
        mask = (coarse == label).view(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        window = slice(y, y + height), slice(x, x + width)
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask[window], connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        for piece in range(1, count):
            if areas[piece - 1] < share * areas.max():
                cleaned[window][pieces == piece] = 0
    return cleaned


def _confidences(probabilities: NDArray[np.float32], coarse: NDArray[np.uint8]) -> dict[int, float]:
    """Expected IoU of each label's mask with the truth, if the probabilities are true.

    Of the n cells of a mask, `inside` are expected to be right; `outside` more are expected to
    be missed, which makes inside / (n + outside), the ratio of the expected overlap and union.
    Photos ranked by it give a higher AP than by the mean probability (training/EXPERIMENTS.md).
    """
    confidences = {}
    for label in parts_in(coarse):
        held = coarse == label
        inside = float(probabilities[label][held].sum())
        outside = float(probabilities[label].sum()) - inside
        confidences[label] = float(inside / (np.count_nonzero(held) + outside))
    return confidences


def _calibrated(confidence: float, thresholds: dict[str, float]) -> float:
    """The share of parts with this confidence that are right, by the model's description.

    Platt scaling (1999) on the logit, fitted by `training/calibrate.py`; it changes no order.
    """
    p = min(max(confidence, EDGE), 1 - EDGE)
    slope = thresholds.get("confidence_slope", 1.0)
    offset = thresholds.get("confidence_offset", 0.0)
    return 1 / (1 + math.exp(-(slope * math.log(p / (1 - p)) + offset)))
