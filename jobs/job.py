"""Define jobs, their limits, and the statuses and reports made from them."""

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

ATTEMPTS = 2  # starts of a job before it is given up as one that crashes the service


class ClosingError(Exception):
    """The service is stopping and accepts no more photos."""


class QueueFullError(Exception):
    """The queue is full. The message may be shown to clients.

    Attributes:
        retry_after: estimated whole seconds until the queue has room again.
    """

    def __init__(self, limit: int, retry_after: int) -> None:
        super().__init__(
            f"The queue is full ({limit} photos wait); try again in {retry_after} seconds."
        )
        self.retry_after = retry_after

    @classmethod
    def until_half(cls, limit: int, waiting: int, seconds: float, workers: int) -> QueueFullError:
        """Build the error, with a retry time at which half the queue should be done.

        Args:
            limit: maximum number of photos in the queue.
            waiting: number of photos in the queue now.
            seconds: mean seconds per photo.
            workers: number of photos processed concurrently.

        Returns:
            The error; its `retry_after` is between 1 and 300 seconds.
        """
        return cls(limit, min(300, max(1, math.ceil(seconds * waiting / workers / 2))))


@dataclass(frozen=True)
class Limits:
    """Limits of one service.

    Attributes:
        workers: number of photos processed concurrently.
        max_pixels: maximum number of pixels of a photo.
        queue: maximum number of photos in the queue.
        job_seconds: timeout of one job, in seconds.
        keep_days: days after which a finished photo is deleted.
        keep_results: maximum number of finished photos; older ones are deleted.
    """

    workers: int
    max_pixels: int
    queue: int = 200
    job_seconds: float = 120.0
    keep_days: float = 30.0
    keep_results: int = 10_000


class PhotoStatus(NamedTuple):
    """Status of one photo at the time of the call."""

    state: State
    message: str
    result: Result | None  # None unless the state is Ready
    position: int | None = None  # in the queue, only while Uploaded; 1 is next
    stage: Stage | None = None  # current stage, only while Processing

    @property
    def has_ended(self) -> bool:
        """True if the photo is Ready or Error."""
        return self.state in ("Ready", "Error")


@dataclass(frozen=True)
class JobReport:
    """Outcome and durations of one job, for logs and metrics.

    Attributes:
        waited: seconds in the queue.
        seconds: seconds from the start of the work to its end.
        stages: seconds of each stage that was started.
    """

    digest: str
    outcome: Outcome
    waited: float
    seconds: float
    stages: dict[str, float]
    message: str


@dataclass(frozen=True)
class EngineHealth:
    """Load and problems of the service.

    Attributes:
        waiting: number of photos in the queue.
        limit: maximum number of photos in the queue.
        running: number of photos being processed.
        stuck: number of timed-out jobs that still occupy a thread.
        trouble: one sentence on why photos cannot be accepted or results cannot be stored;
            None if they can.
        workers: number of live worker processes; None if threads of this process do the work.
    """

    waiting: int
    limit: int
    running: int
    stuck: int
    trouble: str | None
    workers: int | None = None


@dataclass(eq=False)
class Job:
    """Mutable state of one try to process a photo.

    `jobs.thread_engine.ThreadEngine` reads and writes its jobs under its lock only.

    Attributes:
        number: number of the job in the store.
        ticket: ticket of the job in the `jobs.worker_pool.WorkerPool`.
        waiting: decoded photo until a worker takes it; None if the worker has to decode it.
        claimed: True once the worker, the timeout or a cancellation has begun to end the job.
        unsaved: True if the job has ended but the store does not have its outcome yet.
        accepted: time at which the job was queued, of `time.monotonic`.
        started: time at which a worker took the job; None while it waits.
        marks: each stage that was started, with its start time.
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
    marks: list[tuple[str, float]] = field(default_factory=list)

    def report(self, outcome: Outcome, message: str) -> JobReport:
        """Return the report of a job that ends now."""
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
    """Log one line for a job that ended: its hash, its outcome and its durations in seconds."""
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
