"""A photo posted with `wait`: its result, status or error in one answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from api.openapi import OpenApiApp
from api.service import service_of
from exports import FORMATS
from jobs.messages import UNEXPECTED
from settings import Settings
from tests.support.fakes import FakePipeline, Gate
from tests.support.http import body, wait
from tests.support.pictures import SAMPLE, encoded, noise
from tests.support.server import Server

PHOTO = encoded(noise(30, 40))
HASH = hashlib.sha256(PHOTO).hexdigest()
OPTIONS = "min_confidence=0&tolerance=2&normalized=true"


@pytest.fixture
def fake(make_app: Callable[..., OpenApiApp]) -> FlaskClient:
    """A client of a service without networks."""
    return make_app(stages=FakePipeline()).test_client()


@pytest.mark.parametrize("query", ["", OPTIONS, *(f"format={name}" for name in FORMATS)])
def test_result_in_one_answer(fake: FlaskClient, query: str) -> None:
    answer = fake.post(f"/?wait=30&{query}", data=PHOTO, content_type="image/png")
    assert answer.status_code == 200
    result = fake.get(f"/{HASH}/segments?{query}")
    assert answer.data == result.data
    assert answer.content_type == result.content_type
    assert answer.headers["Content-Location"] == f"{HASH}/segments"
    again = fake.post(f"/?wait=0&{query}", json=body(PHOTO))
    assert again.data == result.data
    assert "Accept" in again.vary


def test_result_in_accepted_format(fake: FlaskClient) -> None:
    answer = fake.post("/?wait=30", json=body(PHOTO), headers={"Accept": "image/svg+xml"})
    assert answer.content_type == "image/svg+xml"


def test_result_on_real_server(server: Server) -> None:
    photo = SAMPLE.read_bytes()
    with requests.Session() as session:
        for sent in ({"json": body(photo)}, {"data": photo}, {"files": {"file": photo}}):
            answer = session.post(f"{server.url}/?wait=30", timeout=60, **sent)
            assert answer.status_code == 200
            location = answer.headers["Content-Location"]
            result = session.get(f"{server.url}/{location}", timeout=60)
            assert answer.content == result.content


def test_status_after_wait(make_app: Callable[..., OpenApiApp], gate: Gate) -> None:
    client = make_app(stages=gate).test_client()
    answer = client.post("/?wait=0.05", json=body(PHOTO))
    assert answer.status_code == 202
    entry = answer.get_json()
    assert entry["image_hash"] == HASH
    assert entry["status"] in ("Uploaded", "Processing")
    assert answer.headers["Location"] == f"{HASH}/status"
    gate.open.set()
    wait(client, HASH)
    assert client.post("/?wait=1", json=body(PHOTO)).status_code == 200


def test_no_slot_to_wait(
    make_app: Callable[..., OpenApiApp],
    settings: Settings,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make_app(settings.model_copy(update={"http_threads": 2}), gate)
    service = service_of(app)
    assert service.settings.waiting_slots == 0
    monkeypatch.delattr(type(service.engine), "wait_for_end")  # it would hold the thread
    answer = app.test_client().post("/?wait=30", json=body(PHOTO))
    assert answer.status_code == 202


def test_photo_that_fails(make_app: Callable[..., OpenApiApp], gate: Gate) -> None:
    client = make_app(stages=gate).test_client()
    gate.error = RuntimeError("secret")
    gate.open.set()
    answer = client.post("/?wait=30", json=body(PHOTO))
    assert (answer.status_code, answer.get_json()) == (404, {"error": UNEXPECTED})
    result = client.get(f"/{HASH}/segments")
    assert (result.status_code, result.get_json()) == (404, {"error": UNEXPECTED})


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("wait=31", "wait must be a number of seconds from 0 to 30"),
        ("wait=", "wait must be"),
        ("wait=1&wait=2", "wait must be"),
        ("wait=NaN", "wait must be"),
        ("wait=1&format=png", "There is no format 'png'"),
        ("wait=1&tolerance=-1", "tolerance must be"),
        ("wait=1&tolerence=1", "There is no option 'tolerence'"),
        ("wait=1&format=coco&normalized=true", "normalized works only with"),
    ],
)
def test_bad_query_leaves_photo_out(fake: FlaskClient, query: str, words: str) -> None:
    answer = fake.post(f"/?{query}", json=body(PHOTO))
    assert answer.status_code == 400
    assert words in answer.get_json()["error"]
    assert fake.get(f"/{HASH}/status").status_code == 404


def test_query_without_wait_is_ignored(fake: FlaskClient) -> None:
    answer = fake.post("/?format=png&tolerance=-1&nothing=1", json=body(PHOTO))
    assert answer.get_json() == {"message": "The photo was accepted.", "image_hash": HASH}


def test_several_files_with_wait(fake: FlaskClient) -> None:
    files = [(BytesIO(PHOTO), "a.png"), (BytesIO(PHOTO), "b.png")]
    answer = fake.post("/?wait=1", data={"file": files})
    assert answer.status_code == 400
    assert "one photo" in answer.get_json()["error"]
    assert fake.get(f"/{HASH}/status").status_code == 404


def test_bad_photo_with_wait(fake: FlaskClient) -> None:
    requests_: list[dict[str, Any]] = [{"data": b"GIF"}, {"data": b"\xff\xd8"}, {"json": {}}]
    for request_ in requests_:
        plain, waited = (fake.post(path, **request_) for path in ("/", "/?wait=1"))
        assert (plain.status_code, plain.data) == (waited.status_code, waited.data)
        assert plain.status_code in (400, 415)


def test_first_photo_while_models_load(
    start_server: Callable[..., Server], tmp_path: Path, sample: bytes
) -> None:
    server = start_server(tmp_path / "data")
    answer = requests.post(f"{server.url}/?wait=30", data=sample, timeout=60)
    assert answer.status_code in (200, 202)
    server.wait(hashlib.sha256(sample).hexdigest())
    assert "hood" in requests.post(f"{server.url}/?wait=30", data=sample, timeout=60).text
    server.kill()
