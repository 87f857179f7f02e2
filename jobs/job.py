"""Define jobs and the reports of jobs that ended."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.messages import WAITING
from jobs.store import State
from photo_result import Result, Stage
from segment_interface import Photo

log = logging.getLogger("carseg.jobs")

Outcome = Literal["ready", "error", "timeout", "cancelled"]

ATTEMPTS = 2  # starts of a job before it is given up as one that crashes the service


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


@dataclass(eq=False)
class Job:
    """Mutable state of a job in this process.

    A `jobs.job_table.JobTable` reads and writes its jobs under its lock only.

    Attributes:
        number: number of the job in the store.
        ticket: ticket of the job in the `jobs.worker_pool.WorkerPool`.
        damage: True if the photo is to be examined for damage. It may become True at any time.
        keeps_result: True if the photo is Ready, and keeps its result until this job has another.
        decoded: decoded photo until a worker takes it; None if the worker has to decode it.
        is_ending: True once the worker, the timeout or a cancellation has begun to end the job.
        unsaved: True if the job has ended but the store does not have its outcome yet.
        accepted: time at which the job was queued, of `time.monotonic`.
        started: time at which a worker took the job; None while it waits.
        stage_starts: each stage that was started, with its start time.
    """

    digest: str
    number: int
    ticket: int = 0
    state: State = "Uploaded"
    message: str = WAITING
    stage: Stage | None = None
    result: Result | None = None
    damage: bool = False
    keeps_result: bool = False
    decoded: Photo | None = field(default=None, repr=False)
    is_ending: bool = False
    unsaved: bool = False
    accepted: float = field(default_factory=time.monotonic)
    started: float | None = None
    stage_starts: list[tuple[str, float]] = field(default_factory=list)

    def report(self, outcome: Outcome, message: str) -> JobReport:
        """Return the report of a job that ends now."""
        now = time.monotonic()
        begun = now if self.started is None else self.started
        starts = self.stage_starts
        ends = [*(when for _, when in starts[1:]), now]
        return JobReport(
            digest=self.digest,
            outcome=outcome,
            waited=begun - self.accepted,
            seconds=now - begun,
            stages={name: end - when for (name, when), end in zip(starts, ends, strict=False)},
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
