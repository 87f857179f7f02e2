"""Pages of the photos that are Ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from api.openapi import OpenApiApp
from api.service import service_of
from app import create_app
from settings import Settings
from tests.support.fakes import FakePipeline
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FlaskClient, list[str]]]:
    """Yield a client of a service without networks, and the hashes of its five photos."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), workers=1)
    app = create_app(settings, pipeline=FakePipeline(), status={}, segments={})
    client = app.test_client()
    hashes = [post(client, encoded(noise(20, width))) for width in range(34, 29, -1)]
    for image_hash in hashes:
        wait(client, image_hash)
    yield client, hashes
    service_of(app).engine.close()


def test_list_without_parameters_stays(filled: tuple[FlaskClient, list[str]]) -> None:
    client, hashes = filled
    plain = "[" + ",".join(f'"{image_hash}"' for image_hash in hashes) + "]\n"
    assert client.get("/").get_data(as_text=True) == plain
    for query in ("other=1", "_=1700000000", "t=1", "ts=1", "page=2", "filter=x", "version=3"):
        assert client.get(f"/?{query}").get_data(as_text=True) == plain


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("lmit", "limit"),
        ("Limit", "limit"),
        ("limits", "limit"),
        ("afer", "after"),
        ("detail", "details"),
    ],
)
def test_misspelt_parameter_is_named(
    filled: tuple[FlaskClient, list[str]], name: str, near: str
) -> None:
    for query in (f"{name}=1", f"limit=2&{name}=1"):
        answer = filled[0].get(f"/?{query}")
        message = f"There is no parameter '{name}'; the nearest is {near}."
        assert (answer.status_code, answer.get_json()) == (400, {"error": message})


def test_pages_of_hashes(filled: tuple[FlaskClient, list[str]]) -> None:
    client, hashes = filled
    assert client.get("/?limit=2").get_json() == hashes[:2]
    assert client.get(f"/?limit=2&after={hashes[1]}").get_json() == hashes[2:4]
    assert client.get(f"/?after={hashes[3]}").get_json() == hashes[4:]
    assert client.get(f"/?after={hashes[4]}").get_json() == []
    assert client.get("/?details=0").get_json() == client.get("/?limit=5").get_json() == hashes


def test_pages_with_details(filled: tuple[FlaskClient, list[str]]) -> None:
    client, hashes = filled
    found = []
    after = ""
    for last in (hashes[1], hashes[3], None):
        page = client.get(f"/?limit=2&details=1{after}").get_json()
        assert page["next"] == last
        found += page["photos"]
        after = f"&after={last}"
    assert [entry["image_hash"] for entry in found] == hashes
    assert found == client.get("/?details=true").get_json()["photos"]
    times = [datetime.fromisoformat(entry["time"]) for entry in found]
    assert all(entry["time"].endswith("Z") for entry in found)
    assert times == sorted(times)
    assert abs(times[-1].timestamp() - time.time()) < 600
    assert {moment.tzinfo for moment in times} == {UTC}
    for entry in found:
        result = client.get(f"/{entry['image_hash']}/segments").get_json()
        car_type = result["type"]
        if car_type is not None:
            del car_type["scores"]
        assert entry == {
            "image_hash": result["image_hash"],
            "time": entry["time"],
            "type": car_type,
            "parts": len(result["parts"]),
            "damages": None,
            "width": result["width"],
            "height": result["height"],
            "file_names": [],
        }


@pytest.mark.parametrize(
    "query",
    [
        *(f"limit={limit}" for limit in ("", "0", "-1", "1001", "1.5", "1e2", "٣", "99999999999")),
        *(f"details={details}" for details in ("", "2", "yes")),
        *(f"after={after}" for after in ("", "x", "0" * 63, "A" * 64)),
        "limit=1&limit=2",
    ],
)
def test_wrong_page_is_refused(filled: tuple[FlaskClient, list[str]], query: str) -> None:
    answer = filled[0].get(f"/?{query}")
    assert answer.status_code == 400
    assert list(answer.get_json()) == ["error"]


def test_page_after_unknown_photo(filled: tuple[FlaskClient, list[str]]) -> None:
    answer = filled[0].get(f"/?after={'0' * 64}")
    assert answer.status_code == 404
    assert answer.get_json() == {"error": "There is no photo with this hash."}


def test_each_key_lists_photos_of_its_own(
    make_app: Callable[..., OpenApiApp], settings: Settings
) -> None:
    ann, bob = ({"X-API-Key": letter * 20} for letter in "ab")
    keys = [SecretStr(headers["X-API-Key"]) for headers in (ann, bob)]
    app = make_app(settings.model_copy(update={"api_keys": keys}), FakePipeline())
    client = app.test_client()
    photo = body(encoded(noise(20, 30))) | {"file_name": "ann.jpg"}
    image_hash = client.post("/", json=photo, headers=ann).get_json()["image_hash"]
    client.get(f"/{image_hash}/status?wait=30", headers=ann)
    (entry,) = client.get("/?details=1", headers=ann).get_json()["photos"]
    assert (entry["image_hash"], entry["file_names"]) == (image_hash, ["ann.jpg"])
    assert client.get("/?details=1", headers=bob).get_json() == {"photos": [], "next": None}
    assert client.get(f"/?after={image_hash}", headers=bob).status_code == 404
    assert client.get("/?limit=1").status_code == 401
