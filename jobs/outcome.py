"""Run the work on one photo and map any failure to an outcome."""

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
    """The result of the running job is no longer needed."""


def attempt(digest: str, work: Callable[[], Result]) -> tuple[Outcome, str, Result | None] | None:
    """Run the work on one photo without letting an exception escape.

    Args:
        digest: hash of the photo, for the log.
        work: function that returns the result of the photo.

    Returns:
        The outcome, the message for clients, and the result or None. None instead of the tuple
        if the work raised `CancelledError`.
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
    except BaseException:  # a model may raise anything, even SystemExit
        log.exception("Job %s failed", digest)
        return "error", UNEXPECTED, None
    return "ready", result.message(), result
