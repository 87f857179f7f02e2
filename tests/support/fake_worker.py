"""A worker without networks: `celery -A tests.support.fake_worker worker`.

FAKE_FOLDER is the folder of its script; if it is empty, the models are missing. Without it, each
photo shows no car and takes FAKE_SECONDS.
"""

import os
from pathlib import Path

from jobs.cluster.worker import create
from pipeline import ModelsNotLoadedError
from settings import Settings
from tests.support.fakes import FakePipeline, paint_nothing


def load(settings: Settings) -> FakePipeline:
    """Return the stages, or fail as if models were missing."""
    folder = os.environ.get("FAKE_FOLDER")
    if folder is None:
        return FakePipeline(paint=paint_nothing, seconds=float(os.environ["FAKE_SECONDS"]))
    if not folder:
        raise ModelsNotLoadedError("no folder")
    return FakePipeline(Path(folder))


app = create(load)
