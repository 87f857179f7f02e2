"""First stage by name, second in time: the car's box in a photo -> body type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from letterbox import fit_box
from model_files import MODELS, ModelDescription, normalise, read_description
from runtimes import Choice, choose

TYPE_NAMES = ("convertible", "coupe", "hatchback", "pickup", "sedan", "suv", "van", "wagon")


@dataclass(frozen=True)
class CarType:
    """A body type with its probability, and the probabilities of all, which sum to 1."""

    name: str
    confidence: float
    scores: dict[str, float]


class TypeClassifier:
    """The car type network. Loaded once; safe to call from several threads.

    Raises:
        ModelError: if the model's files can't be used.
    """

    def __init__(
        self,
        description: ModelDescription | None = None,
        folder: Path = MODELS,
        runtime: Choice | None = None,
    ) -> None:
        self.description = description or read_description("types", folder)
        self._network = (runtime or choose()).load(self.description, folder)

    def __call__(
        self, rgb: NDArray[np.uint8], box: tuple[float, float, float, float] | None = None
    ) -> CarType | None:
        """The type of the car in `box`, or None where the network sees no car.

        Args:
            rgb: (H, W, 3) uint8, upright.
            box: x0, y0, x1, y1 in pixels around the car's parts; the roof, which is no part,
                is given room above it. None takes the whole photo.
        """
        thresholds = self.description.thresholds
        logits = self.logits(rgb, box)
        if _softmax(logits)[-1] > thresholds["no_car"]:
            return None
        # The temperature (Guo et al. 2017) makes probabilities of types true, on the validation
        # photos; it changes no answer.
        cars = _softmax(logits[:-1] / thresholds["temperature"])
        best = int(cars.argmax())
        named = dict(zip(TYPE_NAMES, cars.tolist(), strict=True))
        return CarType(TYPE_NAMES[best], named[TYPE_NAMES[best]], named)

    def logits(
        self, rgb: NDArray[np.uint8], box: tuple[float, float, float, float] | None = None
    ) -> NDArray[np.float64]:
        """Logits (9,) float64 of the eight types and of no car at all; see `__call__`."""
        fields = self.description.input
        height, width = rgb.shape[:2]
        box = (0, 0, width, height) if box is None else _with_margin(box, fields["margin"])
        pixels = fit_box(rgb, box, (fields["height"], fields["width"]))
        (output,) = self._network(normalise(pixels, self.description))
        logits: NDArray[np.float64] = output.astype(np.float64)
        return logits


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.exp(logits - logits.max())
    result: NDArray[np.float64] = values / values.sum()
    return result


def _with_margin(
    box: tuple[float, float, float, float], margin: dict[str, float]
) -> tuple[float, float, float, float]:
    """Grow a box by shares of its width (side) and height (top, bottom)."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    return (
        x0 - margin["side"] * width,
        y0 - margin["top"] * height,
        x1 + margin["side"] * width,
        y1 + margin["bottom"] * height,
    )
