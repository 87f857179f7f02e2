"""`/health`, `/ready`, `/metrics`, and the line in the log for each job."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from api.openapi import OpenApiApp
from api.service import service_of
from jobs.messages import UPLOADS_NOT_WRITABLE
from pipeline import MODELS_FAILED, Pipeline
from settings import VERSION, Settings
from tests.support.fakes import Gate
from tests.support.http import post, wait
from tests.support.pictures import encoded, noise
from tests.support.waiting import wait_until

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def metrics(client: FlaskClient) -> Samples:
    """Return the values of all metrics, by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=")
    found: Samples = {}
    for family in parse(answer.text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


def labels(**pairs: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pairs.items()))


def until_ready(client: FlaskClient) -> None:
    wait_until(lambda: client.get("/ready").status_code == 200, 120)


def test_health(client: FlaskClient) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.get_json()) == (200, {"status": "alive"})
    assert client.head("/health").status_code == 200


def test_ready_when_models_are_loaded(client: FlaskClient) -> None:
    until_ready(client)
    assert client.get("/ready").get_json() == {"status": "ready"}


def reason(client: FlaskClient) -> str:
    """Return the reason why the service is not ready."""
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/health").status_code == 200
    document: dict[str, str] = answer.get_json()
    assert set(document) == {"error"}
    return document["error"]


