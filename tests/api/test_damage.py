"""Test photos that are posted for damage, through the routes."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.openapi import OpenApiApp
from settings import Settings
from tests.support.fakes import FakePipeline, paint_nothing
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise

PHOTO = encoded(noise(30, 40))
Make = Callable[..., OpenApiApp]


@pytest.fixture
def client(make_app: Make) -> FlaskClient:
    """A client of a service whose photos are one hood, all of it scratched."""
    return make_app(stages=FakePipeline()).test_client()


def form() -> dict[str, object]:
    return {"data": {"file": (BytesIO(PHOTO), "car.png")}}


@pytest.mark.parametrize(
    "sent",
    [
        lambda: {"json": body(PHOTO)},
        form,
        lambda: {"data": PHOTO, "content_type": "image/png"},
    ],
    ids=["json", "form", "alone"],
)
@pytest.mark.parametrize("query", ["wait=30&", ""])
def test_every_kind_of_post(
    client: FlaskClient, sent: Callable[[], dict[str, object]], query: str
) -> None:
    answer = client.post(f"/?{query}damage=true", **sent())
    assert answer.status_code == 200
    image_hash = answer.get_json()["image_hash"]
    wait(client, image_hash)
    result = client.get(f"/{image_hash}/segments").get_json()
    (damage,) = result["damages"]
    assert damage["kind"] == "scratch"
    assert damage["area"] == 30 * 40
    assert damage["bbox"] == [0, 0, 40, 30]
    assert damage["confidence"] == 0.5
    assert damage["parts"] == [{"name": "hood", "share": 1.0}]
    assert [part["damaged"] for part in result["parts"]] == [["scratch"]]
    assert result["damage_version"] == "fake damage"
    assert result["message"].endswith("1 damage was found.")
    if query:
        assert answer.get_json() == result


def test_batch(client: FlaskClient) -> None:
    images = [body(encoded(noise(30, width)))["image"] for width in (40, 41)]
    answer = client.post("/batch?damage=true", json={"images": images})
    for entry in answer.get_json()["photos"]:
        wait(client, entry["image_hash"])
        assert client.get(f"/{entry['image_hash']}/segments").get_json()["damages"]


def test_files_of_form(client: FlaskClient) -> None:
    files = [(BytesIO(encoded(noise(30, width))), f"{width}.png") for width in (40, 41)]
    answer = client.post("/?damage=true", data={"file": files})
    for entry in answer.get_json()["photos"]:
        wait(client, entry["image_hash"])
        assert client.get(f"/{entry['image_hash']}/segments").get_json()["damages"]


def test_answer_without_damage_is_the_same(client: FlaskClient, make_app: Make) -> None:
    image_hash = post(client, PHOTO)
    wait(client, image_hash)
    plain = client.get(f"/{image_hash}/segments").data
    assert b"damage" not in plain
    post(client, PHOTO, damage=True)
    client.get(f"/{image_hash}/status?wait=30")
    assert b"damage" in client.get(f"/{image_hash}/segments").data
    assert client.get(f"/{image_hash}/segments?damage=false").data == plain


def test_damage_asked_for_later(client: FlaskClient) -> None:
    image_hash = post(client, PHOTO)
    wait(client, image_hash)
    assert "damage" not in client.get(f"/{image_hash}").get_json()["links"]
    for path in ("segments?damage=true", "overlay.png?damage=true", "damage.png"):
        answer = client.get(f"/{image_hash}/{path}")
        assert answer.status_code == 404
        assert answer.get_json()["error"].endswith("post it again with damage=true.")


def test_pending_damage(make_app: Make, tmp_path: Path) -> None:
    (tmp_path / "script").mkdir()
    stages = FakePipeline(tmp_path / "script")
    client = make_app(stages=stages).test_client()
    image_hash = post(client, PHOTO)
    ended = wait(client, image_hash)
    plain = client.get(f"/{image_hash}/segments").data
    stages.hang(40)
    answer = client.post("/?damage=true&wait=0", json=body(PHOTO))
    assert answer.status_code == 202
    assert answer.get_json() == {"image_hash": image_hash, **ended, "damage": "pending"}
    assert client.get(f"/{image_hash}/status").get_json() == ended | {"damage": "pending"}
    (entry,) = client.post("/status", json={"image_hashes": [image_hash]}).get_json()["photos"]
    assert entry["damage"] == "pending"
    assert client.get(f"/{image_hash}/segments").data == plain
    assert client.post("/?wait=30", json=body(PHOTO)).data == plain
    demanded = client.get(f"/{image_hash}/segments?damage=true")
    assert demanded.status_code == 400
    assert demanded.get_json() == {"error": "The photo is still being examined for damage."}
    stages.go_on()
    events = client.get(f"/{image_hash}/events").text
    assert "pending" not in events.splitlines()[-2]
    assert client.get(f"/{image_hash}/status").get_json().keys() == {"status", "message"}
    assert client.get(f"/{image_hash}/segments?damage=true").get_json()["damages"]


def test_failed_examination(make_app: Make, tmp_path: Path) -> None:
    (tmp_path / "script").mkdir()
    stages = FakePipeline(tmp_path / "script")
    client = make_app(stages=stages).test_client()
    image_hash = post(client, PHOTO)
    ended = wait(client, image_hash)
    plain = client.get(f"/{image_hash}/segments").data
    stages.throw(40, "RuntimeError")
    answer = client.post("/?damage=true&wait=30", json=body(PHOTO))
    assert answer.status_code == 404
    reason = "The photo could not be processed because of an error in the service."
    error = f"The examination for damage failed: {reason}"
    assert answer.get_json() == {"error": error}
    assert client.get(f"/{image_hash}/damage.png").get_json() == {"error": error}
    status = client.get(f"/{image_hash}/status").get_json()
    assert status == ended | {"damage_error": reason}
    assert client.get(f"/{image_hash}/segments").data == plain
    stages.throw(40, None)
    answer = client.post("/?damage=true&wait=30", json=body(PHOTO))
    assert answer.get_json()["damages"]
    assert client.get(f"/{image_hash}/status").get_json().keys() == {"status", "message"}


@pytest.mark.parametrize("address", ["/?damage=", "/batch?damage="])
@pytest.mark.parametrize("value", ["", "yes", "2", "true&damage=true"])
def test_wrong_value(client: FlaskClient, address: str, value: str) -> None:
    images = body(PHOTO) | {"images": [body(PHOTO)["image"]]}
    answer = client.post(f"{address}{value}", json=images)
    assert answer.status_code == 400
    assert "damage" in answer.get_json()["error"]
    assert client.get("/").get_json() == []


def test_field_of_json_and_form(client: FlaskClient) -> None:
    image = body(PHOTO)
    other = body(encoded(noise(30, 41)))["image"]
    wanted = (
        client.post("/?wait=30", json=image | {"damage": True}),
        client.post("/?wait=30", data={"file": (BytesIO(PHOTO), "a.png"), "damage": "true"}),
        client.post("/?wait=30&damage=true", json=image | {"damage": True}),
    )
    assert [bool(answer.get_json()["damages"]) for answer in wanted] == [True] * 3
    answer = client.post("/batch", json={"images": [other], "damage": True})
    (entry,) = answer.get_json()["photos"]
    wait(client, entry["image_hash"])
    assert client.get(f"/{entry['image_hash']}/segments").get_json()["damages"]


def test_several_files_with_field(client: FlaskClient) -> None:
    files = [(BytesIO(encoded(noise(30, width))), f"{width}.png") for width in (40, 41)]
    answer = client.post("/", data={"file": files, "damage": "1"})
    for entry in answer.get_json()["photos"]:
        wait(client, entry["image_hash"])
        assert client.get(f"/{entry['image_hash']}/segments").get_json()["damages"]


@pytest.mark.parametrize("value", [None, False])
def test_field_that_asks_for_nothing(client: FlaskClient, value: bool | None) -> None:
    answer = client.post("/?wait=30", json=body(PHOTO) | {"damage": value})
    assert answer.status_code == 200
    assert "damages" not in answer.get_json()


@pytest.mark.parametrize("address", ["/", "/batch"])
@pytest.mark.parametrize(
    ("query", "value"), [("", "true"), ("", 1), ("", []), ("?damage=false", True)]
)
def test_wrong_field_of_json(client: FlaskClient, address: str, query: str, value: object) -> None:
    document = body(PHOTO) | {"images": [body(PHOTO)["image"]], "damage": value}
    answer = client.post(f"{address}{query}", json=document)
    assert answer.status_code == 400
    assert "damage" in answer.get_json()["error"]
    assert client.get("/").get_json() == []


@pytest.mark.parametrize(
    ("query", "values"),
    [("", ["yes"]), ("", [""]), ("", ["true", "true"]), ("?damage=true", ["false"])],
)
def test_wrong_field_of_form(client: FlaskClient, query: str, values: list[str]) -> None:
    sent = {"file": (BytesIO(PHOTO), "car.png"), "damage": values}
    answer = client.post(f"/{query}", data=sent)
    assert answer.status_code == 400
    assert "damage" in answer.get_json()["error"]
    assert client.get("/").get_json() == []


def test_field_against_setting(make_app: Make, settings: Settings) -> None:
    config = settings.model_copy(update={"damage": "always"})
    client = make_app(config, FakePipeline()).test_client()
    answer = client.post("/?wait=30", json=body(PHOTO) | {"damage": False})
    assert "damages" not in answer.get_json()


@pytest.mark.parametrize(
    ("query", "is_examined"), [("", True), ("?damage=false", False), ("?damage=true", True)]
)
def test_setting(make_app: Make, settings: Settings, query: str, is_examined: bool) -> None:
    config = settings.model_copy(update={"damage": "always"})
    client = make_app(config, FakePipeline()).test_client()
    image_hash = client.post(f"/{query}", json=body(PHOTO)).get_json()["image_hash"]
    wait(client, image_hash)
    result = client.get(f"/{image_hash}/segments").get_json()
    assert ("damages" in result) == is_examined


def test_no_damage_and_no_car(make_app: Make) -> None:
    client = make_app(stages=FakePipeline(paint=paint_nothing)).test_client()
    image_hash = post(client, PHOTO, damage=True)
    wait(client, image_hash)
    result = client.get(f"/{image_hash}/segments?min_confidence=0.6").get_json()
    assert (result["parts"], result["damages"]) == ([], [])
    assert result["message"] == "No car was found in this photo. No damage was found."
    found = client.get(f"/{image_hash}/segments").get_json()
    assert [damage["parts"] for damage in found["damages"]] == [[]]
    assert found["message"] == "No car was found in this photo. 1 damage was found."


def test_number_in_list(client: FlaskClient) -> None:
    image_hash = post(client, PHOTO)
    wait(client, image_hash)
    (entry,) = client.get("/?details=1").get_json()["photos"]
    assert entry["damages"] is None
    post(client, PHOTO, damage=True)
    client.get(f"/{image_hash}/status?wait=30")
    (entry,) = client.get("/?details=1").get_json()["photos"]
    assert entry["damages"] == 1


def test_parts_that_are_left_out(client: FlaskClient) -> None:
    image_hash = post(client, PHOTO, damage=True)
    wait(client, image_hash)
    result = client.get(f"/{image_hash}/segments?parts=wheel").get_json()
    assert result["parts"] == []
    assert [damage["parts"] for damage in result["damages"]] == [[]]


def test_options_apply_to_damage(client: FlaskClient) -> None:
    image_hash = post(client, PHOTO, damage=True)
    wait(client, image_hash)

    def damages(query: str) -> list[dict[str, object]]:
        answer = client.get(f"/{image_hash}/segments?{query}")
        return json.loads(answer.data)["damages"]  # type: ignore[no-any-return]

    assert damages("min_confidence=0.51") == damages("min_area=1201") == []
    assert damages("min_area=1000") == damages("")
    (normalized,) = damages("normalized=true")
    assert normalized["bbox"] == [0, 0, 1, 1]


def test_picture_of_damage(client: FlaskClient) -> None:
    image_hash = post(client, PHOTO, damage=True)
    wait(client, image_hash)
    link = client.get(f"/{image_hash}").get_json()["links"]["damage"]
    picture = Image.open(BytesIO(client.get(f"/{link}").data))
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), np.ones((30, 40)))
    left = Image.open(BytesIO(client.get(f"/{link}?min_area=1201").data))
    assert not np.asarray(left).any()
    answer = client.get(f"/{link}?parts=hood")
    assert answer.status_code == 400


def test_overlay_hatches_damage(client: FlaskClient) -> None:
    image_hash = post(client, PHOTO, damage=True)
    wait(client, image_hash)
    hatched, plain = (
        np.asarray(Image.open(BytesIO(client.get(f"/{image_hash}/overlay.png{query}").data)))
        for query in ("", "?damage=false")
    )
    changed = (hatched != plain).any(-1)
    assert 0.1 < changed.mean() < 0.9  # the colour of the part shows between the lines
