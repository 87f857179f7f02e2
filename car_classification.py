"""Classify the body type of a car by its picture and the layout of its parts.

It runs after the part segmentation, which finds the car's box and parts. The picture network sees
the pixels. The layout network sees only the layout of the parts, without paint and light. Alone it
is right less often, but it errs on other photos, so both together are right more often, most of all
on photos from other sources (training/EXPERIMENTS.md). The picture network also detects if there is
a car and if it has two doors. The layout network also detects how the photo is turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img_to_segments import CoarseSegmentation
from options import DEFAULT_CONFIDENCE
from vision.labels import TYPE_NAMES, WHEEL
from vision.letterbox import fit_box
from vision.model_files import MODELS, ModelDescription, normalise
from vision.part_layout import Box, place_label_map, placement, softmax
from vision.runtimes.choose import RuntimeConfig, choose

__all__ = ["TYPE_NAMES", "CarType", "CarView", "ShapeClassifier", "TypeClassifier"]

TURNS = 4  # by 0, 90, 180 and 270 degrees clockwise


@dataclass(frozen=True)
class CarType:
    """A body type with its probability, and the probabilities of all types, which sum to 1."""

    name: str
    confidence: float
    scores: dict[str, float]


@dataclass(frozen=True)
class CarView:
    """The output of the type networks for one car in a photo.

    Attributes:
        scores: probability of each body type, calibrated; they sum to 1.
        certainty: probability of the most likely type by the picture network alone. It is low for
            close-ups, for any layout.
        no_car: probability that there is no car.
        two_doors: probability that the car has two side doors, not four.
        turned: probabilities (4,) that the photo was turned by 0, 90, 180, 270 degrees clockwise.
    """

    scores: dict[str, float]
    certainty: float
    no_car: float
    two_doors: float
    turned: tuple[float, ...]

    @property
    def best(self) -> CarType:
        """Return the most likely type."""
        name = max(self.scores, key=lambda key: self.scores[key])
        return CarType(name, self.scores[name], self.scores)


class TypeClassifier:
    """The car type networks, loaded once, safe to call from several threads.

    Attributes:
        description: of the picture network.
        shape: the layout network.

    Raises:
        ModelFileError: the models' files can't be used.
    """

    def __init__(
        self,
        description: ModelDescription | None = None,
        folder: Path = MODELS,
        runtime: RuntimeConfig | None = None,
    ) -> None:
        runtime = runtime or choose()
        self.description = description or runtime.describe("types", folder)
        self._network = runtime.load(self.description, folder)
        self.shape = ShapeClassifier(folder=folder, runtime=runtime)

    def __call__(self, rgb: NDArray[np.uint8], box: Box, cells: NDArray[np.float32]) -> CarView:
        """Run both networks on the car in a box.

        Args:
            rgb: (H, W, 3) uint8, upright.
            box: x0, y0, x1, y1 in pixels around the car's parts. A margin above it is added for the
                roof, which is not a part.
            cells: probabilities (19, h, w) of background and basic parts over the whole photo.
        """
        picture = self.logits(rgb, box)
        shape = self.shape.logits(cells, box, rgb.shape[:2])
        return view_of(picture, shape, self.description.thresholds)

    def type_of(self, view: CarView, cells: CoarseSegmentation) -> CarType | None:
        """Return the type of a car, or None if it is unclear, as in close-ups.

        Args:
            view: output of the type networks for the car.
            cells: the parts of the car. Wheels and faint parts, as of a bus, have no type.
        """
        thresholds = self.description.thresholds
        others = (value for label, value in cells.confidences.items() if label != WHEEL)
        # networks of earlier releases have no limit of their own
        sees_body = max(others, default=0.0) >= thresholds.get("body_part", DEFAULT_CONFIDENCE)
        return view.best if sees_body and view.certainty >= thresholds["known"] else None

    def sees_car(self, view: CarView | None, cells: CoarseSegmentation) -> bool:
        """Return True if the parts that were found belong to a car.

        Args:
            view: output of the type networks; None if no parts were found.
            cells: the parts.
        """
        if view is None:
            return False
        thresholds = self.description.thresholds
        surest = max(cells.confidences.values())
        certain = view.certainty >= thresholds["known"]
        if surest < DEFAULT_CONFIDENCE:
            large = cells.area >= thresholds["large"] and view.no_car < thresholds["close_up"]
            return large or (certain and view.no_car < thresholds["no_car"])
        if view.no_car >= thresholds["no_car"] and surest < thresholds["sure_part"]:
            return False
        # A lone large wheel is the wheel of a car; a lone small one is that of a motorcycle.
        lone_wheel = set(cells.confidences) == {WHEEL} and cells.area < thresholds["lone_wheel"]
        return certain or not lone_wheel

    def sees_close_up(self, rgb: NDArray[np.uint8]) -> bool:
        """Return True if a photo without parts shows a piece of a car, such as a door.

        Args:
            rgb: (H, W, 3) uint8, the whole photo.
        """
        height, width = rgb.shape[:2]
        picture = self.logits(rgb, (0.0, 0.0, float(width), float(height)))
        *types, no_car = softmax(picture[: len(TYPE_NAMES) + 1]).tolist()
        thresholds = self.description.thresholds
        # a close-up has no certain type; a truck without parts often has one
        return bool(no_car < thresholds["close_up"] and max(types) < thresholds["known"])

    def has_two_doors(self, view: CarView) -> bool:
        """Return True if a car most likely has no back doors."""
        return view.two_doors >= self.description.thresholds["two_doors"]

    def logits(self, rgb: NDArray[np.uint8], box: Box) -> NDArray[np.float64]:
        """Return the picture network's logits (10,) float64 of eight types, no car and two doors.

        Args:
            rgb: as for `__call__`.
            box: as for `__call__`.
        """
        (output,) = self._network(self.batch(rgb, box))
        logits: NDArray[np.float64] = output.astype(np.float64)
        return logits

    def batch(self, rgb: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
        """Return the picture network's input (1, 3, h, w).

        Args:
            rgb: as for `__call__`.
            box: as for `__call__`.
        """
        fields = self.description.input
        grown = with_margin(box, fields["margin"])
        pixels = fit_box(rgb, grown, (fields["height"], fields["width"]))
        return normalise(pixels, self.description)


class ShapeClassifier:
    """The layout network, which sees only the layout of the parts.

    Raises:
        ModelFileError: the model's files can't be used.
    """

    def __init__(self, folder: Path = MODELS, runtime: RuntimeConfig | None = None) -> None:
        runtime = runtime or choose()
        self.description = runtime.describe("shapes", folder)
        self._network = runtime.load(self.description, folder)

    def logits(
        self, cells: NDArray[np.float32], box: Box, photo: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Return the logits (12,) float64 of eight types and four turns.

        Args:
            cells: probabilities (19, h, w) of background and basic parts over the whole photo.
            box: x0, y0, x1, y1 around the car's parts, in pixels.
            photo: (height, width) of the photo in pixels.
        """
        fields = self.description.input
        size = fields["height"], fields["width"]
        down, across = cells.shape[1] / photo[0], cells.shape[2] / photo[1]
        in_cells = box[0] * across, box[1] * down, box[2] * across, box[3] * down
        matrix = placement(with_margin(in_cells, fields["margin"]), size)
        (output,) = self._network(place_label_map(cells, matrix, size)[None])
        logits: NDArray[np.float64] = output.astype(np.float64)
        return logits


