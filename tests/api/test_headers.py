"""Headers of every answer, so that browsers do nothing with it that was not meant."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from api.headers import SECURITY_HEADERS
from api.openapi import OpenApiApp
from settings import Settings
from tests.support.http import every_request, post, wait
from tests.support.server import Server

PAGES = ("/ui", "/docs")


RESULTS = ("/segments", ".png")


def check(headers: dict[str, str], path: str, method: str, caching: str = "no-store") -> None:
    """Check the headers of an answer."""
    for name in SECURITY_HEADERS:
        assert headers.get(name), (method, path, name)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-site"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    if not path.startswith(PAGES):
        assert policy == "default-src 'none'; frame-ancestors 'none'"
        assert headers["Cache-Control"] == caching
    assert "unsafe-eval" not in policy
    assert "Server" not in headers


def requests_to(client: FlaskClient) -> list[tuple[str, str]]:
    wrong = [("GET", "/no/such"), ("PATCH", "/"), ("OPTIONS", "/"), ("TRACE", "/"), ("BREW", "/ui")]
    return [*every_request(client.application), *wrong]


def test_every_response_has_headers(client: FlaskClient) -> None:
    for method, path in requests_to(client):
        with client.open(path, method=method) as answer:
            check(dict(answer.headers), path, method)


def test_refusals_have_headers(make_app: Callable[..., OpenApiApp], settings: Settings) -> None:
    key = (SecretStr("0123456789abcdef"),)
    client = make_app(settings.model_copy(update={"api_keys": key})).test_client()
    for method, path in requests_to(client):
        with client.open(path, method=method) as answer:
            check(dict(answer.headers), path, method)
            vary = {part.strip() for part in ",".join(answer.headers.getlist("Vary")).split(",")}
            assert {"Authorization", "X-API-Key"} <= vary


def test_results_have_headers(client: FlaskClient, sample: bytes) -> None:
    image_hash = post(client, sample, damage=True)
    wait(client, image_hash)
    for method, path in every_request(client.application):
        if "0" * 64 not in path or method == "DELETE":
            continue
        body: dict[str, list[str]] | None = {"wrong": []} if method == "POST" else None
        address = path.replace("0" * 64, image_hash)
        with client.open(address, method=method, json=body) as answer:
            assert answer.status_code in (200, 404), path
            is_result = answer.status_code == 200 and path.endswith(RESULTS)
            caching = "private, no-cache" if is_result else "no-store"
            check(dict(answer.headers), path, method, caching)
    picture = client.get(f"/{image_hash}/segments?format=svg")
    assert picture.status_code == 200
    assert "<style" not in picture.text  # which the policy would forbid where it is opened alone


def test_internal_errors_have_headers(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError

    monkeypatch.setitem(client.application.view_functions, "photos.list_ready", fail)
    answer = client.get("/")
    assert answer.status_code == 500
    check(dict(answer.headers), "/", "GET")


def test_cors_for_all_allows_embedding(
    make_app: Callable[..., OpenApiApp], settings: Settings
) -> None:
    client = make_app(settings.model_copy(update={"cors_origins": ("*",)})).test_client()
    answer = client.get("/", headers={"Origin": "https://example.org"})
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Access-Control-Allow-Origin"] == "https://example.org"


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ".ljust(262_144, b"a"),
        b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_server_refusals_have_headers(server: Server, request_: bytes) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request_)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    check(dict(line.split(": ", 1) for line in lines), "/", "GET")
