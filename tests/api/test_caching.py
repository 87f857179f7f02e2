"""Answers that a client has already, compressed answers, and the links of a photo."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient

from api.openapi import OpenApiApp
from api.schema import PhotoAnswer
from exports import FORMATS
from options import OF_OVERLAYS
from photo_result import Analysis
from segment_interface import Photo
from settings import Settings
from tests.support.fakes import FakePipeline, Gate, paint_hood, paint_nothing
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise
from tests.support.server import Server

PHOTO = encoded(noise(90, 120))
HASH = hashlib.sha256(PHOTO).hexdigest()
ANSWERS = (
    *(f"segments?format={name}" for name in FORMATS),
    "segments",
    "segments?tolerance=3&min_area=7",
    "segments?format=geojson&normalized=true",
    "mask.png",
    "masks/hood.png",
    "overlay.png",
    "damage.png",
)


@pytest.fixture
def fake(make_app: Callable[..., OpenApiApp]) -> FlaskClient:
    """A client of a service without networks that has worked on PHOTO, also for damage."""
    client = make_app(stages=FakePipeline()).test_client()
    wait(client, post(client, PHOTO, damage=True))
    return client


@pytest.mark.parametrize("name", ANSWERS)
def test_unchanged_answer(fake: FlaskClient, name: str) -> None:
    first = fake.get(f"/{HASH}/{name}")
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    assert first.headers["Cache-Control"] == "private, no-cache"
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
        again = fake.get(f"/{HASH}/{name}", headers={"If-None-Match": known})
        assert (again.status_code, again.data) == (304, b"")
        for header in ("ETag", "Cache-Control", "Vary"):
            assert again.headers[header] == first.headers[header]
    for other in ('"other"', "*", "x", ""):
        again = fake.get(f"/{HASH}/{name}", headers={"If-None-Match": other})
        assert (again.status_code, again.data) == (200, first.data)


def test_unchanged_answer_is_not_computed(
    fake: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = {name: fake.get(f"/{HASH}/{name}").headers["ETag"] for name in ANSWERS}
    writers = ("export", "kept_labels", "annotate", "overlay_png", "label_map_png", "mask_png")
    for name in (*writers, "damage_png", "kept_damage_kinds"):
        monkeypatch.delattr(f"api.results.{name}")
    for name, tag in tags.items():
        answer = fake.get(f"/{HASH}/{name}", headers={"If-None-Match": tag})
        assert answer.status_code == 304


def test_tags_differ(fake: FlaskClient) -> None:
    queries = ["", "min_confidence=0", "tolerance=3", "max_vertices=5", "topology=shared"]
    queries += ["parts=hood", "damage=false"]
    names = [
        *(f"segments?{query}" for query in [*queries, "normalized=true", "file_name=a.png"]),
        *(f"segments?format={name}" for name in FORMATS if name != "json"),
        *(f"overlay.png?{query}" for query in queries),
        "mask.png",
        "mask.png?min_area=9",
        "masks/hood.png",
        "damage.png",
        "damage.png?min_area=9",
    ]
    assert len(OF_OVERLAYS) == len(queries)
    tags = [fake.get(f"/{HASH}/{name}").headers["ETag"] for name in names]
    assert len(set(tags)) == len(names)
    same = [fake.get(f"/{HASH}/{name}").headers["ETag"] for name in ("segments", ANSWERS[0])]
    assert same == [tags[0]] * 2
    by_accept = fake.get(f"/{HASH}/segments", headers={"Accept": "image/svg+xml"})
    assert by_accept.headers["ETag"] == fake.get(f"/{HASH}/segments?format=svg").headers["ETag"]


def test_tag_follows_damage(make_app: Callable[..., OpenApiApp]) -> None:
    client = make_app(stages=FakePipeline()).test_client()
    wait(client, post(client, PHOTO))
    tag = client.get(f"/{HASH}/segments").headers["ETag"]
    post(client, PHOTO, damage=True)
    assert client.get(f"/{HASH}/status?wait=30").get_json().keys() == {"status", "message"}
    answer = client.get(f"/{HASH}/segments", headers={"If-None-Match": tag})
    assert answer.status_code == 200
    assert answer.get_json()["damage_version"] == "fake damage"


def test_tag_follows_models(
    make_app: Callable[..., OpenApiApp], settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "script").mkdir()
    stages = FakePipeline(tmp_path / "script")
    client = make_app(settings, stages).test_client()
    wait(client, post(client, PHOTO))
    tag = client.get(f"/{HASH}/segments").headers["ETag"]
    stages.version = "newer"
    wait(client, post(client, PHOTO))
    answer = client.get(f"/{HASH}/segments", headers={"If-None-Match": tag})
    assert answer.status_code == 200
    assert answer.get_json()["model_version"] == "newer"


def paint_surer_hood(photo: Photo) -> Analysis:
    return replace(paint_hood(photo), confidences={"hood": 0.6})


def test_tag_follows_result(
    make_app: Callable[..., OpenApiApp], settings: Settings, tmp_path: Path
) -> None:
    """Runtimes have slightly different results with the same models."""
    tags = []
    for paint in (paint_nothing, paint_hood, paint_surer_hood):
        folder = settings.model_copy(update={"data_dir": tmp_path / paint.__name__})
        client = make_app(folder, FakePipeline(paint=paint)).test_client()
        wait(client, post(client, PHOTO))
        tags += [client.get(f"/{HASH}/{name}").headers["ETag"] for name in ("segments", "mask.png")]
    assert len(set(tags)) == 6


@pytest.mark.parametrize("query", ["", "&format=svg", "&format=coco&tolerance=3", "&parts=hood"])
def test_tag_of_posted_photo(fake: FlaskClient, query: str) -> None:
    posted = fake.post(f"/?wait=30{query}", json=body(PHOTO))
    tag = posted.headers["ETag"]
    address = f"/{HASH}/segments?{query}"
    got = fake.get(address)
    assert (got.headers["ETag"], got.data) == (tag, posted.data)
    assert fake.get(address, headers={"If-None-Match": tag}).status_code == 304
    again = fake.post(f"/?wait=30{query}", json=body(PHOTO), headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (200, posted.data)


def test_errors_come_before_unchanged(fake: FlaskClient) -> None:
    tag = fake.get(f"/{HASH}/segments").headers["ETag"]
    for name, status in (
        (f"{HASH}/segments?format=png", 400),
        (f"{HASH}/masks/wheel.png", 404),
        (f"{'0' * 64}/segments", 404),
    ):
        for known in (tag, "*"):
            answer = fake.get(f"/{name}", headers={"If-None-Match": known})
            assert answer.status_code == status
            assert "ETag" not in answer.headers
            assert answer.headers["Cache-Control"] == "no-store"
    assert fake.delete(f"/{HASH}").status_code == 204
    answer = fake.get(f"/{HASH}/segments", headers={"If-None-Match": tag})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        (None, False),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("*", True),
        ("identity;q=0.5, gzip;q=0.8", True),
    ],
)
def test_compression(fake: FlaskClient, accepted: str | None, is_compressed: bool) -> None:
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    plain = fake.get("/openapi.json")
    answer = fake.get("/openapi.json", headers=headers)
    assert answer.headers.get("Content-Encoding") == ("gzip" if is_compressed else None)
    data = gzip.decompress(answer.data) if is_compressed else answer.data
    assert data == plain.data
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    for got in (plain, answer):
        assert "Accept-Encoding" in got.vary


def test_small_and_other_answers_are_not_compressed(fake: FlaskClient) -> None:
    for path in ("/", f"/{HASH}/status", f"/{HASH}/mask.png", "/nothing"):
        answer = fake.get(path, headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in answer.headers


def test_caching_on_real_server(server: Server, sample: bytes) -> None:
    image_hash = server.post(sample)
    server.wait(image_hash)
    address = f"{server.url}/{image_hash}/segments"
    with requests.Session() as session:
        plain = session.get(address, headers={"Accept-Encoding": "identity"}, timeout=60)
        compressed = session.get(address, timeout=60)
        assert compressed.headers["Content-Encoding"] == "gzip"
        assert compressed.content == plain.content
        assert compressed.headers["ETag"] == plain.headers["ETag"]
        tag = plain.headers["ETag"]
        for _ in range(2):  # the connection goes on after an answer without a body
            known = session.get(address, headers={"If-None-Match": tag}, timeout=60)
            assert (known.status_code, known.content) == (304, b"")
            assert "Content-Type" not in known.headers
        head = session.head(address, timeout=60)
        assert head.headers["ETag"] == tag


def test_links(make_app: Callable[..., OpenApiApp], gate: Gate) -> None:
    client = make_app(stages=gate).test_client()
    post(client, PHOTO)
    assert gate.entered.wait(60)
    first = client.get(f"/{HASH}").get_json()
    PhotoAnswer.model_validate(first)
    assert first["image_hash"] == HASH
    assert set(first["links"]) == {"status", "events"}
    gate.open.set()
    status = wait(client, HASH)
    ready = client.get(f"/{HASH}").get_json()
    assert {name: ready[name] for name in status} == status
    assert set(ready["links"]) == {"status", "events", "segments", "mask", "overlay"}
    for link in ready["links"].values():
        with client.get(f"/{link}") as answer:
            assert answer.status_code == 200


def test_photo_in_error_has_no_result_links(
    make_app: Callable[..., OpenApiApp], gate: Gate
) -> None:
    client = make_app(stages=gate).test_client()
    gate.error = RuntimeError("secret")
    gate.open.set()
    client.post("/", json=body(PHOTO))
    wait(client, HASH, "Error")
    answer = client.get(f"/{HASH}").get_json()
    assert answer["status"] == "Error"
    assert set(answer["links"]) == {"status", "events"}
