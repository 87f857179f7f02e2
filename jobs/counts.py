"""Turn jobs into the counters that a cluster keeps in Redis.

Redis adds up the counters of all workers. It does so in the step that ends the job, so no job is
lost or counted twice. Each web process shows the counters of the whole cluster.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate

from jobs.job import JobReport

OUTCOMES = ("ready", "error", "timeout", "cancelled")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds
STAGES = ("parts", "type", "polygons")

_BOUNDS = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")


def counted(report: JobReport) -> dict[str, float]:
    """Return the increments that one job adds to the counters, by counter name."""
    numbers = {f"jobs:{report.outcome}": 1.0, **_observed("wait", report.waited)}
    for stage, seconds in report.stages.items():
        numbers |= _observed(f"stage:{stage}", seconds)
    if report.outcome == "ready":
        numbers["mean"] = report.seconds  # Redis keeps a moving average of it
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
        durations in seconds. None if no job was counted.
    """
    if f"{name}:sum" not in numbers:
        return None
    each = [numbers.get(f"{name}:{bound}", 0.0) for bound in _BOUNDS]
    return list(zip(_BOUNDS, accumulate(each), strict=True)), numbers[f"{name}:sum"]
