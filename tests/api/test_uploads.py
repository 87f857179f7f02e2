"""Photos posted as files: in forms and as bare bodies, by programs and by web pages."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image
from pydantic import SecretStr
from urllib3 import encode_multipart_formdata

from api.openapi import OpenApiApp
from settings import Settings
from tests.support.fakes import FakePipeline
from tests.support.http import body, wait
from tests.support.pictures import SAMPLE, encoded, noise
from tests.support.server import Server

PHOTO = encoded(noise(30, 40))
OTHER = encoded(noise(30, 40, 1), "JPEG")
HASH = hashlib.sha256(PHOTO).hexdigest()
SAMPLE_HASH = hashlib.sha256(SAMPLE.read_bytes()).hexdigest()
OWN = "http://localhost"
ALLOWED, FOREIGN = "http://localhost:3000", "https://evil.example"
FORM = "multipart/form-data; boundary=b"
URLENCODED = "application/x-www-form-urlencoded"


def form(*photos: bytes, name: str = "file", **fields: str) -> dict[str, Any]:
    """Return the arguments of a post of files, and of fields, in a form."""
    files = [(name, ("photo.jpg", photo)) for photo in photos]
    data, kind = encode_multipart_formdata([*fields.items(), *files])
    return {"data": data, "content_type": kind}


def bare(data: bytes, kind: str | None) -> dict[str, Any]:
    """Return the arguments of a post of a photo alone."""
    return {"data": data, "content_type": kind}


WAYS: dict[str, dict[str, Any]] = {
    "json": {"json": body(PHOTO)},
    "image": bare(PHOTO, "image/png"),
    "other image": bare(PHOTO, "image/x-unknown"),
    "octets": bare(PHOTO, "application/octet-stream"),
    "curl": bare(PHOTO, URLENCODED),
    "no type": bare(PHOTO, None),
}


@pytest.fixture
def fake(make_app: Callable[..., OpenApiApp]) -> FlaskClient:
    """A client of a service without networks."""
    return make_app(stages=FakePipeline()).test_client()


@pytest.mark.parametrize("way", WAYS)
def test_photo_has_one_hash(fake: FlaskClient, way: str) -> None:
    answer = fake.post("/", **WAYS[way])
    assert answer.status_code == 200
    assert answer.get_json() == {"message": "The photo was accepted.", "image_hash": HASH}
    wait(fake, HASH)
    again = fake.post("/", **form(PHOTO, name="image"))
    assert again.get_json() == {"message": "The photo is already known.", "image_hash": HASH}


def test_files_are_answered_as_batch(fake: FlaskClient) -> None:
    broken = b"no photo"
    answer = fake.post("/", **form(PHOTO, broken, OTHER))
    batch = fake.post("/batch", json={"images": [body(p)["image"] for p in (PHOTO, broken, OTHER)]})
    assert answer.status_code == batch.status_code == 200
    entries, expected = answer.get_json()["photos"], batch.get_json()["photos"]
    assert [entry.get("image_hash") for entry in entries] == [
        entry.get("image_hash") for entry in expected
    ]
    assert entries[1] == expected[1]


def curl(*arguments: str) -> dict[str, Any]:
    """Run curl, and return the JSON that it prints."""
    ended = subprocess.run(
        ["curl", "-sS", *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


@pytest.mark.parametrize(
    "arguments",
    [
        ["-F", f"file=@{SAMPLE}"],
        ["-F", f"image=@{SAMPLE}"],
        ["-F", f"image=@{SAMPLE};type=image/png", "-F", "note=a car"],
        ["-F", f"file=@{SAMPLE}", "-H", "Transfer-Encoding: chunked"],
        ["--data-binary", f"@{SAMPLE}"],
        ["--data-binary", f"@{SAMPLE}", "-H", "Content-Type: image/png"],
        ["--data-binary", f"@{SAMPLE}", "-H", "Content-Type: application/octet-stream"],
        ["--data-binary", f"@{SAMPLE}", "-H", "Content-Type:"],
    ],
)
def test_curl(server: Server, arguments: list[str]) -> None:
    assert curl(*arguments, server.url)["image_hash"] == SAMPLE_HASH


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "image/png", "application/json"]
)
def test_curl_that_changes_file(server: Server, kind: str) -> None:
    refusal = curl("-d", f"@{SAMPLE}", "-H", f"Content-Type: {kind}", server.url)
    assert "curl --data-binary @photo.jpg" in refusal["error"]


def test_curl_with_several_files(server: Server) -> None:
    entries = curl("-F", f"file=@{SAMPLE}", "-F", f"file=@{SAMPLE}", server.url)["photos"]
    assert [entry["image_hash"] for entry in entries] == [SAMPLE_HASH] * 2


def test_files_on_real_server(server: Server) -> None:
    large = encoded(noise(1500, 1500))  # 6.7 MB, which the server keeps on disk
    answer = requests.post(server.url, files={"file": large}, timeout=60)
    assert answer.json()["image_hash"] == hashlib.sha256(large).hexdigest()
    answer = requests.post(server.url, data=PHOTO, timeout=60)
    assert answer.json()["image_hash"] == HASH


LARGE = encoded(noise(700, 700))  # 1.47 MB


@pytest.fixture
def strict(make_app: Callable[..., OpenApiApp], settings: Settings) -> FlaskClient:
    """A client of a service with low limits."""
    limits = {"max_upload_mb": 1.0, "max_pixels": 400_000, "batch_photos": 3, "batch_mb": 2.0}
    return make_app(settings.model_copy(update=limits), FakePipeline()).test_client()


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (form(LARGE), 413, "the limit is 1 MB"),
        (form(b"x" * 3_500_000), 413, "1 MB for a photo, 2 MB for all"),
        (form(*[b"x" * 750_000] * 3), 413, "the limit is 2 MB"),
        (form(*[PHOTO] * 4), 413, "There are 4 files; the limit is 3."),
        (form(*[PHOTO] * 200), 413, "too many fields"),
        (form(PHOTO, a="x" * 300_000), 413, "too large"),
        (form(image="text"), 400, "no file"),
        (form(b""), 400, "empty"),
        (form(b"<svg/>"), 415, "SVG"),
        (form(b"hello"), 400, "not an image"),
        (form(encoded(Image.new("L", (800, 600)))), 413, "0.4 megapixels"),
        (form(PHOTO) | {"headers": {"Content-Encoding": "gzip"}}, 415, "Content-Encoding"),
        (bare(PHOTO, "multipart/form-data"), 400, "broken"),
        (bare(PHOTO, FORM), 400, "broken"),
        (bare(b"--b\r\n\r\nx\r\n--b--", FORM), 400, "broken"),
        (bare(b"", FORM), 400, "no file"),
        (bare(LARGE, "image/png"), 413, "1 MB"),
        (bare(b"x" * 2_000_000, "image/png"), 413, "1 MB"),
        (bare(b"", "image/png"), 400, "no image"),
        (bare(b"hello", "application/octet-stream"), 400, "not an image"),
        (bare(b'{"image": "AAAA"}', URLENCODED), 415, "application/json"),
        (bare(b"image=AAAA", URLENCODED), 415, "curl -F"),
        (bare(b"", URLENCODED), 415, "application/json"),
        (bare(PHOTO, "text/plain"), 415, "application/json"),
        (bare(PHOTO.translate(None, b"\0\r\n"), URLENCODED), 400, "--data-binary"),
        (bare(encoded(noise(9, 9), "JPEG").translate(None, b"\0\r\n"), ""), 400, "--data-binary"),
        (bare(PHOTO, "image/png") | {"headers": {"Content-Encoding": "br"}}, 415, "Encoding"),
    ],
)  # fmt: skip
def test_refused_files(
    strict: FlaskClient, request_: dict[str, Any], status: int, words: str
) -> None:
    answer = strict.post("/", **request_)
    assert (answer.status_code, list(answer.get_json())) == (status, ["error"])
    assert words in answer.get_json()["error"]
    assert strict.get("/").get_json() == []


def page(origin: str | None, site: str | None) -> dict[str, str]:
    """Return the headers that tell where a page comes from."""
    headers = {"Origin": origin, "Sec-Fetch-Site": site}
    return {name: value for name, value in headers.items() if value is not None}


SENDERS = [
    (page(None, None), 200),  # a program
    (page(OWN, None), 200),
    (page(OWN, "same-origin"), 200),
    (page(ALLOWED, None), 200),
    (page(ALLOWED, "same-site"), 200),
    (page(ALLOWED, "cross-site"), 200),
    (page(FOREIGN, None), 403),
    (page(FOREIGN, "cross-site"), 403),
    (page(FOREIGN, "same-site"), 403),
    (page(None, "cross-site"), 403),
    (page("null", None), 403),
    (page("null", "cross-site"), 403),
    (page("http://localhost.evil.example", None), 403),
    (page("http://localhost:3000.evil.example", None), 403),
    (page("", None), 403),
]


@pytest.mark.parametrize("key", ["", "a-key-0123456789-0123"])
@pytest.mark.parametrize(("headers", "status"), SENDERS)
def test_origin_of_files(
    make_app: Callable[..., OpenApiApp],
    settings: Settings,
    key: str,
    headers: dict[str, str],
    status: int,
) -> None:
    config = settings.model_copy(update={"api_keys": (SecretStr(key),) if key else ()})
    client = make_app(config, FakePipeline()).test_client()
    with_key = {"X-API-Key": key} if key else {}
    listed = client.get("/", headers=with_key)
    for request_ in (
        form(PHOTO),
        form(PHOTO, OTHER),
        *(WAYS[name] for name in WAYS if name != "json"),
    ):
        answer = client.post("/", headers=headers | with_key, **request_)
        assert answer.status_code == status
        if status == 403:
            assert "CARSEG_CORS_ORIGINS" in answer.get_json()["error"]
    if status == 403:
        assert client.get("/", headers=with_key).get_json() == listed.get_json() == []
        assert client.get(f"/{HASH}/status", headers=with_key).status_code == 404


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        (("*",), FOREIGN, 200),
        (("https://cars.example",), "https://cars.example", 200),
        (("https://cars.example",), "https://carsXexample", 403),
        (("https://cars.example",), "http://cars.example", 403),
        (("https://cars.example",), ALLOWED, 403),
        ((), ALLOWED, 403),
        ((), OWN, 200),
    ],
)
def test_allowed_origins(
    make_app: Callable[..., OpenApiApp],
    settings: Settings,
    origins: tuple[str, ...],
    origin: str,
    status: int,
) -> None:
    config = settings.model_copy(update={"cors_origins": origins})
    client = make_app(config, FakePipeline()).test_client()
    answer = client.post("/", headers={"Origin": origin}, **form(PHOTO))
    assert answer.status_code == status
    granted = answer.headers.get("Access-Control-Allow-Origin")
    assert (granted is not None) is (status == 200 and origin != OWN)


def test_foreign_page_on_real_server(server: Server) -> None:
    photo = encoded(noise(20, 21))
    for headers in (page(FOREIGN, "cross-site"), page(FOREIGN, None), page("null", None)):
        for sent in ({"files": {"file": photo}}, {"data": photo}):
            answer = requests.post(server.url, headers=headers, timeout=60, **sent)
            assert answer.status_code == 403
    status = f"{server.url}/{hashlib.sha256(photo).hexdigest()}/status"
    assert requests.get(status, timeout=60).status_code == 404
    own = page(server.url, "same-origin")
    assert requests.post(server.url, headers=own, files={"a": photo}, timeout=60).ok


def test_rate_limit_counts_each_file(
    make_app: Callable[..., OpenApiApp], settings: Settings
) -> None:
    limited = settings.model_copy(update={"rate_limit": "3/hour"})
    client = make_app(limited, FakePipeline()).test_client()
    answer = client.post("/", **form(PHOTO, OTHER, PHOTO, OTHER))
    assert [entry.get("code") for entry in answer.get_json()["photos"]] == [None, None, None, 429]
    assert client.post("/", **form(PHOTO)).status_code == 429
    assert client.post("/", **bare(PHOTO, "image/png")).status_code == 429


def test_files_stay_in_memory(fake: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy on disk would escape the budget of request bodies."""
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    large = encoded(noise(1500, 1500))
    answer = fake.post("/", **form(large))
    assert answer.get_json()["image_hash"] == hashlib.sha256(large).hexdigest()


PIECES = st.sampled_from(
    [b"--b", b"--b--", b"\r\n", b"\n", b"\r", b"--", b"b", b":", b";", b"=", b'"', b"\0", b"\xff",
     b"Content-Disposition", b"Content-Disposition: form-data", b'; name="file"', b"; filename=x",
     b"; filename*=utf-8''%e2%82", b"Content-Type: text/plain; charset=utf-7", b"Content-Length: 9",
     b"Content-Transfer-Encoding: base64", b"--b\r\nContent-Disposition: form-data", PHOTO[:40]]
)  # fmt: skip


@examples(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(PIECES, max_size=16).map(b"".join))
def test_any_form_without_photo_is_refused(strict: FlaskClient, data: bytes) -> None:
    answer = strict.post("/", data=data, content_type=FORM)
    if answer.status_code == 200:  # several broken files
        assert all(entry["code"] in (400, 415) for entry in answer.get_json()["photos"])
    else:
        assert answer.status_code in (400, 413, 415)
        assert set(answer.get_json()) == {"error"}
