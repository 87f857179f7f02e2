"""Run a worker without networks, to measure the overhead around them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import numpy as np

from jobs.cluster.worker import create
from photo_result import Analysis, Stage
from segment_interface import Photo

SECONDS = "BLANK_SECONDS"  # the variable with the seconds that a photo takes


class Blank:
    """An analyser that sleeps for some seconds and finds no car."""

    version = "blank"
    problem = None

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds

    def analyse(
        self, photo: Photo, on_stage: Callable[[Stage], None] = lambda stage: None
    ) -> Analysis:
        """Implement `pipeline.Pipeline.analyse`."""
        on_stage("parts")
        time.sleep(self._seconds)
        on_stage("type")
        on_stage("polygons")
        return Analysis(None, np.zeros(photo.size, np.uint8), {})


if "celery" in sys.argv[0]:  # false if a benchmark imports this module
    app = create(lambda settings: Blank(float(os.environ[SECONDS])))
