"""What is counted of jobs, and as which numbers a cluster keeps that.

Redis adds the numbers up for all workers, in the same step in which a job ends: none is lost or
counted twice, and each web process shows those of the whole cluster.
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
    """What one job adds to the numbers."""
    numbers = {f"jobs:{report.outcome}": 1.0, **_observed("wait", report.waited)}
    for stage, seconds in report.stages.items():
        numbers |= _observed(f"stage:{stage}", seconds)
    if report.outcome == "ready":
        numbers["mean"] = report.seconds  # which Redis averages over the last ones
    return numbers


def _observed(name: str, seconds: float) -> dict[str, float]:
    return {f"{name}:{_BOUNDS[bisect_left(BUCKETS, seconds)]}": 1.0, f"{name}:sum": seconds}


def histogram(
    numbers: Mapping[str, float], name: str
) -> tuple[list[tuple[str, float]], float] | None:
    """Jobs up to each bound, and the sum of their seconds; None if there are none.

    Args:
        numbers: of all jobs.
        name: `wait`, or `stage:` and a stage.
    """
    if f"{name}:sum" not in numbers:
        return None
    each = [numbers.get(f"{name}:{bound}", 0.0) for bound in _BOUNDS]
    return list(zip(_BOUNDS, accumulate(each), strict=True)), numbers[f"{name}:sum"]
