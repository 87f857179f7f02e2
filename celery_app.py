"""Start the workers of a cluster: `celery -A celery_app worker`.

They read the same settings as the service.
"""

import sys
from pathlib import Path

# Celery removes the path again after this import, but some modules are imported only on demand.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from jobs.cluster.worker import create
from settings import SettingsError

try:
    app = create()
except SettingsError as error:  # Celery would print a traceback
    print(f"The worker can't start. {error.message}", file=sys.stderr)
    sys.exit(error.exit_code)
