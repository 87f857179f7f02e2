"""A worker whose stages are those of `painted`: `celery -A painted_worker worker`."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from painted import Painted

from jobs.cluster.worker import create
from pipeline import ModelsNotLoadedError
from settings import Settings


def load(settings: Settings) -> Painted:
    """The stages; without a folder, what happens where models are missing."""
    if not os.environ["PAINTED"]:
        raise ModelsNotLoadedError("no folder")
    return Painted(Path(os.environ["PAINTED"]))


app = create(load)
