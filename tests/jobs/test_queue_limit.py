"""Test that the queue is bounded."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from api.openapi import OpenApiApp
from jobs import thread_engine
from jobs.engine import QueueFullError
from settings import Settings
from tests.jobs.thread_service import MakeService, uploads
from tests.support.fakes import FakePipeline, Gate
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise


def test_full_queue_refuses_with_retry_time(
    make_app: Callable[..., OpenApiApp], settings: Settings, gate: Gate
) -> None:
    app = make_app(settings.model_copy(update={"workers": 1, "queue": 2}), gate)
    client = app.test_client()
    running = post(client, encoded(noise(30, 40, 0)))
    assert gate.entered.wait(60)
    waiting = [post(client, encoded(noise(30, 40, seed))) for seed in (1, 2)]
    refused = client.post("/", json=body(encoded(noise(30, 40, 3))))
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["Retry-After"]) <= 300
    message = refused.get_json()["error"]
    assert message.startswith("The queue is full (2 photos wait); try again in ")
    assert len(uploads(settings)) == 3  # the refused one left no file
    # A known photo needs no place in the queue.
    assert client.post("/", json=body(encoded(noise(30, 40, 1)))).status_code == 200
    gate.open.set()
    for image_hash in (running, *waiting):
        wait(client, image_hash)
    wait(client, post(client, encoded(noise(30, 40, 3))))


def test_full_queue_decodes_nothing(
    make_service: MakeService, stages: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.hang(30, 31)
    service = make_service(queue=1)
    service.wait(service.post(30), "Processing")
    service.post(31)
    monkeypatch.setattr(thread_engine, "decode_photo", lambda *_: pytest.fail("decoded"))
    with pytest.raises(QueueFullError):
        service.post(32)


def test_many_posts_at_once_never_overfill_queue(
    make_service: MakeService, stages: FakePipeline
) -> None:
    stages.hang(*range(20, 60))
    service = make_service(queue=5)
    service.wait(service.post(20), "Processing")
    refused = []

    def add(width: int) -> None:
        try:
            service.post(width)
        except QueueFullError:
            refused.append(width)

    threads = [threading.Thread(target=add, args=(width,)) for width in range(21, 51)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.jobs.health().waiting == 5
    assert len(refused) == 25
    assert list(service.status.values()).count("Uploaded") == 5
