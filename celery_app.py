"""The workers of a cluster: `celery -A celery_app worker`, with the settings of the service."""

import sys
from pathlib import Path

# Celery takes it out again after this import, and some modules are imported when they are needed.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from celery_worker import create

app = create()
