"""Waiting for news: the place in the queue, the stage, long questions, server-sent events."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from api.openapi import OpenApiApp
from api.service import service_of
from api.status import StatusWaiters, TooManyWaitingError
from pipeline import Pipeline
from settings import Settings
from tests.support.fakes import Gate, Steps
from tests.support.http import post, wait
from tests.support.pictures import encoded, noise
from tests.support.server import Server
from tests.support.waiting import wait_until


@pytest.fixture
def one_worker(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, workers=1, http_threads=6)


def events(text: str) -> list[dict[str, Any]]:
    """Return the data of server-sent events."""
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]


def test_queue_position(
    make_app: Callable[..., OpenApiApp], one_worker: Settings, gate: Gate
) -> None:
    client = make_app(one_worker, gate).test_client()
    first = post(client, encoded(noise(20, 20, seed=1)))
    assert gate.entered.wait(60)
    others = [post(client, encoded(noise(20, 20, seed=seed))) for seed in (2, 3, 4)]
    places = [client.get(f"/{name}/status").get_json().get("position") for name in others]
    assert places == [1, 2, 3]
    running = client.get(f"/{first}/status").get_json()
    assert running["status"] == "Processing"
    assert "position" not in running
    gate.open.set()
    for name in [first, *others]:
        assert set(wait(client, name)) == {"status", "message"}


def _has_reached(steps: Steps, count: int) -> bool:
    return len(steps.reached) >= count


def test_stages(
    make_app: Callable[..., OpenApiApp], one_worker: Settings, pipeline: Pipeline, sample: bytes
) -> None:
    steps = Steps(pipeline)
    client = make_app(one_worker, steps).test_client()
    name = post(client, sample)
    seen = []
    for count in (1, 2, 3):
        wait_until(partial(_has_reached, steps, count))
        seen.append(client.get(f"/{name}/status").get_json()["stage"])
        steps.go.release()
    wait(client, name)
    assert seen == ["parts", "type", "polygons"]


def test_status_waits_for_end(
    make_app: Callable[..., OpenApiApp], one_worker: Settings, gate: Gate
) -> None:
    app = make_app(one_worker, gate)
    name = post(app.test_client(), encoded(noise(20, 20, seed=5)))

    def ask(seconds: float) -> dict[str, Any]:
        answer: dict[str, Any] = app.test_client().get(f"/{name}/status?wait={seconds}").get_json()
        return answer

    assert ask(0.05)["status"] != "Ready"  # the time is over
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, 30)
        time.sleep(0.2)
        assert not waiting.done()
        gate.open.set()
        assert waiting.result(timeout=25)["status"] == "Ready"
    assert ask(30)["status"] == "Ready"  # at once


@pytest.mark.parametrize("given", ["wait=-1", "wait=31", "wait=nan", "wait=x", "wait=1&wait=2"])
def test_invalid_wait(client: FlaskClient, given: str) -> None:
    answer = client.get(f"/{'0' * 64}/status?{given}")
    assert answer.status_code == 400
    assert answer.get_json() == {"error": "wait must be a number of seconds from 0 to 30."}


def test_unknown_photos(client: FlaskClient) -> None:
    for path in ("status", "status?wait=9", "events"):
        answer = client.get(f"/{'0' * 64}/{path}")
        assert answer.status_code == 404
        assert set(answer.get_json()) == {"error"}


def test_events_report_each_change(
    make_app: Callable[..., OpenApiApp], one_worker: Settings, pipeline: Pipeline, sample: bytes
) -> None:
    steps = Steps(pipeline)
    client = make_app(one_worker, steps).test_client()
    name = post(client, sample)
    stream: Iterator[bytes] = client.get(f"/{name}/events").iter_encoded()
    seen = []
    for piece in stream:
        for event in events(piece.decode()):
            seen.append(event)
            if "stage" in event:
                steps.go.release()
    states = [event["status"] for event in seen]
    assert states[-1] == "Ready"
    assert states == sorted(states, key=["Uploaded", "Processing", "Ready"].index)
    stages = [event["stage"] for event in seen if "stage" in event]
    assert stages[:3] == ["parts", "type", "polygons"]
    assert all(seen[i] != seen[i + 1] for i in range(len(seen) - 1))


def test_events_of_photo_that_is_ready(client: FlaskClient, sample: bytes) -> None:
    name = post(client, sample)
    wait(client, name)
    answer = client.get(f"/{name}/events")
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    assert [event["status"] for event in events(answer.get_data(as_text=True))] == ["Ready"]


def test_stream_keeps_alive_and_ends(
    make_app: Callable[..., OpenApiApp], one_worker: Settings, gate: Gate
) -> None:
    app = make_app(one_worker, gate)
    name = post(app.test_client(), encoded(noise(20, 20, seed=6)))
    assert gate.entered.wait(60)
    waiters = StatusWaiters(
        service_of(app).engine, threading.Semaphore(1), heartbeat=0.05, longest_stream=2
    )
    lines, leave = waiters.stream(name, lambda status: status.state)
    *_, last = seen = list(lines)
    leave()
    assert "event: status\ndata: Processing\n\n" in seen
    assert last == ": still there\n\n"


def test_all_slots_in_use(
    make_app: Callable[..., OpenApiApp], one_worker: Settings, gate: Gate
) -> None:
    app = make_app(one_worker, gate)  # 6 threads: 2 may wait
    client = app.test_client()
    name = post(client, encoded(noise(20, 20, seed=7)))
    streams = [app.test_client().get(f"/{name}/events") for _ in range(2)]
    refused = client.get(f"/{name}/events")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert set(refused.get_json()) == {"error"}
    # A long question is answered at once: the gate is shut, so only that can end it.
    assert client.get(f"/{name}/status?wait=30").get_json()["status"] != "Ready"
    assert client.head(f"/{name}/events").status_code == 200
    streams[0].close()  # given up, never read
    again = app.test_client().get(f"/{name}/events")
    assert again.status_code == 200
    for stream in (streams[1], again):
        stream.close()
        stream.close()  # frees one slot, however often
    room = StatusWaiters(service_of(app).engine, threading.Semaphore(1))
    _, leave = room.stream(name, str)
    with pytest.raises(TooManyWaitingError):
        room.stream(name, str)
    leave()
    leave()
    room.stream(name, str)
    with pytest.raises(TooManyWaitingError):
        room.stream(name, str)


def test_waiters_leave_when_service_stops(
    make_app: Callable[..., OpenApiApp], one_worker: Settings, gate: Gate
) -> None:
    app = make_app(one_worker, gate)
    name = post(app.test_client(), encoded(noise(20, 20, seed=8)))
    assert gate.entered.wait(60)
    with ThreadPoolExecutor() as pool:
        question = pool.submit(app.test_client().get, f"/{name}/status?wait=30")
        stream = pool.submit(lambda: app.test_client().get(f"/{name}/events").get_data())
        time.sleep(0.2)
        closing = pool.submit(service_of(app).engine.close)
        assert question.result(timeout=20).get_json()["status"] == "Processing"
        assert stream.result(timeout=20)
        gate.open.set()
        closing.result(timeout=60)


def test_many_waiters_leave_threads_for_others(server: Server) -> None:
    """On the real server, with as many threads as it has by default."""
    names = [server.post(encoded(noise(700, 900, seed=seed + 600))) for seed in range(3)]
    answers = []
    for _ in range(20):
        answers.append(requests.get(f"{server.url}/{names[-1]}/events", stream=True, timeout=60))
    try:
        assert {answer.status_code for answer in answers} <= {200, 503}
        ready = requests.get(server.url, timeout=30)
        assert ready.status_code == 200
        listening = [answer for answer in answers if answer.status_code == 200]
        assert listening
        last = events(listening[0].text)[-1]
        assert last["status"] == "Ready"
    finally:
        for answer in answers:
            answer.close()
