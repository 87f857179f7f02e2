"""Segment a photo into car parts.

The parts are disjoint, so one label map holds all their masks. The lid, trunk or tailgate, is one
part here, labelled as the tailgate. Later the type of the car names it (`vision.part_rules`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.car_groups import largest_car
from vision.labels import BASIC_PARTS, PART_NAMES, SIDES, TAILGATE, TRUNK, name_of
from vision.letterbox import Letterbox, fit_area
from vision.model_files import MODELS, ModelDescription, normalise
from vision.part_layout import Box, softmax
from vision.runtimes.choose import RuntimeConfig, choose
from vision.upsample import labels_in, labels_remaining, upsample_labels

__all__ = ["PART_NAMES", "CoarseSegmentation", "PartSegmenter", "Segmentation"]

UNSURE_SIDE = 0.02  # a cell may be of either side above these probabilities of both
CONFIDENCE_CLIP = 1e-4  # calibration clips confidences this far from 0 and 1, which have no logit


@dataclass(frozen=True)
class CoarseSegmentation:
    """The parts of one car at the network's resolution, over the whole photo.

    Attributes:
        logits: (labels, h, w), trunk and tailgate combined as the tailgate.
        labels: (h, w) uint8: 0 background, i the part name_of(i); the lid is the tailgate.
        probabilities: (labels, h, w) of the network itself, trunk and tailgate separate.
        confidences: calibrated confidence of each label that is present, 0 to 1; {} if there are
            no parts.
        other_cars: True if other cars of similar size are in the photo.
    """

    logits: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32] = field(repr=False)
    confidences: dict[int, float]
    other_cars: bool = False

    @property
    def trunk_share(self) -> float:
        """Return the share of the lid that the part network labels as a trunk, 0 to 1."""
        lid = self.labels == TAILGATE
        trunk, tailgate = (float(self.probabilities[n][lid].sum()) for n in (TRUNK, TAILGATE))
        return trunk / (trunk + tailgate) if trunk + tailgate > 0 else 0.0

    @property
    def area(self) -> float:
        """Return the share of the photo that the parts cover, 0 to 1."""
        return np.count_nonzero(self.labels) / self.labels.size

    @cached_property
    def basic(self) -> CoarseSegmentation:
        """Return a copy in which the body panels are background.

        The type networks are trained on such maps, and the limits for close-ups and photos without
        a car are measured on them.
        """
        count = 1 + len(BASIC_PARTS)
        if len(self.probabilities) <= count:  # the network has no panels
            return self
        probabilities = self.probabilities[:count].copy()
        probabilities[0] += self.probabilities[count:].sum(0)
        return replace(
            self,
            logits=self.logits[:count],
            labels=np.where(self.labels < count, self.labels, 0).astype(np.uint8),
            probabilities=probabilities,
            confidences={i: value for i, value in self.confidences.items() if i < count},
        )

    def turned(self, quarters: int) -> CoarseSegmentation:
        """Return a copy turned counterclockwise by a number of quarter turns."""
        return replace(
            self,
            logits=np.rot90(self.logits, quarters, (1, 2)),
            labels=np.ascontiguousarray(np.rot90(self.labels, quarters)),
            probabilities=np.rot90(self.probabilities, quarters, (1, 2)),
        )

    def box(self, height: int, width: int) -> Box:
        """Return the box x0, y0, x1, y1 around all parts, in pixels.

        Args:
            height: of the photo, or of a scaled copy, in pixels.
            width: of the same photo or copy, in pixels.
        """
        down, across = height / self.labels.shape[0], width / self.labels.shape[1]
        x, y, wide, high = cv2.boundingRect(self.labels)
        return x * across, y * down, (x + wide) * across, (y + high) * down


@dataclass(frozen=True)
class Segmentation:
    """The parts of one car.

    Attributes:
        labels: (H, W) uint8 at the photo's size: 0 background, i the part name_of(i).
        confidences: calibrated confidence of each part that is present, 0 to 1.
    """

    labels: NDArray[np.uint8]
    confidences: dict[str, float]


class PartSegmenter:
    """The part network, and the steps from its logits to masks.

    Left and right are the sides of the car. It is safe to call from several threads.

    Raises:
        ModelFileError: the model's files can't be used.

    Example:
        >>> segmentation = PartSegmenter()(np.full((120, 160, 3), 127, np.uint8))
        >>> segmentation.labels.shape, segmentation.confidences
        ((120, 160), {})
    """

    def __init__(
        self,
        description: ModelDescription | None = None,
        folder: Path = MODELS,
        runtime: RuntimeConfig | None = None,
    ) -> None:
        runtime = runtime or choose()
        self.description = description or runtime.describe("parts", folder)
        self._network = runtime.load(self.description, folder)

    def __call__(self, rgb: NDArray[np.uint8], size: tuple[int, int] | None = None) -> Segmentation:
        """Find the parts in a photo.

        Args:
            rgb: (h, w, 3) uint8, RGB: the photo, or a smaller copy of all of it.
            size: (height, width) of the photo and of the returned labels; None for that of `rgb`.
        """
        return self.enlarge(self.cells(rgb), *(size or rgb.shape[:2]))

    def cells(self, rgb: NDArray[np.uint8]) -> CoarseSegmentation:
        """Find the parts at the network's resolution, which is most of the work.

        Args:
            rgb: as for `__call__`.
        """
        logits = self.logits(rgb)
        thresholds = self.description.thresholds
        probabilities = softmax(logits)
        lid = probabilities[TRUNK] + probabilities[TAILGATE]
        merged = logits.copy()
        merged[TAILGATE] = np.logaddexp(logits[TRUNK], logits[TAILGATE])
        merged[TRUNK] = merged.min() - 1  # below every other label
        by_label = dict(enumerate(probabilities)) | {TAILGATE: lid}
        _give_to_surer_side(merged, by_label)
        labels = _without_shreds(_best_labels(merged), by_label, thresholds)
        car = largest_car(labels)
        confidences = {}
        if np.count_nonzero(car.labels) >= thresholds["car_area"] * car.labels.size:
            raw = _confidences(by_label, car.labels, car.elsewhere)
            confidences = {
                label: calibrated(raw[label], _group(label), thresholds) for label in raw
            }
        return CoarseSegmentation(merged, car.labels, probabilities, confidences, car.has_rivals)

    def enlarge(self, cells: CoarseSegmentation, height: int, width: int) -> Segmentation:
        """Enlarge the parts to the size of the photo."""
        if not cells.confidences:
            return Segmentation(np.zeros((height, width), np.uint8), {})
        labels = upsample_labels(cells.logits, cells.labels, height, width)
        left = labels_remaining(labels, cells.confidences)
        return Segmentation(labels, {name_of(label): cells.confidences[label] for label in left})

    def logits(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits (labels, h, w) that cover the photo exactly, at the network's resolution.

        Args:
            rgb: as for `__call__`.
        """
        batch, placed = self.batch(rgb)
        (output,) = self._network(batch)
        return _cover(output, placed)

    def batch(self, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Letterbox]:
        """Return the network's input (1, 3, h, w) for a photo, and the place of the photo in it.

        Args:
            rgb: as for `__call__`.
        """
        fields = self.description.input
        placed = fit_area(rgb, fields["area"], fields["multiple"])
        return normalise(placed.pixels, self.description), placed