def view_of(
    picture: NDArray[np.float64], shape: NDArray[np.float64], thresholds: Mapping[str, float]
) -> CarView:
    """Combine the logits of both networks.

    Args:
        picture: (10,) logits of the picture network: eight types, no car, two doors.
        shape: (12,) logits of the layout network: eight types, four turns.
        thresholds: from the description of the picture network.
    """
    count = len(TYPE_NAMES)
    types = type_probabilities(picture[:count], shape[:count], thresholds)
    return CarView(
        scores=dict(zip(TYPE_NAMES, types.tolist(), strict=True)),
        certainty=float(softmax(picture[: count + 1])[:count].max()),
        no_car=float(softmax(picture[: count + 1])[count]),
        two_doors=float(1 / (1 + np.exp(-picture[count + 1]))),
        turned=tuple(softmax(shape[count:]).tolist()),
    )


def type_probabilities(
    picture: NDArray[np.float64], shape: NDArray[np.float64], thresholds: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return the probabilities (8,) of the types from the logits (8,) of both networks.

    The result is the normalised weighted sum of their log-probabilities, a product of experts
    (Hinton 2002). The weights are fitted on validation photos, so that the probabilities are
    calibrated (`training/calibrate.py`).
    """
    weighted = thresholds["picture_weight"] * np.log(softmax(picture))
    return softmax(weighted + thresholds["shape_weight"] * np.log(softmax(shape)))


def with_margin(box: Box, margin: dict[str, float]) -> Box:
    """Grow a box by shares of its width (side) and height (top, bottom)."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    return (
        x0 - margin["side"] * width,
        y0 - margin["top"] * height,
        x1 + margin["side"] * width,
        y1 + margin["bottom"] * height,
    )
