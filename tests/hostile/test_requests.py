"""Malicious and malformed requests: JSON, addresses, methods and queries."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from api.openapi import OpenApiApp
from settings import Settings
from tests.support.fakes import FakePipeline, paint_nothing
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise
from tests.support.server import Server

PNG = body(encoded(noise(8, 9)))["image"]
UNKNOWN = "0" * 64
REFUSALS = range(400, 500)


@pytest.fixture
def app(make_app: Callable[..., OpenApiApp]) -> OpenApiApp:
    return make_app(stages=FakePipeline(paint=paint_nothing))


def send(client: FlaskClient, data: bytes) -> TestResponse:
    """Post bytes as JSON."""
    return client.post("/", data=data, content_type="application/json")


def refused(answer: TestResponse) -> bool:
    """Return True if an answer is an error in the one error shape."""
    return answer.status_code in REFUSALS and set(answer.get_json()) == {"error"}


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"image":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"image": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"image": ' + b"9" * 1_000_000 + b"}",
        b'{"image": 1e999999}',
        b'{"image": -0.0}',
        b'{"image": NaN}',
        b'{"image": Infinity}',
        b'{"image": true}',
        b'{"image": {"a": 1}}',
        b'{"image": "\\u0000"}',
        b'{"image": "\0"}',
        b'{"image": "\\ud800"}',
        b'{"image": "\\ud800\\udc00"}',
        b'{"image": "\xff\xfe"}',
        b'{"image": "\xed\xa0\x80"}',
        b'{"IMAGE": "%s"}' % PNG.encode(),
        b'{"image\\u0000": "%s"}' % PNG.encode(),
        b'{"image": "%s", "image": null}' % PNG.encode(),
        b'{"image": "%s"' % PNG.encode(),
        b'{"image": "%s"}}' % PNG.encode(),
        b'"%s"' % PNG.encode(),
        b"\xef\xbb\xbf",
        b"\0" * 1000,
        b"image=" + PNG.encode(),
        b"[" + b"[]," * 3_000_000 + b"0]",
        b'{"a": [' + b"{}," * 3_000_000 + b'0], "image": "%s"}' % PNG.encode(),
        b'{"a": "%s", "image": 0}' % (b"\\u0041" * 1_000_000),
    ],
    ids=range(29),
)
def test_refused_json(client: FlaskClient, data: bytes) -> None:
    assert refused(send(client, data))


@pytest.mark.parametrize(
    "text",
    [
        '{"image": "%s"}',
        '\ufeff{"image": "%s"}',
        '{"image": null, "image": "%s"}',
        '{"note": "\\ud83d\\ude00", "image": "%s", "more": [1, {"a": null}]}',
    ],
)
@pytest.mark.parametrize("coding", ["utf-8", "utf-16", "utf-16-le", "utf-32-be"])
def test_json_in_every_encoding(client: FlaskClient, text: str, coding: str) -> None:
    """RFC 8259 wants UTF-8; other Unicode is found by its first bytes, and a mark is ignored."""
    assert send(client, (text % PNG).encode(coding)).status_code in (200, 400)
    if coding == "utf-8" and not text.startswith("\ufeff"):
        assert send(client, (text % PNG).encode(coding)).status_code == 200


@pytest.mark.parametrize(
    "image_hash",
    [
        "..",
        "../" * 20 + "etc/passwd",
        "..%2F..%2Fapp.py",
        "%2e%2e%2f%2e%2e%2fapp.py",
        "%252e%252e%252fapp.py",
        "..%5C..%5Capp.py",
        "%5c%5chost%5cshare",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "%00",
        f"{UNKNOWN}%00.png",
        f"{UNKNOWN}%0d%0aX-Evil:%201",
        "%ff%fe",
        "%ed%a0%80",
        "%F0%9F%98%80",
        "ﬀ" * 64,
        "٠" * 64,
        UNKNOWN.upper().replace("0", "A"),
        UNKNOWN + "0" * 100_000,
        "' OR 1=1 --",
        "*",
        ".",
        ".hidden",
        "results.sqlite",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "%s%s%n",
    ],
)
def test_unknown_ids(client: FlaskClient, image_hash: str) -> None:
    for route in ("/status", "/segments", "/events", "/mask.png", "/masks/hood.png", ""):
        for method in ("GET", "DELETE"):
            answer = client.open(f"/{image_hash}{route}", method=method)
            if answer.status_code != 308 and f"/{image_hash}{route}".strip("/?#."):
                assert refused(answer), (method, route, answer.status_code)
    for segment in (image_hash, f"..%2F{image_hash}"):
        assert refused(client.get(f"/{UNKNOWN}/masks/{segment}.png"))
    for folder in ("docs/swagger", "ui"):
        answer = client.get(f"/{folder}/{image_hash}xyz")
        assert answer.status_code == 308 or refused(answer)  # 308: without the double slash


def test_refused_queries(client: FlaskClient) -> None:
    image_hash = post(client, encoded(noise(8, 9)))
    wait(client, image_hash)
    for query in (
        "format=..%2F..%2Fapp",
        "format=json&format=json",
        "tolerance=NaN",
        "tolerance=1e309",
        "tolerance=-1",
        "tolerance=" + "9" * 5000,
        "max_vertices=" + "9" * 5000,
        "max_vertices=3.5",
        "min_confidence=%00",
        "file_name=%00",
        "file_name=%0d%0aX:1",
        "file_name=" + "a" * 5000,
        "no_such_option=1",
        "&".join(f"o{i}=1" for i in range(10_000)),
        "%ff=%fe",
    ):
        assert refused(client.get(f"/{image_hash}/segments?{query}")), query[:60]
    for query in ("wait=NaN", "wait=-1", "wait=inf", "wait=31", "wait=1&wait=1", "wait=", "wait=a"):
        assert refused(client.get(f"/{image_hash}/status?{query}")), query


@pytest.mark.parametrize(
    "method", ["PUT", "PATCH", "TRACE", "CONNECT", "PROPFIND", "BREW", "X" * 1000]
)
def test_odd_methods(client: FlaskClient, method: str) -> None:
    for path in ("/", f"/{UNKNOWN}/status", "/openapi.json", "/nothing"):
        assert refused(client.open(path, method=method))


@pytest.mark.parametrize(
    ("headers", "statuses"),
    [
        ({"Content-Type": "application/json; charset=utf-7"}, (200,)),
        ({"Content-Type": "application/" + "x" * 60_000}, (415, 431)),
        ({"Content-Type": "multipart/form-data; boundary=" + "x" * 1000}, (400,)),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip, br"}, (415,)),
        ({"Content-Type": "application/json", "Accept": ",".join(["a/b"] * 10_000)}, (200, 431)),
        ({"Content-Type": "application/json", "Cookie": "a=b; " * 10_000}, (200,)),
        ({"Content-Type": "application/json", "Host": "evil.example"}, (403,)),
        ({"Content-Type": "application/json", "Host": "a b<>"}, (400, 403)),
        ({"Content-Type": "application/json", "Range": "bytes=0-,0-,0-"}, (200,)),
        ({"Content-Type": "application/json", "Origin": "null"}, (200,)),
        ({"Content-Type": "application/json", "X-Forwarded-For": "127.0.0.1, ::1"}, (200,)),
        ({"Content-Type": "application/json", "Expect": "200-ok"}, (200, 417)),
    ],
)
def test_odd_headers(server: Server, headers: dict[str, str], statuses: tuple[int, ...]) -> None:
    data = json.dumps({"image": PNG})
    answer = requests.post(server.url, data=data, headers=headers, timeout=60)
    assert answer.status_code in statuses
    if answer.status_code != 200:
        assert set(answer.json()) == {"error"}


def test_writes_stay_in_data_folder(
    make_app: Callable[..., OpenApiApp], settings: Settings, tmp_path: Path
) -> None:
    data_dir = tmp_path / "inner" / "data"
    client = make_app(
        settings.model_copy(update={"data_dir": data_dir, "write_masks": True}),
        FakePipeline(paint=paint_nothing),
    ).test_client()
    before = set(tmp_path.rglob("*")) - set(data_dir.rglob("*"))
    image_hash = post(client, encoded(noise(8, 9)))
    wait(client, image_hash)
    for name in ("../../escaped", "..%2F..%2Fescaped", "/etc/escaped", "a\0b"):
        client.get(f"/{image_hash}/segments", query_string={"file_name": name})
        client.post("/", json={"image": PNG, "file_name": name, "image_hash": name, "path": name})
    assert set(tmp_path.rglob("*")) - set(data_dir.rglob("*")) == before
    assert not os.path.lexists("/etc/escaped")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)


@examples(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps({"image": value}).encode())
)
def test_any_body_without_photo_is_refused(client: FlaskClient, data: bytes) -> None:
    assert refused(send(client, data))
