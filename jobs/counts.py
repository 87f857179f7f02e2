"""Count jobs by outcome, and collect histograms of their durations, as plain numbers.

A `jobs.thread_engine.ThreadEngine` keeps its counters in a `JobCounts`. A cluster keeps them in
Redis, which adds up those of all workers. It does so in the step that ends the job, so no job is
lost or counted twice.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate

from jobs.job import JobReport

OUTCOMES = ("ready", "error", "timeout", "cancelled")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds
STAGES = ("parts", "type", "damage", "polygons")

_BOUNDS = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")


class JobCounts:
    """Counters of the jobs that ended in this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = {"since": time.time(), "mean": 0.5, "wait:sum": 0.0}

    def add(self, report: JobReport) -> None:
        """Count a job that ended."""
        numbers = counted(report)
        mean = numbers.pop("mean", None)
        with self._lock:
            for name, number in numbers.items():
                self._numbers[name] = self._numbers.get(name, 0.0) + number
            if mean is not None:
                self._numbers["mean"] += 0.1 * (mean - self._numbers["mean"])

    def numbers(self) -> dict[str, float]:
        """Return all counters by name: those of `counted`, and `since`, the Unix time of 0."""
        with self._lock:
            return dict(self._numbers)

    @property
    def mean(self) -> float:
        """Moving average of the seconds that a job takes, over the jobs that ended Ready."""
        return self._numbers["mean"]


def counted(report: JobReport) -> dict[str, float]:
    """Return the increments that one job adds to the counters, by counter name.

    The number `mean` is not added: the counter is a moving average of it.
    """
    numbers = {f"jobs:{report.outcome}": 1.0, **_observed("wait", report.waited)}
    for stage, seconds in report.stages.items():
        numbers |= _observed(f"stage:{stage}", seconds)
    if report.outcome == "ready":
        numbers["mean"] = report.seconds
    return numbers


def _observed(name: str, seconds: float) -> dict[str, float]:
    return {f"{name}:{_BOUNDS[bisect_left(BUCKETS, seconds)]}": 1.0, f"{name}:sum": seconds}


def histogram(
    numbers: Mapping[str, float], name: str
) -> tuple[list[tuple[str, float]], float] | None:
    """Return the histogram of one duration.

    Args:
        numbers: counters of all jobs, as summed up from `counted`.
        name: `wait`, or `stage:` followed by a stage of `STAGES`.

    Returns:
        (bound in seconds, number of jobs up to that bound) for each bound, and the sum of all
        durations in seconds. None if no job was counted. Bounds are written as Prometheus does.
    """
    if f"{name}:sum" not in numbers:
        return None
    each = [numbers.get(f"{name}:{bound}", 0.0) for bound in _BOUNDS]
    bounds = [*(str(float(bound)) for bound in BUCKETS), "+Inf"]
    return list(zip(bounds, accumulate(each), strict=True)), numbers[f"{name}:sum"]
