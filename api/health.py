"""Routes for monitoring: `/health` (liveness), `/ready` (readiness) and `/metrics`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

from flask import Response, jsonify, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from api import schema
from api.errors import ApiError
from api.openapi import OpenApiApp
from jobs.counts import BUCKETS, OUTCOMES, STAGES, histogram
from jobs.engine import Engine
from jobs.job import JobReport, log_job
from jobs.store import StoreError
from pipeline import MODELS_FAILED, Analyser, Pipeline

log = logging.getLogger("carseg.api")

Counts = Callable[[], Mapping[str, float]]  # counters as in `jobs.counts`

RETRY_AFTER = 5  # seconds; Retry-After of /ready

# Label values come only from here and from the routes, so a client can't add time series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"

_JOBS = "Photos whose work ended."
_WAITED = "Time that photos waited for a free worker."
_STAGES = "Time that each stage of the work took."


class _JobMetrics:
    """Metrics of the jobs that end in threads of this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._jobs = Counter("carseg_jobs", _JOBS, ("outcome",), registry=registry)
        for outcome in OUTCOMES:
            self._jobs.labels(outcome)  # exported from the start, as 0
        self._waited = Histogram(
            "carseg_job_wait_seconds", _WAITED, buckets=BUCKETS, registry=registry
        )
        self._stages = Histogram(
            "carseg_stage_seconds", _STAGES, ("stage",), buckets=BUCKETS, registry=registry
        )

    def ended(self, report: JobReport) -> None:
        self._jobs.labels(report.outcome).inc()
        self._waited.observe(report.waited)
        for stage, seconds in report.stages.items():
            self._stages.labels(stage).observe(seconds)


class _SharedJobMetrics(Collector):
    """Metrics of the jobs of all workers in a cluster, from the counters of `jobs.counts`.

    Exports nothing while Redis is unreachable.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        try:
            numbers = self._counts()
        except StoreError:
            return
        jobs = CounterMetricFamily("carseg_jobs", _JOBS, labels=["outcome"])
        for outcome in OUTCOMES:
            jobs.add_metric([outcome], numbers.get(f"jobs:{outcome}", 0))
        yield jobs
        waited = HistogramMetricFamily("carseg_job_wait_seconds", _WAITED)
        if (found := histogram(numbers, "wait")) is not None:
            waited.add_metric([], *found)
        yield waited
        stages = HistogramMetricFamily("carseg_stage_seconds", _STAGES, labels=["stage"])
        for stage in STAGES:
            if (found := histogram(numbers, f"stage:{stage}")) is not None:
                stages.add_metric([stage], *found)
        yield stages


class Metrics:
    """The metrics of one app; two apps in one process share none.

    Args:
        version: version of the service.
        counts: reads the counters of jobs in other processes; None if jobs end in this one.
    """

    def __init__(self, version: str, counts: Counts | None = None) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "carseg_requests",
            "Requests answered, by route, method and status; `other` is an address without route.",
            ("route", "method", "code"),
            registry=self.registry,
        )
        self._jobs = _JobMetrics(self.registry) if counts is None else None
        if counts is not None:
            self.registry.register(_SharedJobMetrics(counts))
        Gauge("carseg_info", "The version.", ("version",), registry=self.registry).labels(
            version
        ).set(1)
        ProcessCollector(registry=self.registry)  # memory, CPU, start time, open files; on Linux

    def job_ended(self, report: JobReport) -> None:
        """Count and log a job that ended."""
        log_job(report)
        if self._jobs is not None:
            self._jobs.ended(report)

    def answered(self, route: str | None, method: str, code: int) -> None:
        """Count a request.

        Args:
            route: the template such as `/<image_hash>/status`; None if no route matches.
            method: the HTTP method as the client sent it; unknown ones count as `other`.
            code: the HTTP status of the answer.
        """
        self._requests.labels(
            _OTHER if route is None else route, method if method in _METHODS else _OTHER, code
        ).inc()


class _Queue(Collector):
    """Metrics of the waiting and running jobs, read at each scrape."""

    def __init__(self, jobs: Engine) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        try:
            health = self._jobs.health()
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


def add_monitoring(
    app: OpenApiApp, metrics: Metrics, jobs: Engine, stages: Analyser | None
) -> None:
    """Add the three routes and the counter of requests.

    Args:
        app: the app.
        metrics: the metrics; call `Metrics.job_ended` for each job that ends.
        jobs: the job engine.
        stages: the models; None if they run in other processes.
    """
    metrics.registry.register(_Queue(jobs))

    @app.get("/health", summary="Whether the service lives", responses={200: schema.Health})
    def health() -> Response:
        """Answer 200 as long as the service answers at all. Needs no key."""
        return jsonify(status="alive")

    @app.get(
        "/ready",
        summary="Whether the service can take photos",
        responses={200: schema.Health, 503: schema.ErrorAnswer},
    )
    def ready() -> Response:
        """Answer 200 if the models are loaded, results can be kept and the queue has room.

        The answer is 503 with the reason otherwise. Needs no key.
        """
        reason = trouble(jobs, stages)
        if reason is not None:
            raise ApiError(503, reason, RETRY_AFTER)
        return jsonify(status="ready")

    @app.get("/metrics", summary="Figures for Prometheus", responses={200: schema.TEXT})
    def show_metrics() -> Response:
        """Return requests, jobs, queue, durations and memory in the text format of Prometheus."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(metrics.registry), content_type=content_type)

    @app.after_request
    def count(response: Response) -> Response:
        rule = request.url_rule
        metrics.answered(None if rule is None else rule.rule, request.method, response.status_code)
        return response


def trouble(jobs: Engine, stages: Analyser | None) -> str | None:
    """Return why no photo can be processed now, in one sentence; None if one can."""
    if jobs.is_closing:
        return "The service is stopping."
    if isinstance(stages, Pipeline):
        if stages.failed:
            return MODELS_FAILED
        if not stages.loaded:
            return "The models are still being loaded."
    try:
        health = jobs.health()
    except StoreError as error:
        return str(error)
    if health.trouble is not None:
        return health.trouble
    if health.waiting >= health.limit:
        return f"The queue is full: {health.waiting} photos wait."
    return None