def _cover(output: NDArray[np.float32], placed: Letterbox) -> NDArray[np.float32]:
    """Crop an output (labels, h, w) to the photo.

    The photo may end within a cell. The output is then resampled to end there, too.
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
    """Return `logits.argmax(0)`, (labels, h, w) -> (h, w), in a fifth of its time: map by map."""
    best = logits.max(0)
    labels = np.zeros(best.shape, np.uint8)
    for label in range(len(logits) - 1, -1, -1):  # the first of equal labels wins
        labels[logits[label] == best] = label
    return labels


def _give_to_surer_side(
    logits: NDArray[np.float32], probabilities: dict[int, NDArray[np.float32]]
) -> None:
    """Give cells that may be of either side, such as those of a mirror alone, to the surer side.

    Its probability becomes that of both sides together, since the confidence says that the part is
    there. In photos of whole cars the side is hardly ever in doubt.

    Args:
        logits: (labels, h, w); changed in place.
        probabilities: (h, w) of each label; replaced where a side is in doubt.
    """
    never = None
    for pair in SIDES:
        left, right = (probabilities[label] for label in pair)
        doubt = np.minimum(left, right) > UNSURE_SIDE
        if not doubt.any():
            continue
        never = logits.min() - 1 if never is None else never
        both = np.logaddexp(logits[pair[0]], logits[pair[1]])
        for label, own, wins in zip(
            pair, (left, right), (left >= right, left < right), strict=True
        ):
            logits[label][doubt] = np.where(wins, both, never)[doubt]
            probabilities[label] = np.where(doubt, np.where(wins, left + right, 0), own)


def _without_shreds(
    coarse: NDArray[np.uint8],
    probabilities: Mapping[int, NDArray[np.float32]],
    thresholds: Mapping[str, float],
) -> NDArray[np.uint8]:
    """Replace pieces of a part that are small or unsure with background.

    A piece is removed if it has fewer than `piece` cells, or less than the share `island` of the
    part's largest piece. A piece below half of the largest is also removed if its mean probability
    is below `piece_sure`.
    """
    cleaned = coarse.copy()
    for label in labels_in(coarse):
        mask = (coarse == label).view(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        window = slice(y, y + height), slice(x, x + width)
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask[window], connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA].tolist()
        largest = max(areas)
        least = max(thresholds["piece"], thresholds["island"] * largest)
        for piece, area in enumerate(areas, start=1):
            if area >= least and area >= largest / 2:
                continue
            here = pieces == piece
            if area < least or probabilities[label][window][here].mean() < thresholds["piece_sure"]:
                cleaned[window][here] = 0
    return cleaned


def _confidences(
    probabilities: Mapping[int, NDArray[np.float32]],
    coarse: NDArray[np.uint8],
    elsewhere: NDArray[np.bool_],
) -> dict[int, float]:
    """Return the expected IoU of each label's mask with the truth, if probabilities are calibrated.

    Of the n cells of a mask, `inside` are expected to be right, and `outside` more to be missed.
    The result is inside / (n + outside), the ratio of expected overlap and expected union. Ranking
    by it has a higher AP than ranking by the mean probability (training/EXPERIMENTS.md).

    Args:
        probabilities: (h, w) of each label.
        coarse: (h, w) label map.
        elsewhere: (h, w), True for cells of other cars, which do not count.
    """
    confidences = {}
    here = ~elsewhere if elsewhere.any() else ...  # all cells, without a copy
    for label in labels_in(coarse):
        held = coarse == label
        inside = float(probabilities[label][held].sum())
        outside = float(probabilities[label][here].sum()) - inside
        confidences[label] = float(inside / (np.count_nonzero(held) + outside))
    return confidences


def _group(label: int) -> str:
    """Return the name of the thresholds of a label: basic parts and body panels have their own."""
    return "confidence" if label <= len(BASIC_PARTS) else "panels"


def calibrated(confidence: float, name: str, thresholds: Mapping[str, float]) -> float:
    """Return the calibrated confidence: the share of findings with this confidence that are right.

    It is Platt scaling (1999) of the logit, which keeps the order of confidences.
    `training/calibrate.py` fits its constants, which are in the model's description.

    Args:
        confidence: of the network, 0 to 1.
        name: of the constants `<name>_slope` and `<name>_offset`; 1 and 0 if they are missing.
        thresholds: of the model's description.
    """
    p = min(max(confidence, CONFIDENCE_CLIP), 1 - CONFIDENCE_CLIP)
    slope = thresholds.get(f"{name}_slope", 1.0)
    offset = thresholds.get(f"{name}_offset", 0.0)
    return 1 / (1 + math.exp(-(slope * math.log(p / (1 - p)) + offset)))
