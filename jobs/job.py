"""One photo on its way: what the service tells about it, and what it keeps while it works."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from jobs.store import State
from photo_result import Result, Stage
from segment_interface import Photo

log = logging.getLogger("carseg.jobs")

Outcome = Literal["ready", "error", "timeout", "cancelled"]

WAITING = "Waiting for a free worker."
RUNNING = "Being processed."
LOST = "The photo was lost before work on it began; post it again."
TWICE = "The service stopped twice while it worked on this photo; post it to try once more."

ATTEMPTS = 2  # at a photo on which the service dies


class ClosingError(Exception):
    """The service is stopping and takes no more photos."""


class QueueFullError(Exception):
    """As many photos wait as may; the message is safe to show.

    Attributes:
        retry_after: whole seconds after which there is room again, most likely.
    """

    def __init__(self, limit: int, retry_after: int) -> None:
        super().__init__(
            f"The queue is full ({limit} photos wait); try again in {retry_after} seconds."
        )
        self.retry_after = retry_after

    @classmethod
    def until_half(cls, limit: int, waiting: int, seconds: float, workers: int) -> QueueFullError:
        """To come again when half of them are done.

        Args:
            limit, waiting: photos that may wait, and that do.
            seconds: that one takes.
            workers: photos that are worked on at the same time.
        """
        return cls(limit, min(300, max(1, math.ceil(seconds * waiting / workers / 2))))


@dataclass(frozen=True)
class Limits:
    """What one service may use.

    Attributes:
        workers: photos worked on at the same time.
        max_pixels: largest photo.
        queue: photos that may wait.
        job_seconds: longest time to work on one photo.
        keep_days: age at which photos that have ended are forgotten.
        keep_results: how many that have ended are kept at most.
    """

    workers: int
    max_pixels: int
    queue: int = 200
    job_seconds: float = 120.0
    keep_days: float = 30.0
    keep_results: int = 10_000


class PhotoStatus(NamedTuple):
    """Where one photo stood at the moment of the question."""

    state: State
    message: str
    result: Result | None  # there if the state is Ready
    position: int | None = None  # in the queue while Uploaded; 1 is next
    stage: Stage | None = None  # what is being done while Processing

    @property
    def has_ended(self) -> bool:
        """Whether it is Ready or Error."""
        return self.state in ("Ready", "Error")


@dataclass(frozen=True)
class JobReport:
    """How one job ended, for logs and metrics.

    Attributes:
        waited: seconds in the queue.
        seconds: from the begin of the work to its end.
        stages: seconds of each stage that was begun.
    """

    digest: str
    outcome: Outcome
    waited: float
    seconds: float
    stages: dict[str, float]
    message: str


@dataclass(frozen=True)
class EngineHealth:
    """How full and how well the service is.

    Attributes:
        waiting, limit: photos in the queue, and how many may be there.
        running: photos being worked on.
        stuck: jobs that were given up and still hold a thread.
        trouble: why photos can't be taken or results not be kept, in one sentence; or None.
        workers: worker processes that are there; None where threads of this process work.
    """

    waiting: int
    limit: int
    running: int
    stuck: int
    trouble: str | None
    workers: int | None = None


@dataclass(eq=False)
class Job:
    """A try of a photo while it changes; read and written under the lock of `ThreadEngine`.

    Attributes:
        number: of the try in the store.
        ticket: of the task in the queue.
        claimed: someone has begun to end it: the worker, its time limit, or whoever cancelled it.
        unsaved: it has ended, but the store does not know yet.
    """

    digest: str
    number: int
    ticket: int = 0
    state: State = "Uploaded"
    message: str = WAITING
    stage: Stage | None = None
    result: Result | None = None
    waiting: Photo | None = field(default=None, repr=False)
    claimed: bool = False
    unsaved: bool = False
    accepted: float = field(default_factory=time.monotonic)
    started: float | None = None
    marks: list[tuple[str, float]] = field(default_factory=list)  # stage, when it began

    def report(self, outcome: Outcome, message: str) -> JobReport:
        """How it ended, now."""
        now = time.monotonic()
        begun = now if self.started is None else self.started
        ends = [*(when for _, when in self.marks[1:]), now]
        return JobReport(
            digest=self.digest,
            outcome=outcome,
            waited=begun - self.accepted,
            seconds=now - begun,
            stages={name: end - when for (name, when), end in zip(self.marks, ends, strict=False)},
            message=message,
        )


def log_job(report: JobReport) -> None:
    """One line for a job that ended: its hash, outcome, and where the seconds went."""
    fields: dict[str, Any] = {
        "job": report.digest,
        "outcome": report.outcome,
        "waited": round(report.waited, 3),
        "seconds": round(report.seconds, 3),
    }
    fields |= {f"{stage}_seconds": round(spent, 3) for stage, spent in report.stages.items()}
    if report.outcome != "ready":
        fields["reason"] = report.message
    log.info("Job ended", extra={"fields": fields})
