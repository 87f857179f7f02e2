"""First stage by name, second in time: the car's box and parts in a photo -> body type.

Two networks look at the car. One sees its picture. The other sees only where its parts lie, not
paint and light. Alone it is right less often; it errs on other photos than the first, so both
together are right more often, most of all on photos from other sources (training/EXPERIMENTS.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from letterbox import fit_box
from model_files import MODELS, ModelDescription, normalise, read_description
from part_layout import Box, lay_out, placement, softmax
from runtimes import Choice, choose

TYPE_NAMES = ("convertible", "coupe", "hatchback", "pickup", "sedan", "suv", "van", "wagon")


@dataclass(frozen=True)
class CarType:
    """A body type with its probability, and the probabilities of all, which sum to 1."""

    name: str
    confidence: float
    scores: dict[str, float]


class TypeClassifier:
    """The car type networks. Loaded once; safe to call from several threads.

    Attributes:
        shape: the network that sees only the layout of the parts.

    Raises:
        ModelError: if the models' files can't be used.
    """

    def __init__(
        self,
        description: ModelDescription | None = None,
        folder: Path = MODELS,
        runtime: Choice | None = None,
    ) -> None:
        self.description = description or read_description("types", folder)
        runtime = runtime or choose()
        self._network = runtime.load(self.description, folder)
        self.shape = ShapeClassifier(folder=folder, runtime=runtime)

    def __call__(
        self,
        rgb: NDArray[np.uint8],
        box: Box | None = None,
        cells: NDArray[np.float32] | None = None,
    ) -> CarType | None:
        """The type of the car in `box`, or None where the network sees no car.

        Args:
            rgb: (H, W, 3) uint8, upright.
            box: x0, y0, x1, y1 in pixels around the car's parts; the roof, which is no part,
                is given room above it. None takes the whole photo.
            cells: probabilities (labels, h, w) of the parts over the whole photo; without them
                the picture alone decides.
        """
        thresholds = self.description.thresholds
        logits = self.logits(rgb, box)
        if softmax(logits)[-1] > thresholds["no_car"]:
            return None
        height, width = rgb.shape[:2]
        shape = None
        if cells is not None:
            shape = self.shape.logits(cells, box or (0, 0, width, height), (height, width))
        cars = type_probabilities(logits[:-1], shape, thresholds)
        best = int(cars.argmax())
        named = dict(zip(TYPE_NAMES, cars.tolist(), strict=True))
        return CarType(TYPE_NAMES[best], named[TYPE_NAMES[best]], named)

    def logits(self, rgb: NDArray[np.uint8], box: Box | None = None) -> NDArray[np.float64]:
        """Logits (9,) float64 of the eight types and of no car at all; see `__call__`."""
        fields = self.description.input
        height, width = rgb.shape[:2]
        box = (0, 0, width, height) if box is None else with_margin(box, fields["margin"])
        pixels = fit_box(rgb, box, (fields["height"], fields["width"]))
        (output,) = self._network(normalise(pixels, self.description))
        logits: NDArray[np.float64] = output.astype(np.float64)
        return logits


class ShapeClassifier:
    """The network that tells the type from the layout of the parts.

    Raises:
        ModelError: if the model's files can't be used.
    """

    def __init__(self, folder: Path = MODELS, runtime: Choice | None = None) -> None:
        self.description = read_description("shapes", folder)
        self._network = (runtime or choose()).load(self.description, folder)

    def logits(
        self, cells: NDArray[np.float32], box: Box, photo: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Logits (8,) float64 of the types.

        Args:
            cells: probabilities (labels, h, w) of the parts over the whole photo.
            box: x0, y0, x1, y1 around the car's parts, in pixels.
            photo: its (height, width) in pixels.
        """
        fields = self.description.input
        size = fields["height"], fields["width"]
        down, across = cells.shape[1] / photo[0], cells.shape[2] / photo[1]
        in_cells = box[0] * across, box[1] * down, box[2] * across, box[3] * down
        matrix = placement(with_margin(in_cells, fields["margin"]), size)
        (output,) = self._network(lay_out(cells, matrix, size)[None])
        logits: NDArray[np.float64] = output.astype(np.float64)
        return logits


def type_probabilities(
    picture: NDArray[np.float64],
    shape: NDArray[np.float64] | None,
    thresholds: dict[str, float],
) -> NDArray[np.float64]:
    """Probabilities (8,) of the types from the logits (8,) of both networks.

    Their log-probabilities are added with a weight each, a product of experts (Hinton 2002). The
    weights are fitted on validation photos so that probabilities are true
    (`training/calibrate.py`); with the picture alone they come down to a temperature.
    """
    weighted = thresholds.get("picture_weight", 1.0) * np.log(softmax(picture))
    if shape is not None:
        weighted = weighted + thresholds.get("shape_weight", 0.0) * np.log(softmax(shape))
    return softmax(weighted)


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
