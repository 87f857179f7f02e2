"""Metrics for Prometheus: requests, jobs, queue, durations and memory."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from jobs.counts import OUTCOMES, STAGES, histogram
from jobs.engine import Engine
from jobs.store import StoreError
from settings import VERSION

# Label values come only from here and from the routes, so a client can't add time series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"

_JOBS = "Photos whose work ended."
_WAITED = "Time that photos waited for a free worker."
_STAGES = "Time that each stage of the work took."


class _JobMetrics(Collector):
    """Metrics of the jobs that ended, from the counters of the engine, read at each scrape.

    Exports nothing while Redis is unreachable.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        try:
            numbers = self._engine.counts()
        except StoreError:
            return
        since = numbers.get("since")  # None if several processes count together
        jobs = CounterMetricFamily("carseg_jobs", _JOBS, labels=["outcome"])
        for outcome in OUTCOMES:
            jobs.add_metric([outcome], numbers.get(f"jobs:{outcome}", 0), created=since)
        yield jobs
        waited = HistogramMetricFamily("carseg_job_wait_seconds", _WAITED)
        _add_histogram(waited, numbers, "wait", {})
        yield waited
        stages = HistogramMetricFamily("carseg_stage_seconds", _STAGES, labels=["stage"])
        for stage in STAGES:
            _add_histogram(stages, numbers, f"stage:{stage}", {"stage": stage})
        yield stages


def _add_histogram(
    family: HistogramMetricFamily, numbers: dict[str, float], name: str, labels: dict[str, str]
) -> None:
    """Add the histogram of one duration, if there is any.

    Args:
        family: the metric.
        numbers: counters of an engine.
        name: see `jobs.counts.histogram`.
        labels: name -> value of the labels of the metric.
    """
    found = histogram(numbers, name)
    if found is None:
        return
    family.add_metric(list(labels.values()), *found)
    if "since" in numbers:
        family.add_sample(f"{family.name}_created", labels, numbers["since"])


class Metrics:
    """The metrics of one app; two apps in one process share none.

    Args:
        engine: the job engine.
    """

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "carseg_requests",
            "Requests answered, by route, method and status; `other` is an address without route.",
            ("route", "method", "code"),
            registry=self.registry,
        )
        self.registry.register(_JobMetrics(engine))
        Gauge("carseg_info", "The version.", ("version",), registry=self.registry).labels(
            VERSION
        ).set(1)
        ProcessCollector(registry=self.registry)  # memory, CPU, start time, open files; on Linux
        self.registry.register(_QueueMetrics(engine))

    def count_request(self, route: str | None, method: str, code: int) -> None:
        """Count a request.

        Args:
            route: the template such as `/<image_hash>/status`; None if no route matches.
            method: the HTTP method as the client sent it; unknown ones count as `other`.
            code: the HTTP status of the answer.
        """
        self._requests.labels(
            _OTHER if route is None else route, method if method in _METHODS else _OTHER, code
        ).inc()


class _QueueMetrics(Collector):
    """Metrics of the waiting and running jobs, read at each scrape."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        try:
            health = self._engine.health()
        except StoreError:
            return
        if health.workers is not None:
            yield GaugeMetricFamily("carseg_workers", "Workers that are there.", health.workers)
        for name, text, value in (
            ("queue_length", "Photos that wait for a free worker.", health.waiting),
            ("queue_limit", "Most photos that may wait.", health.limit),
            ("jobs_running", "Photos being worked on.", health.running),
            ("jobs_stuck", "Photos past their time limit that still hold a worker.", health.stuck),
        ):
            yield GaugeMetricFamily(f"carseg_{name}", text, value)
