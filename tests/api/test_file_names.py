"""Names of posted files, and exports with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from urllib3 import encode_multipart_formdata

from api.openapi import OpenApiApp
from exports import FORMATS
from settings import Settings
from tests.support.fakes import FakePipeline
from tests.support.http import body, wait
from tests.support.pictures import encoded, noise

PHOTO, OTHER = encoded(noise(30, 40)), encoded(noise(30, 40, 1))


@pytest.fixture
def fake(make_app: Callable[..., OpenApiApp]) -> FlaskClient:
    """A client of a service without networks."""
    return make_app(stages=FakePipeline()).test_client()


def posted(client: FlaskClient, **more: Any) -> str:
    """Post a photo, wait for it, and return its hash."""
    answer = client.post("/", json=body(PHOTO) | more)
    assert answer.status_code == 200, answer.json
    image_hash: str = answer.get_json()["image_hash"]
    wait(client, image_hash)
    return image_hash


def exported(client: FlaskClient, image_hash: str, query: str = "", **headers: str) -> str:
    """Return the name of the photo in its COCO dataset."""
    answer = client.get(f"/{image_hash}/segments?format=coco{query}", headers=headers)
    name: str = answer.get_json()["images"][0]["file_name"]
    return name


def form(*files: tuple[str, bytes]) -> dict[str, Any]:
    """Return the arguments of a post of files in a form."""
    data, kind = encode_multipart_formdata([("file", file) for file in files])
    return {"data": data, "content_type": kind}


def test_export_has_newest_name(fake: FlaskClient) -> None:
    image_hash = posted(fake)
    assert exported(fake, image_hash) == f"{image_hash}.png"
    plain = fake.get(f"/{image_hash}/segments").data
    posted(fake, file_name="C:\\photos\\first.jpg")
    assert exported(fake, image_hash) == "first.jpg"
    posted(fake, file_name="second.jpg")
    posted(fake)
    assert exported(fake, image_hash) == "second.jpg"
    assert exported(fake, image_hash, "&file_name=own/name.jpg") == "own/name.jpg"
    assert fake.get(f"/{image_hash}/segments").data == plain


def test_new_name_is_new_answer(fake: FlaskClient) -> None:
    image_hash = posted(fake, file_name="first.jpg")
    named, plain = (f"/{image_hash}/segments{query}" for query in ("?format=coco", ""))
    tags = {address: fake.get(address).headers["ETag"] for address in (named, plain)}
    posted(fake, file_name="second.jpg")
    codes = {
        address: fake.get(address, headers={"If-None-Match": tag}).status_code
        for address, tag in tags.items()
    }
    assert codes == {named: 200, plain: 304}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_that_name_photo_have_posted_name(fake: FlaskClient, name: str) -> None:
    image_hash = posted(fake, file_name='my <photo> & "more".jpg')
    answers = [
        fake.get(f"/{image_hash}/segments?format={name}"),
        fake.post(f"/?wait=30&format={name}", json=body(PHOTO)),
    ]
    for answer in answers:
        assert f"{image_hash}.png" not in answer.get_data(as_text=True)
        assert ("my " in answer.get_data(as_text=True)) == FORMATS[name].names_photo


@pytest.mark.parametrize("name", [None, "", "/", "..", "\x00"])
def test_photo_without_name(fake: FlaskClient, name: str | None) -> None:
    image_hash = posted(fake, file_name=name)
    assert exported(fake, image_hash) == f"{image_hash}.png"


@pytest.mark.parametrize("name", [1, ["a.jpg"], {"a": 1}, True])
def test_name_of_wrong_type_is_refused(fake: FlaskClient, name: object) -> None:
    answer = fake.post("/", json=body(PHOTO) | {"file_name": name})
    assert answer.status_code == 400
    assert answer.get_json() == {"error": "file_name is not a string."}
    assert fake.get("/").get_json() == []


def test_batch_with_names(fake: FlaskClient) -> None:
    images = [body(photo)["image"] for photo in (PHOTO, OTHER, PHOTO)]
    names = ["first.jpg", None, "a/second.jpg"]
    answer = fake.post("/batch", json={"images": images, "file_names": names})
    first, other, _ = (entry["image_hash"] for entry in answer.get_json()["photos"])
    wait(fake, first)
    wait(fake, other)
    assert exported(fake, first) == "second.jpg"
    assert exported(fake, other) == f"{other}.png"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jpg"], "file_names must be a list with one name or null for each image."),
        ("a.jpg", "file_names must be a list with one name or null for each image."),
    ],
)
def test_wrong_names_of_batch_are_refused(fake: FlaskClient, names: object, message: str) -> None:
    images = [body(photo)["image"] for photo in (PHOTO, OTHER)]
    answer = fake.post("/batch", json={"images": images, "file_names": names})
    assert (answer.status_code, answer.get_json()) == (400, {"error": message})
    assert fake.get("/").get_json() == []


def test_table_guards_names_like_formulas(fake: FlaskClient) -> None:
    image_hash = posted(fake, file_name="=1+1.png")
    rows = fake.get(f"/{image_hash}/segments?format=csv").get_data(as_text=True).splitlines()[1:]
    assert rows
    assert all(row.startswith("'=1+1.png,") for row in rows)
    assert exported(fake, image_hash) == "=1+1.png"


def test_files_of_form_keep_their_names(fake: FlaskClient) -> None:
    image_hash = fake.post("/", **form(("one é.jpg", PHOTO))).get_json()["image_hash"]
    wait(fake, image_hash)
    assert exported(fake, image_hash) == "one é.jpg"
    answer = fake.post("/", **form(("two.jpg", PHOTO), ("x/three.jpg", OTHER)))
    hashes = [entry["image_hash"] for entry in answer.get_json()["photos"]]
    for image_hash, name in zip(hashes, ("two.jpg", "three.jpg"), strict=True):
        wait(fake, image_hash)
        assert exported(fake, image_hash) == name


def test_each_key_has_names_of_its_own(
    make_app: Callable[..., OpenApiApp], settings: Settings
) -> None:
    keys = [SecretStr("a" * 20), SecretStr("b" * 20)]
    app = make_app(settings.model_copy(update={"api_keys": keys}), FakePipeline())
    client = app.test_client()
    names = {"a" * 20: "ann.jpg", "b" * 20: "bob.jpg"}
    for key, name in names.items():
        headers = {"X-API-Key": key}
        answer = client.post("/", json=body(PHOTO) | {"file_name": name}, headers=headers)
        image_hash = answer.get_json()["image_hash"]
    status = f"/{image_hash}/status?wait=30"
    assert client.get(status, headers={"X-API-Key": "a" * 20}).get_json()["status"] == "Ready"
    for key, name in names.items():
        assert exported(client, image_hash, **{"X-API-Key": key}) == name
