"""Networks that see nothing, for tests of everything around them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from photo_result import Analysis, Stage
from segment_interface import Photo


class Blank:
    """Finds no car in any picture, at once."""

    version = "blank"
    problem = None

    def analyse(
        self, photo: Photo, on_stage: Callable[[Stage], None] = lambda stage: None
    ) -> Analysis:
        """See `Pipeline.analyse`."""
        on_stage("parts")
        return Analysis(None, np.zeros(photo.size, np.uint8), {})
