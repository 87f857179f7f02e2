"""Networks that see nothing, for tests of everything around them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline import NO_CAR, Analysis, Stage


class Blank:
    """Finds no car in any picture, at once."""

    def analyse(
        self, rgb: NDArray[np.uint8], at: Callable[[Stage], None] = lambda stage: None
    ) -> Analysis:
        """As `Pipeline.analyse`."""
        at("parts")
        return Analysis(None, np.zeros(rgb.shape[:2], np.uint8), {}, NO_CAR)
