"""Keys: nothing is open without one, and results belong to the key that posted the photo."""

from __future__ import annotations

import base64
import hmac
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from api import keys as access
from api.keys import OPEN_ROUTES, Keys
from api.openapi import OpenApiApp
from settings import Settings
from tests.conftest import WORKERS
from tests.support.fakes import Gate
from tests.support.http import body, every_request, post, wait
from tests.support.pictures import encoded, noise

FIRST, SECOND = "first-key-0123456789", "second/key+0123456789="


def basic(key: str, name: str = "anybody") -> dict[str, str]:
    """Return the header in which a browser sends a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{key}".encode()).decode()}


def forms(key: str) -> Iterator[dict[str, str]]:
    """Return the ways to send a key."""
    yield {"Authorization": f"Bearer {key}"}
    yield {"authorization": f"bearer  {key} "}
    yield {"X-API-Key": key}
    yield basic(key)


@pytest.fixture
def locked(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path, workers=WORKERS, api_keys=(SecretStr(FIRST), SecretStr(SECOND))
    )


@pytest.fixture
def client(make_app: Callable[..., OpenApiApp], locked: Settings) -> FlaskClient:
    return make_app(locked).test_client()


def owned(client: FlaskClient, key: str) -> FlaskClient:
    """Return a client of the same app that sends a key with each request."""
    with_key = client.application.test_client()
    with_key.environ_base["HTTP_X_API_KEY"] = key
    return with_key


def test_only_health_is_open(client: FlaskClient) -> None:
    routes = {rule.rule for rule in client.application.url_map.iter_rules()}
    assert routes >= OPEN_ROUTES
    asked = [*every_request(client.application), ("GET", "/no/such/address"), ("PUT", "/")]
    assert len(asked) > 15
    for method, path in asked:
        answer = client.open(path, method=method)
        if path in ("/health", "/ready"):
            assert answer.status_code in (200, 503), path
            continue
        assert answer.status_code == 401, path
        if method != "HEAD":
            assert answer.get_json() == {"error": "Send an API key."}
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="carseg"'


@pytest.mark.parametrize("key", [FIRST, SECOND])
def test_key_opens_every_route(client: FlaskClient, key: str) -> None:
    for headers in forms(key):
        for method, path in every_request(client.application):
            with client.open(path, method=method, headers=headers) as answer:
                assert answer.status_code not in (401, 403), (method, path)


@pytest.mark.parametrize(
    "wrong",
    ["", FIRST[:-1], FIRST + "x", FIRST.upper(), f"{FIRST},{SECOND}", "k" * 100_000, "\xfc" * 20],
)
def test_wrong_key_opens_no_route(client: FlaskClient, wrong: str) -> None:
    for headers in forms(wrong):
        answer = client.get("/", headers=headers)
        assert answer.status_code == 401
        assert set(answer.get_json()) == {"error"}


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Basic " + "A" * 99, "Digest a=b", "Bearer", FIRST, "\xff\xfe"]
)
def test_malformed_header(client: FlaskClient, header: str) -> None:
    assert client.get("/", headers={"Authorization": header}).status_code == 401


def test_keys_in_address_or_cookies_are_ignored(client: FlaskClient) -> None:
    client.set_cookie("api_key", FIRST)
    assert client.get(f"/?api_key={FIRST}&key={FIRST}").status_code == 401


def test_x_api_key_takes_precedence(client: FlaskClient) -> None:
    """A key that a page sends takes precedence over the one that the browser keeps."""
    assert client.get("/", headers={**basic(FIRST), "X-API-Key": "wrong"}).status_code == 401


def test_preflights_need_no_key(client: FlaskClient) -> None:
    for rule in client.application.url_map.iter_rules():
        path = rule.rule.replace("<image_hash>", "0" * 64).replace("<", "").replace(">", "")
        asked = {
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization, x-api-key, content-type",
        }
        answer = client.options(path, headers=asked)
        assert answer.status_code == 200, path
        assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        allowed = answer.headers["Access-Control-Allow-Headers"].lower()
        assert {"authorization", "x-api-key"} <= set(allowed.split(", "))
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_front_ends_can_read_refusal(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Origin": "http://localhost:3000"})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"


def test_password_prompt_on_pages_only(client: FlaskClient) -> None:
    for headers, offered in (
        ({"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Accept": "*/*"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Accept": "*/*"}, False),
        ({"Accept": "application/json"}, False),
        ({}, False),
    ):
        challenges = client.get("/ui", headers=headers).headers.getlist("WWW-Authenticate")
        assert challenges[0].startswith("Bearer ")
        assert any(challenge.startswith("Basic ") for challenge in challenges[1:]) is offered


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 400),
        ({"Origin": "http://localhost"}, 400),
        ({}, 400),
    ],
)
def test_other_sites_cannot_use_stored_password(
    client: FlaskClient, headers: dict[str, str], status: int
) -> None:
    """A request that gets through is answered with 400."""
    assert client.post("/", json={}, headers={**basic(FIRST), **headers}).status_code == status
    # A key that a page sends itself is that page's to use.
    by_page = {"X-API-Key": FIRST, **headers}
    assert client.post("/", json={}, headers=by_page).status_code == 400


def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    class Spy:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(access, "hmac", Spy)
    names = [f"key-number-{number}-0123456789" for number in range(5)]
    keys = Keys(names)
    for given in [*names, "none of them", ""]:
        compared.clear()
        assert (keys.owner(given) is not None) is (given in names)
        assert compared == [(32, 32)] * 5


def test_owners_differ_and_hide_keys() -> None:
    keys = Keys([FIRST, SECOND])
    first, second = keys.owner(FIRST), keys.owner(SECOND)
    assert first != second
    assert Keys([SECOND, FIRST]).owner(FIRST) == first  # the order does not matter
    assert first is not None
    assert len(first) == 16
    assert FIRST not in repr(vars(keys))


def answers(client: FlaskClient, image_hash: str, method: str) -> dict[str, int]:
    """Return the status of each route of a photo."""
    found = {}
    for rule in client.application.url_map.iter_rules():
        if "<image_hash>" in rule.rule and method in (rule.methods or ()):
            path = rule.rule.replace("<image_hash>", image_hash).replace("<segment>", "hood")
            with client.open(path, method=method) as answer:
                found[rule.rule] = answer.status_code
                if answer.status_code == 404:
                    assert answer.get_json() == {"error": "There is no photo with this hash."}
    return found


def test_results_belong_to_key_that_posted(client: FlaskClient, sample: bytes) -> None:
    first, second = owned(client, FIRST), owned(client, SECOND)
    image_hash = post(first, sample, damage=True)
    unknown = answers(second, image_hash, "GET")  # while it waits or is worked on
    wait(first, image_hash)
    assert len(unknown) >= 6
    assert set(unknown.values()) == {404}
    assert answers(second, image_hash, "GET") == unknown
    assert set(answers(second, image_hash, "DELETE").values()) <= {404}
    assert set(answers(first, image_hash, "GET").values()) == {200}
    assert first.get("/").get_json() == [image_hash]
    assert second.get("/").get_json() == []


def test_shared_work_is_not_visible_to_other_keys(
    make_app: Callable[..., OpenApiApp], locked: Settings, gate: Gate
) -> None:
    gate.open.set()
    client = make_app(locked, gate).test_client()
    first, second = owned(client, FIRST), owned(client, SECOND)
    photo = encoded(noise(30, 40))
    image_hash = post(first, photo)
    wait(first, image_hash)
    assert post(second, photo) == image_hash
    assert second.get(f"/{image_hash}/segments").status_code == 200
    assert gate.calls == 1
    assert first.get("/").get_json() == second.get("/").get_json() == [image_hash]
    assert second.delete(f"/{image_hash}").status_code == 204
    assert second.get(f"/{image_hash}/status").status_code == 404
    assert first.get(f"/{image_hash}/segments").status_code == 200


def test_results_can_be_shared(make_app: Callable[..., OpenApiApp], locked: Settings) -> None:
    client = make_app(locked.model_copy(update={"shared_results": True})).test_client()
    first, second = owned(client, FIRST), owned(client, SECOND)
    image_hash = post(first, encoded(noise(30, 40)))
    wait(second, image_hash)
    assert second.get("/").get_json() == [image_hash]
    assert client.get("/").status_code == 401


def test_open_service_without_keys(app: OpenApiApp) -> None:
    client = app.test_client()
    assert client.get("/").status_code == 200
    assert client.get("/", headers={"X-API-Key": "whatever"}).status_code == 200
    assert "securitySchemes" not in app.api_doc["components"]


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        ({"host": "0.0.0.0"}, True),  # noqa: S104
        ({"host": "0.0.0.0", "api_keys": (SecretStr(FIRST),)}, False),  # noqa: S104
        ({"trusted_proxies": 1}, True),
        ({}, False),
    ],
)
def test_open_service_logs_warning(
    make_app: Callable[..., OpenApiApp],
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    warned: bool,
) -> None:
    with caplog.at_level(logging.WARNING):
        make_app(settings.model_copy(update=change))
    lines = [record.getMessage() for record in caplog.records if record.name == "carseg.api"]
    assert len(lines) == warned
    assert all("CARSEG_API_KEYS" in line for line in lines)


def test_document_describes_keys(client: FlaskClient) -> None:
    document = client.get("/openapi.json", headers={"X-API-Key": FIRST}).get_json()
    schemes = set(document["components"]["securitySchemes"])
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in OPEN_ROUTES:
                assert "security" not in operation
                assert "401" not in operation["responses"]
            else:
                assert {name for way in operation["security"] for name in way} == schemes
                assert "401" in operation["responses"]


def test_refused_photo_is_not_kept(client: FlaskClient, locked: Settings) -> None:
    assert client.post("/", json=body(encoded(noise(20, 30)))).status_code == 401
    assert list(locked.uploads.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:5000", 200), ("127.0.0.1:5000", 200), ("[::1]:5000", 200),
        ("LOCALHOST:80", 200), ("evil.example", 403), ("evil.example:5000", 403),
        ("127.0.0.1.evil.example", 403), ("localhost.evil.example:5000", 403),
    ],
)  # fmt: skip
def test_dns_rebinding_is_refused(
    make_app: Callable[..., OpenApiApp], settings: Settings, host: str, status: int
) -> None:
    client = make_app(settings.model_copy(update={"api_keys": ()})).test_client()
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == status
    if status == 403:
        assert set(answer.get_json()) == {"error"}


@pytest.mark.parametrize("change", [{"host": "0.0.0.0"}, {"trusted_proxies": 1}])  # noqa: S104
def test_any_host_name_with_keys(
    make_app: Callable[..., OpenApiApp], settings: Settings, change: dict[str, object]
) -> None:
    open_to_all = settings.model_copy(update={"api_keys": (), **change})
    client = make_app(open_to_all).test_client()
    assert client.get("/", headers={"Host": "cars.example"}).status_code == 200


def test_browser_at_root(client: FlaskClient) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    assert client.get("/", headers=browser).status_code == 401
    answer = client.get("/", headers=browser | basic(FIRST))
    assert (answer.status_code, answer.headers["Location"]) == (302, "ui")
