"""Many photos in one request, and one question for where many stand."""

from __future__ import annotations

import base64
import hashlib
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import SecretStr
from werkzeug.test import TestResponse

from api.errors import UNEXPECTED
from api.openapi import OpenApiApp
from api.schema import BatchAnswer, StatusesAnswer
from api.service import service_of
from jobs import thread_engine as jobs_module
from jobs.job_table import DECODED_LIMIT
from pipeline import Pipeline
from segment_interface import Photo, decode_image, decode_photo
from settings import Settings
from tests.support.fakes import FakePipeline, Gate, paint_nothing
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise
from tests.support.server import Server

UNKNOWN = "0" * 64
Make = Callable[..., OpenApiApp]


def text(data: bytes) -> str:
    return body(data)["image"]


def photos(count: int, seed: int = 0) -> list[bytes]:
    return [encoded(noise(12, 20 + seed, number)) for number in range(count)]


def send(client: FlaskClient, images: Any, **more: Any) -> TestResponse:
    return client.post("/batch", json={"images": images}, **more)


def entries(answer: TestResponse) -> list[dict[str, Any]]:
    """Return the entries of an accepted batch."""
    assert answer.status_code == 200, answer.text
    BatchAnswer.model_validate(answer.get_json())
    found: list[dict[str, Any]] = answer.get_json()["photos"]
    return found


def standings(client: FlaskClient, hashes: list[str]) -> list[dict[str, Any]]:
    answer = client.post("/status", json={"image_hashes": hashes})
    assert answer.status_code == 200, answer.text
    StatusesAnswer.model_validate(answer.get_json())
    found: list[dict[str, Any]] = answer.get_json()["photos"]
    return found


@pytest.fixture
def client(make_app: Make) -> FlaskClient:
    return make_app(stages=FakePipeline(paint=paint_nothing)).test_client()


# --- each photo as if it had come alone


