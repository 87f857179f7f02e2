"""`/health`, `/ready` and `/metrics`: whether the service lives, can work, and what it does."""

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
from api.openapi import OpenApiApp
from jobs.counts import BUCKETS, OUTCOMES, STAGES, histogram
from jobs.engine import Engine
from jobs.job import JobReport, log_job
from jobs.store import StoreError
from pipeline import MODELS_FAILED, Analyser, Pipeline

log = logging.getLogger("carseg.api")

Counts = Callable[[], Mapping[str, float]]  # numbers of `job_counts`

RETRY_AFTER = 5  # seconds until it is worth asking /ready again

# What a label may hold is fixed here and in the routes: a client can't add time series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"

_JOBS = "Photos whose work ended."
_WAITED = "Time that photos waited for a free worker."
_STAGES = "Time that each stage of the work took."


class _JobMetrics:
    """The jobs that end in threads of this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._jobs = Counter("carseg_jobs", _JOBS, ("outcome",), registry=registry)
        for outcome in OUTCOMES:
            self._jobs.labels(outcome)  # shown from the start, as 0
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
    """The jobs of all workers of a cluster, as `job_counts` has them; nothing without Redis."""

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
    """What one app counts; two apps in one process have nothing in common.

    Args:
        version: of the service.
        counts: what was counted of jobs in other processes; None if they end in this one.
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
        ProcessCollector(registry=self.registry)  # memory, CPU, start, open files; on Linux

    def job_ended(self, report: JobReport) -> None:
        """Count a job that ended, and write its line in the log."""
        log_job(report)
        if self._jobs is not None:
            self._jobs.ended(report)

    def answered(self, route: str | None, method: str, code: int) -> None:
        """Count a request.

        Args:
            route: the template such as `/<image_hash>/status`, None where no route fits.
            method: the HTTP method, whatever the client wrote.
            code: the HTTP status of the answer.
        """
        self._requests.labels(
            _OTHER if route is None else route, method if method in _METHODS else _OTHER, code
        ).inc()


class _Queue(Collector):
    """The jobs that wait and run, at the moment somebody looks."""

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
    """Add the three routes, and count all requests of the app.

    Args:
        app: the app.
        metrics: what is counted; it must be told of jobs that end (`Metrics.job_ended`).
        jobs: all photos.
        stages: the models; None if they are in other processes.
    """
    metrics.registry.register(_Queue(jobs))

    @app.get("/health", summary="Whether the service lives", responses={200: schema.Health})
    def health() -> Response:
        """200 as long as it answers at all. Needs no key."""
        return jsonify(status="alive")

    @app.get(
        "/ready",
        summary="Whether the service can take photos",
        responses={200: schema.Health, 503: schema.ErrorAnswer},
    )
    def ready() -> Response:
        """200 if the models are loaded, results can be kept and the queue has room. Needs no key.

        503 with the reason otherwise.
        """
        reason = trouble(jobs, stages)
        if reason is None:
            return jsonify(status="ready")
        answer = jsonify(error=reason)
        answer.status_code = 503
        answer.headers["Retry-After"] = str(RETRY_AFTER)
        return answer

    @app.get("/metrics", summary="Figures for Prometheus", responses={200: schema.TEXT})
    def show_metrics() -> Response:
        """Requests, jobs, queue, durations and memory in the text format of Prometheus."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(metrics.registry), content_type=content_type)

    @app.after_request
    def count(response: Response) -> Response:
        rule = request.url_rule
        metrics.answered(None if rule is None else rule.rule, request.method, response.status_code)
        return response


def trouble(jobs: Engine, stages: Analyser | None) -> str | None:
    """Why no photo can be worked on just now, in one sentence; None if all is well."""
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
