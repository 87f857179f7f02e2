"""The log lines of jobs that ended, as tests read them."""

from __future__ import annotations

import logging
from typing import Any


class JobLog(logging.Handler):
    """Collect the fields of each line "Job ended", in order, from now until `close`."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self._logger = logging.getLogger("carseg.jobs")
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the fields of a line about a job."""
        if record.getMessage() == "Job ended":
            self.lines.append(vars(record)["fields"])

    def outcomes(self) -> list[tuple[str, str]]:
        """Return hash and outcome of each job that ended, in order."""
        return [(line["job"], line["outcome"]) for line in self.lines]

    def close(self) -> None:
        """Collect no more."""
        self._logger.removeHandler(self)
        self._logger.setLevel(logging.NOTSET)
        super().close()
