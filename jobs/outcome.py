"""Run the work on one photo and map any failure to an outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import NamedTuple

from jobs.catalog import Summary
from jobs.job import Outcome
from jobs.messages import OUT_OF_MEMORY, UNEXPECTED
from jobs.store import StoredOutcome
from photo_result import Result
from pipeline import ModelsNotLoadedError
from segment_interface import ImageError
from vision.labels import PART_NAMES

log = logging.getLogger("carseg.jobs")


def to_store(message: str, result: Result | None) -> StoredOutcome:
    """Return the outcome to store for a photo: Ready if it has a result, else Error."""
    if result is None:
        return StoredOutcome("Error", message)
    summary = Summary.of(result).pack()
    damage_version = None if result.damages is None else result.damage_version
    return StoredOutcome(
        "Ready", message, result.pack(), result.model_version, summary, damage_version
    )


class CancelledError(Exception):
    """The result of the running job is no longer needed."""


class Ended(NamedTuple):
    """The end of the work on one photo: its outcome, the message for clients, and any result."""

    outcome: Outcome
    message: str
    result: Result | None


def run_guarded(
    digest: str, work: Callable[[], Result], names: Collection[str] = PART_NAMES
) -> Ended | None:
    """Run the work on one photo without letting an exception escape.

    Args:
        digest: hash of the photo, for the log.
        work: function that returns the result of the photo.
        names: names of the parts that the message counts.

    Returns:
        The end of the work; None if it raised `CancelledError`.
    """
    try:
        result = work()
    except CancelledError:
        return None
    except (ImageError, ModelsNotLoadedError) as error:
        return Ended("error", str(error), None)
    except MemoryError:
        log.exception("Job %s failed", digest)
        return Ended("error", OUT_OF_MEMORY, None)
    except BaseException:  # a model may raise anything, even SystemExit
        log.exception("Job %s failed", digest)
        return Ended("error", UNEXPECTED, None)
    return Ended("ready", result.message(len(result.sure_parts(names=names))), result)
