"""Test the limits of one client, and the answers beyond them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient
from pydantic import SecretStr

from api.openapi import OpenApiApp
from settings import Settings
from tests.support.server import Server
from tests.support.waiting import wait_until

UNKNOWN = "0" * 64


@pytest.fixture
def limited(settings: Settings) -> Settings:
    return settings.model_copy(update={"rate_limit": "2/minute"})


def status(client: FlaskClient, method: str, path: str, address: str = "10.0.0.1") -> int:
    """Send a request from an address, and return the HTTP status."""
    with client.open(path, method=method, environ_overrides={"REMOTE_ADDR": address}) as answer:
        return answer.status_code


def posts(client: FlaskClient, address: str, count: int = 3) -> list[int]:
    return [status(client, "POST", "/", address) for _ in range(count)]


def test_photos_are_limited(make_app: Callable[..., OpenApiApp], limited: Settings) -> None:
    client = make_app(limited).test_client()
    assert posts(client, "127.0.0.1") == [415, 415, 429]
    answer = client.post("/", headers={"Origin": "http://localhost:3000"})
    assert answer.status_code == 429
    assert answer.get_json() == {"error": "Too many requests; the limit is 2 per minute."}
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


def test_results_have_ten_times_the_limit(
    make_app: Callable[..., OpenApiApp], limited: Settings
) -> None:
    client = make_app(limited).test_client()
    paths = [f"/{UNKNOWN}/{name}" for name in ("segments", "mask.png", "masks/hood.png")]
    seen = [status(client, "GET", paths[number % 3]) for number in range(21)]
    assert seen == [404] * 20 + [429]
    assert status(client, "POST", f"/{UNKNOWN}/feedback") == 429
    assert status(client, "POST", "/") == 415  # that is counted apart


def test_status_is_not_limited(make_app: Callable[..., OpenApiApp], limited: Settings) -> None:
    client = make_app(limited).test_client()
    for method, path, expected in (
        ("GET", f"/{UNKNOWN}/status", 404),
        ("GET", f"/{UNKNOWN}/events", 404),
        ("GET", f"/{UNKNOWN}/feedback", 404),
        ("GET", "/feedback", 200),
        ("DELETE", f"/{UNKNOWN}", 404),
        ("GET", "/", 200),
        ("GET", "/health", 200),
        ("GET", "/ui/style.css", 200),
        ("OPTIONS", "/", 200),
    ):
        assert {status(client, method, path) for _ in range(45)} == {expected}, path


def test_addresses_are_counted_separately(
    make_app: Callable[..., OpenApiApp], limited: Settings
) -> None:
    client = make_app(limited).test_client()
    assert posts(client, "10.0.0.1") == posts(client, "10.0.0.2") == [415, 415, 429]
    # Of IPv6 a customer has 2 ** 64 addresses.
    seen = [posts(client, f"2001:db8:1:2::{number}", 1)[0] for number in (1, 2, 3)]
    assert seen == [415, 415, 429]
    assert posts(client, "2001:db8:1:3::1", 1) == [415]
    assert posts(client, "::ffff:10.0.0.3") == posts(client, "::ffff:10.0.0.4")


def test_keys_are_counted_separately(
    make_app: Callable[..., OpenApiApp], limited: Settings
) -> None:
    keys = ("first-key-0123456789", "second-key-0123456789")
    config = limited.model_copy(update={"api_keys": tuple(map(SecretStr, keys))})
    client = make_app(config).test_client()
    for key in keys:
        seen = [client.post("/", headers={"X-API-Key": key}).status_code for _ in range(3)]
        assert seen == [415, 415, 429]
    assert client.post("/").status_code == 401


@pytest.mark.parametrize(("proxies", "expected"), [(0, [415, 415, 429]), (1, [415, 415, 415])])
def test_forwarded_addresses_count_only_from_trusted_proxy(
    make_app: Callable[..., OpenApiApp], limited: Settings, proxies: int, expected: list[int]
) -> None:
    client = make_app(limited.model_copy(update={"trusted_proxies": proxies})).test_client()
    seen = [
        client.post("/", headers={"X-Forwarded-For": f"6.6.6.6, 10.0.0.{number}"}).status_code
        for number in range(3)
    ]
    assert seen == expected
    # The part written by the client, left of the proxy's addition, never counts.
    seen = [
        client.post("/", headers={"X-Forwarded-For": f"7.7.7.{number}, 10.9.9.9"}).status_code
        for number in range(3)
    ]
    assert seen[-1] == 429


def test_forwarded_addresses_on_real_server(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server(tmp_path / "data", CARSEG_TRUSTED_PROXIES="1", CARSEG_RATE_LIMIT="1/hour")
    seen = [
        requests.post(server.url, headers={"X-Forwarded-For": address}, timeout=60).status_code
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1")
    ]
    assert seen == [415, 415, 429]
    assert server.stop(signal.SIGTERM) == 0


def test_two_apps_have_separate_limits(
    make_app: Callable[..., OpenApiApp], limited: Settings
) -> None:
    for name in ("one", "two"):
        config = limited.model_copy(update={"data_dir": limited.data_dir / name})
        assert posts(make_app(config).test_client(), "10.0.0.1") == [415, 415, 429]


def test_no_limit_on_loopback(app: OpenApiApp) -> None:
    assert posts(app.test_client(), "127.0.0.1", 80) == [415] * 80


def test_counts_expire(make_app: Callable[..., OpenApiApp], settings: Settings) -> None:
    app = make_app(settings.model_copy(update={"rate_limit": "5/second"}))
    client = app.test_client()
    for number in range(300):
        posts(client, f"10.0.{number // 250}.{number % 250}", 1)
    (limiter,) = app.extensions["limiter"]
    counted = limiter.storage.storage
    before = set(counted)
    assert before
    wait_until(lambda: posts(client, "10.1.0.0", 1) and len(counted) == 1)
    assert not before & set(counted)


def test_document_names_limit(make_app: Callable[..., OpenApiApp], limited: Settings) -> None:
    paths = make_app(limited).api_doc["paths"]
    assert "429" in paths["/"]["post"]["responses"]
    assert "429" in paths["/batch"]["post"]["responses"]
    assert "429" not in paths["/status"]["post"]["responses"]
    assert "429" in paths["/{image_hash}/segments"]["get"]["responses"]
    assert "429" not in paths["/{image_hash}/status"]["get"]["responses"]