def test_not_ready_while_models_load(
    make_app: Callable[..., OpenApiApp], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = threading.Event()

    def fail_slowly(**_: object) -> None:
        assert load.wait(60)
        raise OSError("broken")

    monkeypatch.setattr("pipeline.PartSegmenter", fail_slowly)
    client = make_app(settings, Pipeline()).test_client()
    assert reason(client) == "The models are still being loaded."
    load.set()
    wait_until(lambda: reason(client) == MODELS_FAILED)


def test_not_ready_while_queue_is_full(
    make_app: Callable[..., OpenApiApp], tmp_path: Path, gate: Gate
) -> None:
    client = make_app(Settings(data_dir=tmp_path, workers=1, queue=2), gate).test_client()
    hashes = [post(client, encoded(noise(20, 20, seed=0)))]
    assert gate.entered.wait(60)
    assert client.get("/ready").status_code == 200
    hashes += [post(client, encoded(noise(20, 20, seed=seed))) for seed in (1, 2)]
    assert reason(client) == "The queue is full: 2 photos wait."
    now = metrics(client)
    assert now["carseg_queue_length"][()] == now["carseg_queue_limit"][()] == 2
    assert now["carseg_jobs_running"][()] == 1
    gate.open.set()
    for image_hash in hashes:
        wait(client, image_hash)
    until_ready(client)
    assert metrics(client)["carseg_queue_length"][()] == 0


def test_not_ready_while_uploads_cannot_be_written(client: FlaskClient, settings: Settings) -> None:
    until_ready(client)
    jobs = service_of(client.application).engine
    moved = settings.uploads.rename(settings.data_dir / "moved")
    settings.uploads.write_text("in the way")  # a mode would not stop root
    try:
        deadline = time.monotonic() + 60
        while client.get("/ready").status_code == 200:  # a check is cached for a few seconds
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert reason(client) == UPLOADS_NOT_WRITABLE
        assert jobs.health().problem == reason(client)
    finally:
        settings.uploads.unlink()
        moved.rename(settings.uploads)
    until_ready(client)


def test_not_ready_while_service_stops(client: FlaskClient) -> None:
    service_of(client.application).engine.close()
    assert reason(client) == "The service is stopping."


def test_metrics_of_requests(client: FlaskClient) -> None:
    assert "carseg_requests_total" not in metrics(client)  # counted when it is answered
    unknown = "f" * 64
    for _ in range(3):
        client.get(f"/{unknown}/status")
    client.post("/", json={})
    client.post("/", json={"image": "AAAA"})
    client.head("/health")
    counted = metrics(client)["carseg_requests_total"]
    assert counted == {
        labels(route="/<image_hash>/status", method="GET", code="404"): 3,
        labels(route="/", method="POST", code="400"): 2,
        labels(route="/health", method="HEAD", code="200"): 1,
        labels(route="/metrics", method="GET", code="200"): 1,
    }


def test_clients_cannot_add_time_series(client: FlaskClient) -> None:
    def series() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        return {(name, each) for name, values in metrics(client).items() for each in values}

    def ask(number: int) -> None:
        for method in ("GET", "POST", f"BREW{number}", "get"):
            client.open(f"/nothing{number}", method=method)
            client.open(f"/{number:064x}/segments?format=f{number}", method=method)
            client.open(f"/{number:064x}/masks/part{number}.png", method=method)
            client.open(f"/ui/{number}.js", method=method, headers={"Host": f"h{number}"})
            client.open(f"/docs/swagger/{number}/x", method=method)

    metrics(client)
    ask(0)
    before = series()
    for number in range(1, 40):
        ask(number)
    assert series() == before
    text = client.get("/metrics").text
    assert "BREW" not in text
    assert "nothing" not in text


def test_metrics_of_jobs(make_app: Callable[..., OpenApiApp], settings: Settings, gate: Gate,
                         caplog: pytest.LogCaptureFixture, sample: bytes) -> None:  # fmt: skip
    client = make_app(settings, gate).test_client()
    zero = metrics(client)
    outcomes = ("ready", "error", "timeout", "cancelled")
    assert zero["carseg_jobs_total"] == {labels(outcome=outcome): 0 for outcome in outcomes}
    gate.open.set()
    with caplog.at_level(logging.INFO):
        wait(client, good := post(client, sample))
        gate.error = RuntimeError("the network broke")
        wait(client, bad := post(client, encoded(noise(30, 30))), "Error")
        wait_until(lambda: [r.getMessage() for r in caplog.records].count("Job ended") >= 2)
    now = metrics(client)
    assert now["carseg_jobs_total"] == {
        labels(outcome="ready"): 1,
        labels(outcome="error"): 1,
        labels(outcome="timeout"): 0,
        labels(outcome="cancelled"): 0,
    }
    stages = {dict(each)["stage"] for each in now["carseg_stage_seconds_count"]}
    assert {"parts", "type", "polygons"} <= stages
    assert sum(now["carseg_stage_seconds_sum"].values()) > 0
    assert now["carseg_job_wait_seconds_count"][()] == 2

    lines = {r.fields["job"]: r.fields for r in caplog.records if r.getMessage() == "Job ended"}  # type: ignore[attr-defined]
    assert set(lines) == {good, bad}
    assert lines[good]["outcome"] == "ready"
    assert lines[good]["seconds"] >= lines[good]["parts_seconds"] > 0
    assert "reason" not in lines[good]
    assert lines[bad]["outcome"] == "error"
    assert "broke" not in lines[bad]["reason"]  # the cause is in the traceback before
    json.dumps(list(lines.values()))


def test_metrics_of_process(client: FlaskClient) -> None:
    now = metrics(client)
    assert now["carseg_info"] == {labels(version=VERSION): 1}
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("memory is read from /proc, which only Linux has")
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = now["process_resident_memory_bytes"][()]
    assert 0.5 < memory / (pages * os.sysconf("SC_PAGE_SIZE")) < 2
    assert 0 < now["process_start_time_seconds"][()] < time.time()


def test_two_apps_have_separate_metrics(
    make_app: Callable[..., OpenApiApp], settings: Settings
) -> None:
    first, second = (
        make_app(settings.model_copy(update={"data_dir": settings.data_dir / name})).test_client()
        for name in ("one", "two")
    )
    first.get("/health")
    metrics(first)
    assert sum(metrics(first)["carseg_requests_total"].values()) == 2
    assert "carseg_requests_total" not in metrics(second)


def test_openmetrics_on_request(client: FlaskClient) -> None:
    client.get("/health")
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = client.get("/metrics", headers=accept)
    assert answer.content_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    assert "carseg_requests" in {family.name for family in families}
