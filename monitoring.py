"""`/health`, `/ready` and `/metrics`: whether the service lives, can work, and what it does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from flask import Response, jsonify, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import schema
from api_docs import Api
from job import JobReport
from jobs import Jobs
from pipeline import MODELS_FAILED, Analyser, Pipeline

log = logging.getLogger(__name__)

RETRY_AFTER = 5  # seconds until it is worth asking /ready again

# What a label may hold is fixed here and in the routes: a client can't add time series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"
_OUTCOMES = ("ready", "error", "timeout", "cancelled")
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds


class Metrics:
    """What one app counts; two apps in one process have nothing in common."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "carseg_requests",
            "Requests answered, by route, method and status; `other` is an address without route.",
            ("route", "method", "code"),
            registry=self.registry,
        )
        self._jobs = Counter(
            "carseg_jobs", "Photos whose work ended.", ("outcome",), registry=self.registry
        )
        for outcome in _OUTCOMES:
            self._jobs.labels(outcome)  # shown from the start, as 0
        self._waited = Histogram(
            "carseg_job_wait_seconds",
            "Time that photos waited for a free worker.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "carseg_stage_seconds",
            "Time that each stage of the work took.",
            ("stage",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        Gauge("carseg_info", "The version.", ("version",), registry=self.registry).labels(
            version
        ).set(1)
        ProcessCollector(registry=self.registry)  # memory, CPU, start, open files; on Linux

    def job_ended(self, report: JobReport) -> None:
        """Count a job that ended, and write its line in the log."""
        log_job(report)
        self._jobs.labels(report.outcome).inc()
        self._waited.observe(report.waited)
        for stage, seconds in report.stages.items():
            self._stages.labels(stage).observe(seconds)

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

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        health = self._jobs.health()
        for name, text, value in (
            ("queue_length", "Photos that wait for a free worker.", health.waiting),
            ("queue_limit", "Most photos that may wait.", health.limit),
            ("jobs_running", "Photos being worked on.", health.running),
            ("jobs_stuck", "Photos past their time limit that still hold a worker.", health.stuck),
        ):
            yield GaugeMetricFamily(f"carseg_{name}", text, value)


def add_monitoring(app: Api, metrics: Metrics, jobs: Jobs, stages: Analyser) -> None:
    """Add the three routes, and count all requests of the app.

    Args:
        app: the app.
        metrics: what is counted; it must be told of jobs that end (`Metrics.job_ended`).
        jobs: all photos.
        stages: the models.
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


def trouble(jobs: Jobs, stages: Analyser) -> str | None:
    """Why no photo can be worked on just now, in one sentence; None if all is well."""
    if jobs.is_closing:
        return "The service is stopping."
    if isinstance(stages, Pipeline):
        if stages.failed:
            return MODELS_FAILED
        if not stages.loaded:
            return "The models are still being loaded."
    health = jobs.health()
    if health.trouble is not None:
        return health.trouble
    if health.waiting >= health.limit:
        return f"The queue is full: {health.waiting} photos wait."
    return None


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
