"""A worker without networks: `celery -A tests.support.fake_worker worker`."""

import os
from pathlib import Path

from jobs.cluster.worker import create
from pipeline import ModelsNotLoadedError
from settings import Settings
from tests.support.fakes import Painted


def load(settings: Settings) -> Painted:
    """The stages; without a folder, what happens where models are missing."""
    if not os.environ["PAINTED"]:
        raise ModelsNotLoadedError("no folder")
    return Painted(Path(os.environ["PAINTED"]))


app = create(load)
