"""An analyser that is sure of one part and unsure of another; needs no network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from options import DEFAULT_CONFIDENCE
from photo_result import Analysis, Stage
from segment_interface import Photo
from vision.labels import label_of

SURE, UNSURE = "hood", "wheel"
CONFIDENCES = {SURE: (1 + DEFAULT_CONFIDENCE) / 2, UNSURE: DEFAULT_CONFIDENCE / 2}


class Unsure:
    """Finds two parts in any picture, one of them with less than the default confidence.

    The photo is turned, shows other cars as well, and does not tell the type.
    """

    version = "unsure"
    problem = None

    def analyse(
        self, photo: Photo, on_stage: Callable[[Stage], None] = lambda stage: None
    ) -> Analysis:
        """See `Pipeline.analyse`. The sure part is the upper half of the picture."""
        on_stage("parts")
        labels = np.full(photo.size, label_of(UNSURE), np.uint8)
        labels[: photo.size[0] // 2] = label_of(SURE)
        return Analysis(None, labels, dict(CONFIDENCES), rotation=90, other_cars=True)
