"""Marks on results."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from api.openapi import OpenApiApp
from settings import Settings
from tests.support.fakes import FakePipeline, Gate
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise
from vision.labels import PART_NAMES, TYPE_NAMES

EMPTY: dict[str, object] = {
    "wrong": [],
    "missing": [],
    "type": None,
    "comment": "",
    "time": None,
    "model_version": None,
}


@pytest.fixture
def fake(make_app: Callable[..., OpenApiApp]) -> FlaskClient:
    """A client of a service without networks."""
    return make_app(stages=FakePipeline()).test_client()


@pytest.fixture
def photo(fake: FlaskClient) -> str:
    """Return the address of a photo that is Ready."""
    image_hash = post(fake, encoded(noise(20, 30)))
    wait(fake, image_hash)
    return f"/{image_hash}"


def test_marks_are_kept_and_replaced(fake: FlaskClient, photo: str) -> None:
    assert fake.get(f"{photo}/feedback").get_json() == EMPTY
    marks = {
        "wrong": ["wheel", "hood", "hood"],
        "missing": ["trunk"],
        "type": "van",
        "comment": "Schräg\n<b>",
    }
    answer = fake.post(f"{photo}/feedback", json=marks)
    assert answer.status_code == 200
    kept = answer.get_json()
    version = fake.get(f"{photo}/segments").get_json()["model_version"]
    assert kept == marks | {
        "wrong": ["hood", "wheel"],
        "time": kept["time"],
        "model_version": version,
    }
    assert datetime.fromisoformat(kept["time"]).tzinfo is not None
    assert fake.get(f"{photo}/feedback").get_json() == kept
    replaced = fake.post(f"{photo}/feedback", json={"type": "suv"}).get_json()
    assert replaced == EMPTY | {
        "type": "suv",
        "time": replaced["time"],
        "model_version": version,
    }
    assert fake.post(f"{photo}/feedback", json={"wrong": []}).get_json() == EMPTY
    assert fake.get(f"{photo}/feedback").get_json() == EMPTY
    assert fake.get("/feedback").get_json() == {"photos": [], "next": None}


def test_marked_photos_are_listed(fake: FlaskClient) -> None:
    hashes = [post(fake, encoded(noise(20, width))) for width in range(30, 34)]
    for image_hash in hashes:
        wait(fake, image_hash)
    for image_hash in (hashes[3], hashes[1], hashes[0]):
        fake.post(f"/{image_hash}/feedback", json={"comment": image_hash})
    listed = fake.get("/?details=true").get_json()["photos"]
    expected = [
        listed[number] | {"feedback": fake.get(f"/{hashes[number]}/feedback").get_json()}
        for number in (0, 1, 3)
    ]
    assert fake.get("/feedback").get_json() == {"photos": expected, "next": None}
    page = fake.get("/feedback?limit=2").get_json()
    assert page == {"photos": expected[:2], "next": hashes[1]}
    page = fake.get(f"/feedback?limit=2&after={hashes[1]}").get_json()
    assert page == {"photos": expected[2:], "next": None}
    fake.delete(f"/{hashes[3]}")
    assert fake.get("/feedback").get_json()["photos"] == expected[:2]
    post(fake, encoded(noise(20, 33)))
    assert fake.get(f"/{hashes[3]}/feedback").get_json() == EMPTY
    assert fake.get("/feedback?limit=0").status_code == 400
    assert fake.get(f"/feedback?after={'0' * 64}").status_code == 404


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ({"wrong": ["hod"]}, f"wrong has 'hod'; the names are {', '.join(PART_NAMES)}."),
        ({"missing": ["hood", 5]}, f"missing has '5'; the names are {', '.join(PART_NAMES)}."),
        ({"missing": [["hood"]]}, "missing has "),
        ({"wrong": "hood"}, "wrong must be a list of parts."),
        ({"wrong": None}, "wrong must be a list of parts."),
        ({"type": "truck"}, f"type has 'truck'; the names are {', '.join(TYPE_NAMES)}."),
        ({"type": {}}, "type has "),
        ({"comment": "x" * 2001}, "comment must be text of at most 2000 characters."),
        ({"comment": None}, "comment must be text of at most 2000 characters."),
        ({}, "There is no feedback; send "),
        (
            {"wrnog": ["hood"]},
            "Feedback has no 'wrnog'; its fields are wrong, missing, type, comment.",
        ),
        ({"comment": "x", "wrnog": []}, "Feedback has no 'wrnog'; "),
        (
            {"wrong": ["roof", "hood"], "missing": ["hood"]},
            "hood is in wrong and in missing; a part is in one of them.",
        ),
        (["hood"], "There is no feedback; send "),
    ],
)
def test_wrong_marks_are_refused(
    fake: FlaskClient, photo: str, marks: object, message: str
) -> None:
    before = fake.post(f"{photo}/feedback", json={"comment": "x" * 2000}).get_json()
    answer = fake.post(f"{photo}/feedback", json=marks)
    assert answer.status_code == 400
    assert answer.get_json()["error"].startswith(message)
    assert fake.get(f"{photo}/feedback").get_json() == before


def test_other_requests_are_refused(fake: FlaskClient, photo: str) -> None:
    marks = {"comment": "x"}
    assert fake.post(f"/{'0' * 64}/feedback", json=marks).status_code == 404
    assert fake.get(f"/{'0' * 64}/feedback").status_code == 404
    assert fake.post(f"{photo}/feedback", data='{"comment": "x"}').status_code == 415
    assert fake.post(f"{photo}/feedback", json={"other": "x" * 70_000}).status_code == 413


def test_photo_that_is_not_ready(make_app: Callable[..., OpenApiApp], gate: Gate) -> None:
    client = make_app(stages=gate).test_client()
    image_hash = post(client, encoded(noise(20, 30)))
    answer = client.post(f"/{image_hash}/feedback", json={"comment": "x"})
    assert (answer.status_code, "not ready" in answer.get_json()["error"]) == (400, True)
    assert client.get(f"/{image_hash}/feedback").get_json() == EMPTY


def test_each_key_has_marks_of_its_own(
    make_app: Callable[..., OpenApiApp], settings: Settings
) -> None:
    ann, bob, eve = ({"X-API-Key": letter * 20} for letter in "abe")
    keys = [SecretStr(headers["X-API-Key"]) for headers in (ann, bob, eve)]
    app = make_app(settings.model_copy(update={"api_keys": keys}), FakePipeline())
    client = app.test_client()
    for headers in (ann, bob):
        image = body(encoded(noise(20, 30)))
        image_hash = client.post("/?wait=30", json=image, headers=headers).get_json()["image_hash"]
    address = f"/{image_hash}/feedback"
    client.post(address, json={"comment": "of ann"}, headers=ann)
    assert client.get(address, headers=ann).get_json()["comment"] == "of ann"
    assert client.get(address, headers=bob).get_json() == EMPTY
    assert client.get("/feedback", headers=bob).get_json()["photos"] == []
    assert len(client.get("/feedback", headers=ann).get_json()["photos"]) == 1
    assert client.get(address, headers=eve).status_code == 404
    assert client.post(address, json={"comment": "x"}, headers=eve).status_code == 404
    assert client.post(address, json={"comment": "x"}).status_code == 401
    assert client.get("/feedback").status_code == 401