GOOD = photos(3)
POOL = [
    *map(text, GOOD),
    f"data:image/png;base64,{text(GOOD[0])}",
    text(GOOD[1]).rstrip("="),
    " ",
    "no base64!",
    text(b"hello"),
    text(GOOD[0][: len(GOOD[0]) // 2]),
    text(encoded(noise(9, 9), "GIF")),
    text(encoded(np.zeros((800, 600), np.uint8))),
    text(encoded(noise(700, 700))),
]


@pytest.fixture
def strict(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_upload_mb": 1.0, "max_pixels": 400_000})


@examples(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(images=st.lists(st.sampled_from(POOL), min_size=1, max_size=6))
def test_batch_entries_equal_single_posts(
    make_app: Make, strict: Settings, tmp_path_factory: pytest.TempPathFactory, images: list[str]
) -> None:
    def client() -> FlaskClient:
        folder = tmp_path_factory.mktemp("app")
        return make_app(
            strict.model_copy(update={"data_dir": folder}), FakePipeline(paint=paint_nothing)
        ).test_client()

    alone, together = client(), client()
    expected = []
    for image in images:
        answer = alone.post("/", json={"image": image})
        code = {} if answer.status_code == 200 else {"code": answer.status_code}
        expected.append(answer.get_json() | code)
    assert entries(send(together, images)) == expected
    for app in (alone, together):
        for entry in expected:
            if "image_hash" in entry:
                wait(app, entry["image_hash"])
    assert together.get("/").get_json() == alone.get("/").get_json()


def test_results_equal_single_photos(
    make_app: Make, pipeline: Pipeline, settings: Settings, sample: bytes, tmp_path: Path
) -> None:
    images = [sample, encoded(decode_image(sample, 50_000_000)[:, ::-1]), *photos(2)]
    together = make_app(stages=pipeline).test_client()
    alone = make_app(settings.model_copy(update={"data_dir": tmp_path / "b"})).test_client()
    for data, entry in zip(images, entries(send(together, list(map(text, images)))), strict=True):
        image_hash = post(alone, data)
        assert entry["image_hash"] == image_hash == hashlib.sha256(data).hexdigest()
        results = []
        for app in (alone, together):
            wait(app, image_hash)
            results.append(app.get(f"/{image_hash}/segments").data)
        assert results[0] == results[1]


def test_duplicate_photo_is_processed_once(make_app: Make, gate: Gate, sample: bytes) -> None:
    client = make_app(stages=gate).test_client()
    first, second, third = entries(send(client, [text(sample), text(GOOD[0]), text(sample)]))
    assert first["message"] == "The photo was accepted."
    assert third == {"message": "The photo is already known.", "image_hash": first["image_hash"]}
    gate.open.set()
    for entry in (first, second):
        wait(client, entry["image_hash"])
    assert gate.calls == 2


def test_photos_belong_to_key_that_sent_them(make_app: Make, settings: Settings) -> None:
    keys = ("first-key-0123456789", "second-key-0123456789")
    locked = settings.model_copy(update={"api_keys": tuple(map(SecretStr, keys))})
    client = make_app(locked, FakePipeline(paint=paint_nothing)).test_client()
    ours, theirs = ({"X-API-Key": key} for key in keys)
    hashes = [e["image_hash"] for e in entries(send(client, list(map(text, GOOD)), headers=ours))]

    def seen(headers: dict[str, str]) -> list[int | None]:
        answer = client.post("/status", json={"image_hashes": hashes}, headers=headers)
        return [entry.get("code") for entry in answer.get_json()["photos"]]

    assert seen(ours) == [None] * 3
    assert seen(theirs) == [404] * 3
    again = entries(send(client, [text(GOOD[0])], headers=theirs))
    assert again == [{"message": "The photo was accepted.", "image_hash": hashes[0]}]
    assert seen(theirs) == [None, 404, 404]
    assert client.post("/status", json={"image_hashes": hashes}).status_code == 401


# --- what is full


def test_queue_fills_during_batch(make_app: Make, settings: Settings, gate: Gate) -> None:
    config = settings.model_copy(update={"workers": 1, "queue": 2})
    client = make_app(config, gate).test_client()
    images = [text(data) for data in photos(6)]
    post(client, GOOD[0])
    assert gate.entered.wait(60)
    answer = send(client, [images[1], images[2], images[0], "no base64!", images[3], images[4]])
    found = entries(answer)
    assert [entry.get("code") for entry in found] == [None, None, None, 400, 503, 503]
    assert found[4]["error"].startswith("The queue is full (2 photos wait)")
    assert 1 <= found[4]["retry_after"] == int(answer.headers["Retry-After"]) <= 300
    # If all photos are refused, the whole answer is a 503, which clients and proxies know.
    answer = send(client, images[3:5])
    assert answer.status_code == 503
    assert set(answer.get_json()) == {"error"}
    assert 1 <= int(answer.headers["Retry-After"]) <= 300
    gate.open.set()
    for image in (images[1], images[2]):
        wait(client, hashlib.sha256(base64.b64decode(image)).hexdigest())
    for entry in entries(send(client, images[3:5])):
        wait(client, entry["image_hash"])


def test_each_photo_counts_for_rate_limit(make_app: Make, settings: Settings) -> None:
    config = settings.model_copy(update={"rate_limit": "4/hour"})
    client = make_app(config, FakePipeline(paint=paint_nothing)).test_client()
    post(client, GOOD[0])
    images = [text(data) for data in photos(5, seed=9)]
    answer = send(client, images)
    found = entries(answer)
    assert [entry.get("code") for entry in found] == [None, None, None, 429, 429]
    assert found[4]["error"] == "Too many requests; the limit is 4 per hour."
    assert 1 <= found[4]["retry_after"] <= 3601
    assert int(answer.headers["Retry-After"]) in (found[3]["retry_after"], found[4]["retry_after"])
    for answer in (send(client, images), client.post("/", json={"image": images[0]})):
        assert (answer.status_code, set(answer.get_json())) == (429, {"error"})
    hashes = [entry["image_hash"] for entry in found[:3]] * 20
    assert all("status" in entry for entry in standings(client, hashes))  # never limited


def test_internal_error_keeps_other_photos(make_app: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(stages=FakePipeline(paint=paint_nothing))
    accept = service_of(app).engine.accept

    def fail(data: bytes, owner: str, name: str | None, *, damage: bool) -> tuple[str, bool]:
        if data == GOOD[1]:
            raise RuntimeError("secret /etc/passwd")
        taken: tuple[str, bool] = accept(data, owner, name, damage=damage)
        return taken

    monkeypatch.setattr(service_of(app).engine, "accept", fail)
    found = entries(send(app.test_client(), list(map(text, GOOD))))
    assert found[1] == {"error": UNEXPECTED, "code": 500}
    for entry in (found[0], found[2]):
        wait(app.test_client(), entry["image_hash"])


def test_batches_leave_threads_for_others(
    make_app: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(
        settings.model_copy(update={"http_threads": 8}), FakePipeline(paint=paint_nothing)
    )
    entered, go_on = threading.Semaphore(0), threading.Event()

    def slow(data: bytes, owner: str, name: str | None, *, damage: bool) -> tuple[str, bool]:
        entered.release()
        assert go_on.wait(60)
        return hashlib.sha256(data).hexdigest(), True

    monkeypatch.setattr(service_of(app).engine, "accept", slow)
    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(send, app.test_client(), [text(GOOD[0])]) for _ in range(2)]
        for _ in running:
            assert entered.acquire(timeout=60)
        refused = send(app.test_client(), [text(GOOD[1])])
        go_on.set()
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert set(refused.get_json()) == {"error"}
    assert all(entries(future.result()) for future in running)
    assert entries(send(app.test_client(), [text(GOOD[1])]))


def test_decoded_photos_in_memory_are_limited(
    make_app: Make, settings: Settings, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[weakref.ref[NDArray[np.uint8]]] = []
    most = 0

    def watched(data: bytes, max_pixels: int) -> Photo:
        nonlocal most
        photo = decode_photo(data, max_pixels)
        decoded.append(weakref.ref(photo.pixels))
        there = [pixels for ref in decoded if (pixels := ref()) is not None]
        most = max(most, sum(pixels.nbytes for pixels in there))
        return photo

    monkeypatch.setattr(jobs_module, "decode_photo", watched)
    client = make_app(settings, gate).test_client()
    size = 1500 * 1000 * 3
    flat = [encoded(np.full((1000, 1500), level, np.uint8)) for level in range(60)]
    assert all("image_hash" in entry for entry in entries(send(client, list(map(text, flat)))))
    assert len(decoded) == 60
    assert size < most <= DECODED_LIMIT + 4 * size < 60 * size
    for data in flat:
        client.delete(f"/{hashlib.sha256(data).hexdigest()}")


# --- requests that are refused


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"json": {}}, 400, "There are no images"),
        ({"json": []}, 400, "There are no images"),
        ({"json": {"image": text(GOOD[0])}}, 400, "There are no images"),
        ({"json": {"images": []}}, 400, "There are no images"),
        ({"json": {"images": text(GOOD[0])}}, 400, "There are no images"),
        ({"json": {"images": {"0": text(GOOD[0])}}}, 400, "There are no images"),
        ({"data": b"{", "content_type": "application/json"}, 400, "not valid JSON"),
        ({"data": b'{"images": []}'}, 415, "application/json"),
        ({"data": {"file": (BytesIO(GOOD[0]), "car.png")}}, 415, "go to POST /."),
        ({"data": GOOD[0], "content_type": "image/png"}, 415, "go to POST /."),
        ({"data": GOOD[0], "content_type": "application/json"}, 400, "a file, not JSON"),
        ({"json": {"images": ["a"]}, "headers": {"Content-Encoding": "gzip"}}, 415, "Compressed"),
        ({"json": {"images": ["a"] * 11}}, 413, "There are 11 images; the limit is 10."),
        ({"json": {"images": ["A" * 1_500_000]}}, 413, "The batch is too large; the limit is 1 MB"),
        ({"json": {"images": ["A" * 5_000_000]}}, 413, "The batch is too large; the limit is 1 MB"),
    ],
)
def test_bad_batches(
    make_app: Make, settings: Settings, request_: dict[str, Any], status: int, words: str
) -> None:
    limits = {"batch_photos": 10, "batch_mb": 1.0}
    client = make_app(
        settings.model_copy(update=limits), FakePipeline(paint=paint_nothing)
    ).test_client()
    answer = client.post("/batch", **request_)
    assert answer.status_code == status
    assert set(answer.get_json()) == {"error"}
    assert words in answer.get_json()["error"]
    assert client.get("/").get_json() == []


def test_items_that_are_not_strings(make_app: Make) -> None:
    client = make_app(stages=FakePipeline(paint=paint_nothing)).test_client()
    images = [5, text(GOOD[0]), None, [text(GOOD[1])], text(GOOD[1]), text(GOOD[2])]
    names = ["a.png", 5, None, "b.png", None, "c.png"]
    answer = client.post("/batch", json={"images": images, "file_names": names})
    found = entries(answer)
    for number in (1, 3, 4):
        message = f"Item {number} of images is not a string."
        assert found[number - 1] == {"error": message, "code": 400}
    assert found[1] == {"error": "Item 2 of file_names is not a string.", "code": 400}
    hashes = [hashlib.sha256(data).hexdigest() for data in GOOD[1:3]]
    assert [entry["image_hash"] for entry in found[4:]] == hashes
    for image_hash in hashes:
        wait(client, image_hash)
    assert client.get("/").get_json() == hashes


def test_batch_of_exactly_the_limit(make_app: Make, settings: Settings) -> None:
    limit = settings.model_copy(update={"batch_mb": 0.001, "max_upload_mb": 1.0})
    client = make_app(limit, FakePipeline(paint=paint_nothing)).test_client()
    data = encoded(np.zeros((4, 4), np.uint8))
    data += b"\0" * (limit.batch_bytes - len(data))
    wait(client, entries(send(client, [text(data)]))[0]["image_hash"])
    assert send(client, [text(data + b"more")]).status_code == 413


def test_limits_of_real_server(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server(tmp_path / "data", CARSEG_MAX_UPLOAD_MB="1", CARSEG_BATCH_MB="4")
    large = [encoded(noise(500, 550, seed)) for seed in range(4)]  # 0.8 MB each
    images = [text(data) for data in large]

    def ask(path: str, document: dict[str, Any]) -> tuple[int, Any]:
        answer = requests.post(server.url + path, json=document, timeout=60)
        return answer.status_code, answer.json()

    status, document = ask("/batch", {"images": images})
    assert status == 200
    for entry in document["photos"]:
        server.wait(entry["image_hash"])
    for path, refused in (
        ("/batch", {"images": images * 2}),
        ("/batch", {"images": images * 10}),
        ("/", {"image": images[0] * 3}),
        ("/", {"image": images[0] * 20}),
    ):
        status, document = ask(path, refused)
        assert (status, set(document)) == (413, {"error"})


# --- where many stand


def test_status_of_many_photos(make_app: Make, settings: Settings, gate: Gate) -> None:
    client = make_app(settings.model_copy(update={"workers": 1}), gate).test_client()
    sent = entries(send(client, [text(data) for data in photos(3)]))
    hashes = [entry["image_hash"] for entry in sent]
    assert gate.entered.wait(60)
    asked = [hashes[2], UNKNOWN, hashes[0], "x", hashes[1], hashes[0].upper(), "\ud800"]
    found = standings(client, asked)
    assert [entry["image_hash"] for entry in found] == asked
    assert found.pop() == found[1] | {"image_hash": "\ud800"}  # which no address can have
    for entry in found:
        alone = client.get(f"/{entry['image_hash']}/status")
        if alone.status_code == 200:
            assert entry == {"image_hash": entry["image_hash"], **alone.get_json()}
        else:
            assert entry["code"] == alone.status_code == 404
            assert entry["error"] == alone.get_json()["error"]
    assert [entry.get("status") for entry in found] == [
        "Uploaded", None, "Processing", None, "Uploaded", "Processing"
    ]  # fmt: skip
    assert [entry.get("position") for entry in found] == [2, None, None, None, 1, None]
    gate.error = RuntimeError("broken")
    gate.open.set()
    for image_hash in hashes:
        wait(client, image_hash, "Error")
    assert {entry["status"] for entry in standings(client, hashes)} == {"Error"}


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({}, 400),
        ({"image_hashes": []}, 400),
        ({"image_hashes": UNKNOWN}, 400),
        ({"image_hashes": [1]}, 400),
        ({"image_hashes": [UNKNOWN] * 1001}, 413),
    ],
)
def test_bad_status_requests(client: FlaskClient, document: Any, status: int) -> None:
    answer = client.post("/status", json=document)
    assert answer.status_code == status
    assert set(answer.get_json()) == {"error"}


def test_thousand_hashes(client: FlaskClient) -> None:
    assert {entry["code"] for entry in standings(client, [UNKNOWN] * 1000)} == {404}
