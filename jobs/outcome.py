"""What the work on one photo can end in, whoever does it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from jobs.job import Outcome
from photo_result import Result
from pipeline import ModelsNotLoadedError
from segment_interface import ImageError

log = logging.getLogger("carseg.jobs")

UNEXPECTED = "The photo could not be processed because of an error in the service."
OUT_OF_MEMORY = "The photo could not be processed: the service has too little memory for it."
TOO_SLOW = "The photo took longer than {:g} seconds; work on it was given up."


class CancelledError(Exception):
    """Nobody waits for this job any more."""


def attempt(digest: str, work: Callable[[], Result]) -> tuple[Outcome, str, Result | None] | None:
    """Do the work on one photo, whatever comes of it.

    Args:
        digest: its hash, for the log.
        work: does it.

    Returns:
        Outcome, message for people, and result if there is one; None where it was cancelled.
    """
    try:
        result = work()
    except CancelledError:
        return None
    except (ImageError, ModelsNotLoadedError) as error:
        return "error", str(error), None
    except MemoryError:
        log.exception("Job %s failed", digest)
        return "error", OUT_OF_MEMORY, None
    except BaseException:  # whatever a model may throw, even SystemExit
        log.exception("Job %s failed", digest)
        return "error", UNEXPECTED, None
    return "ready", result.message(), result
