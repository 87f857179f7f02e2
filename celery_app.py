"""The workers of a cluster: `celery -A celery_app worker`, with the settings of the service."""

import sys
from pathlib import Path

# Celery takes it out again after this import, and some modules are imported when they are needed.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from jobs.cluster.worker import create
from settings import SettingsError

try:
    app = create()
except SettingsError as error:  # Celery would print a traceback
    print(f"The worker can't start. {error.message}", file=sys.stderr)
    sys.exit(error.exit_code)
