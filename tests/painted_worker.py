"""A worker whose stages are those of `painted`: `celery -A painted_worker worker`."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from painted import Painted

from celery_worker import create

app = create(lambda settings: Painted(Path(os.environ["PAINTED"])))
