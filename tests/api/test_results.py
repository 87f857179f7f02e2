"""The routes of results: formats, options, pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.openapi import OpenApiApp
from api.service import service_of
from app import create_app
from exports import FORMATS
from exports.palette import PART_COLOURS
from img_to_segments import PART_NAMES
from options import DEFAULT_CONFIDENCE, OF_MASKS, OF_OVERLAYS, OPTION_SPECS, Options
from pipeline import Pipeline
from segment_interface import decode_photo
from settings import Settings
from tests.support.fakes import SURE, UNSURE, FakePipeline, Gate, paint_unsure
from tests.support.http import post, wait
from tests.support.pictures import encoded, noise
from vision.labels import label_of


@pytest.fixture(scope="module")
def service(
    pipeline: Pipeline, sample: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FlaskClient]:
    """Yield a service that has worked on the sample."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), workers=1)
    app = create_app(settings, pipeline=pipeline, status={}, segments={})
    client = app.test_client()
    wait(client, post(client, sample))
    yield client
    service_of(app).engine.close()


@pytest.fixture
def car(service: FlaskClient) -> str:
    """Return the address of the sample."""
    (image_hash,) = service.get("/").get_json()
    return f"/{image_hash}"


@pytest.mark.parametrize(
    "query",
    [
        "format=json",
        "normalized=false&topology=independent",
        f"min_area=0&min_confidence={DEFAULT_CONFIDENCE}",
    ],
)
def test_defaults_give_plain_answer(service: FlaskClient, car: str, query: str) -> None:
    plain = service.get(f"{car}/segments")
    assert plain.content_type == "application/json"
    assert service.get(f"{car}/segments?{query}").data == plain.data


def test_formats_by_name_and_by_accept(service: FlaskClient, car: str) -> None:
    plain = service.get(f"{car}/segments").data
    for entry in FORMATS.values():
        by_name = service.get(f"{car}/segments?format={entry.name}", headers={"Accept": "x/y"})
        assert by_name.status_code == 200
        assert by_name.content_type == entry.media_type
        media_type = entry.media_type.partition(";")[0]
        asked = service.get(f"{car}/segments", headers={"Accept": f"{media_type}, */*;q=0.1"})
        assert asked.headers["Vary"] == "Accept, Accept-Encoding"
        assert asked.data == (by_name.data if entry.negotiable else plain)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/pdf",
        "application/json, text/plain, */*",  # axios
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/svg+xml,*/*;q=0.8",  # Firefox
        "application/xml;q=0.4, application/json;q=0.5",
        ";;;q=x",
    ],
)
def test_json_unless_something_else_is_preferred(
    service: FlaskClient, car: str, accept: str
) -> None:
    answer = service.get(f"{car}/segments", headers={"Accept": accept})
    assert answer.content_type == "application/json"
    assert answer.get_json()["parts"]


def test_options_change_answer(service: FlaskClient, car: str) -> None:
    def ask(query: str) -> list[dict[str, object]]:
        parts: list[dict[str, object]] = service.get(f"{car}/segments?{query}").get_json()["parts"]
        return parts

    plain = ask("")
    assert len(json.dumps(ask("tolerance=0"))) > 2 * len(json.dumps(plain))
    assert len(json.dumps(ask("max_vertices=5"))) < len(json.dumps(plain))
    confidences = sorted(float(str(part["confidence"])) for part in plain)
    median = confidences[len(plain) // 2]
    sure = sum(confidence >= median for confidence in confidences)
    assert len(ask(f"min_confidence={median}")) == sure < len(plain)
    assert ask("min_area=89000000") == []
    assert max(max(part["bbox"]) for part in ask("normalized=1")) <= 1  # type: ignore[call-overload]
    assert ask("topology=shared")


def test_other_formats_need_no_network(
    make_app: Callable[..., OpenApiApp], gate: Gate, sample: bytes
) -> None:
    client = make_app(stages=gate).test_client()
    gate.open.set()
    image_hash = post(client, sample)
    wait(client, image_hash)
    for name in FORMATS:
        assert client.get(f"/{image_hash}/segments?format={name}&tolerance=0").status_code == 200
    for name in ("mask", "overlay", "masks/hood"):
        assert client.get(f"/{image_hash}/{name}.png").status_code == 200
    assert gate.calls == 1


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("format=png", "There is no format 'png'; the formats are json, coco, coco-rle, geojson"),
        ("format=", "There is no format ''"),
        ("format=coco&format=json", "format is given more than once"),
        ("tolerance=-1", "tolerance must be a number of pixels from 0 to 1000, not '-1'"),
        ("tolerance=1&tolerance=2", "more than once"),
        ("max_vertices=2", "max_vertices must be a whole number from 3 to 100000"),
        ("min_confidence=%00", "from 0 to 1"),
        ("tolerence=1", "the options are tolerance"),
        ("format=coco&normalized=true", "normalized works only with json and geojson"),
    ],
)
def test_bad_queries(service: FlaskClient, car: str, query: str, words: str) -> None:
    answer = service.get(f"{car}/segments?{query}")
    assert answer.status_code == 400
    assert list(answer.get_json()) == ["error"]
    assert words in answer.get_json()["error"]


def test_file_name_in_formats_that_have_one(service: FlaskClient, car: str) -> None:
    name = "a%26b%20%3C%22.png"
    for form in ("coco", "geojson", "labelme", "labelstudio", "cvat"):
        document = service.get(f"{car}/segments?format={form}&file_name={name}").get_data(True)
        assert ("a&amp;b &lt;&quot;.png" if form == "cvat" else 'a&b <\\".png') in document


def test_pictures(service: FlaskClient, car: str, pipeline: Pipeline, sample: bytes) -> None:
    labels = pipeline.analyse(decode_photo(sample, 10_000_000)).labels

    def picture(name: str, query: str = "") -> Image.Image:
        answer = service.get(f"{car}/{name}.png{query}")
        assert answer.content_type == "image/png"
        return Image.open(BytesIO(answer.data))

    assert np.array_equal(np.asarray(picture("mask", "?min_confidence=0")), labels)
    found = [part["name"] for part in service.get(f"{car}/segments").get_json()["parts"]]
    for name in found:
        mask = labels == label_of(name)
        assert np.array_equal(np.asarray(picture(f"masks/{name}")), np.where(mask, 255, 0))
    kept = np.isin(labels, [label_of(name) for name in found])
    assert np.array_equal(np.asarray(picture("mask")), np.where(kept, labels, 0))
    overlay = np.asarray(picture("overlay"))
    assert overlay.shape == (*labels.shape, 4)
    colours = {tuple(colour) for colour in overlay[overlay[..., 3] > 0][:, :3].tolist()}
    assert colours == {PART_COLOURS[name] for name in found}


def test_missing_masks(service: FlaskClient, car: str) -> None:
    found = [part["name"] for part in service.get(f"{car}/segments").get_json()["parts"]]
    missing = next(name for name in PART_NAMES if name not in found)
    answer = service.get(f"{car}/masks/{missing}.png")
    assert (answer.status_code, answer.get_json()) == (
        404,
        {"error": f"No {missing} was found in this photo."},
    )
    answer = service.get(f"{car}/masks/sunroof.png")
    assert answer.status_code == 404
    assert "back_bumper, back_glass" in answer.get_json()["error"]


@pytest.fixture
def doubtful(make_app: Callable[..., OpenApiApp]) -> tuple[FlaskClient, str]:
    """Return a service that is unsure of a part, and the address of a photo with this part."""
    client = make_app(stages=FakePipeline(paint=paint_unsure)).test_client()
    image_hash = post(client, encoded(noise(40, 60)))
    wait(client, image_hash)
    return client, f"/{image_hash}"


def test_every_route_leaves_unsure_parts_out(doubtful: tuple[FlaskClient, str]) -> None:
    client, photo = doubtful
    for query, found in (("", [SURE]), ("?min_confidence=0", [SURE, UNSURE])):
        document = client.get(f"{photo}/segments{query}").get_json()
        assert list(document["segments"]) == found
        assert [part["name"] for part in document["parts"]] == found
        assert document["message"].startswith(
            "1 part was found." if len(found) == 1 else "2 parts were found."
        )
        pixels = np.asarray(Image.open(BytesIO(client.get(f"{photo}/mask.png{query}").data)))
        assert {*np.unique(pixels), 0} == {0, *(label_of(name) for name in found)}
        drawing = np.asarray(Image.open(BytesIO(client.get(f"{photo}/overlay.png{query}").data)))
        colours = {tuple(colour) for colour in drawing[drawing[..., 3] > 0][:, :3].tolist()}
        assert colours == {PART_COLOURS[name] for name in found}
        for name in (SURE, UNSURE):
            answer = client.get(f"{photo}/masks/{name}.png{query}")
            if name in found:
                assert np.asarray(Image.open(BytesIO(answer.data))).any()
            else:
                assert answer.status_code == 404
                assert answer.get_json() == {"error": f"No {name} was found in this photo."}


def test_status_counts_parts_of_default_result(doubtful: tuple[FlaskClient, str]) -> None:
    client, photo = doubtful
    status = client.get(f"{photo}/status").get_json()
    assert status["message"] == client.get(f"{photo}/segments").get_json()["message"]


def test_written_masks_leave_unsure_parts_out(
    make_app: Callable[..., OpenApiApp], settings: Settings
) -> None:
    config = settings.model_copy(update={"write_masks": True})
    client = make_app(config, FakePipeline(paint=paint_unsure)).test_client()
    image_hash = post(client, encoded(noise(40, 60)))
    wait(client, image_hash)
    (file,) = (settings.masks / image_hash).iterdir()
    assert file.name == f"{SURE}.png"
    sent = client.get(f"/{image_hash}/masks/{SURE}.png").data
    with Image.open(file) as written:
        assert np.array_equal(np.asarray(written), np.asarray(Image.open(BytesIO(sent))))


def test_pictures_follow_their_options(service: FlaskClient, car: str) -> None:
    def pixels(name: str) -> np.typing.NDArray[np.uint8]:
        return np.asarray(Image.open(BytesIO(service.get(f"{car}/{name}").data)))

    parts = service.get(f"{car}/segments").get_json()["parts"]
    smallest = min(parts, key=lambda part: int(part["area"]))
    label = label_of(smallest["name"])
    assert (pixels("mask.png") == label).any()
    query = f"?min_area={smallest['area'] + 1}"
    assert not (pixels(f"mask.png{query}") == label).any()
    assert service.get(f"{car}/masks/{smallest['name']}.png{query}").status_code == 404
    for option in ("tolerance=20", "max_vertices=4", "topology=shared", "min_area=89000000"):
        assert not np.array_equal(pixels(f"overlay.png?{option}"), pixels("overlay.png")), option


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mask.png?min_confidence=2", "min_confidence must be a number from 0 to 1, not '2'"),
        (
            "mask.png?tolerance=1",
            "no option 'tolerance'; the options are min_area, min_confidence, parts.",
        ),
        ("masks/hood.png?format=json", "no option 'format'; the options are min_area"),
        ("masks/hood.png?min_area=1&min_area=2", "min_area is given more than once"),
        ("overlay.png?normalized=true", "no option 'normalized'; the options are tolerance"),
        ("overlay.png?topology=none", "topology must be independent or shared"),
    ],
)
def test_bad_queries_for_pictures(service: FlaskClient, car: str, name: str, words: str) -> None:
    answer = service.get(f"{car}/{name}")
    assert answer.status_code == 400
    assert list(answer.get_json()) == ["error"]
    assert words in answer.get_json()["error"]


PICTURES = ["mask.png", "masks/hood.png", "overlay.png", "segments?format=svg"]


@pytest.mark.parametrize("name", PICTURES)
def test_unfinished_photos(make_app: Callable[..., OpenApiApp], gate: Gate, name: str) -> None:
    client = make_app(stages=gate).test_client()
    assert client.get(f"/{'0' * 64}/{name}").status_code == 404
    image_hash = post(client, encoded(noise(40, 40)))
    answer = client.get(f"/{image_hash}/{name}")
    assert answer.status_code == 400
    assert "not ready" in answer.get_json()["error"]


@pytest.mark.parametrize("name", ["mask.png", "overlay.png"])
def test_pictures_of_photo_without_car(client: FlaskClient, name: str) -> None:
    image_hash = post(client, encoded(np.full((60, 80, 3), 200, np.uint8)))
    wait(client, image_hash)
    pixels = np.asarray(Image.open(BytesIO(client.get(f"/{image_hash}/{name}").data)))
    assert pixels.shape[:2] == (60, 80)
    assert not pixels.any()


def test_document_has_every_option_and_format(app: OpenApiApp) -> None:
    document = app.test_client().get("/openapi.json").get_json()

    def parameters_of(name: str) -> dict[str, Any]:
        given = document["paths"][f"/{{image_hash}}/{name}"]["get"]["parameters"]
        return {entry["name"]: entry for entry in given if entry["in"] == "query"}

    parameters = parameters_of("segments")
    assert set(parameters) == {"format", *OPTION_SPECS}
    assert parameters["format"]["schema"]["enum"] == list(FORMATS)
    assert parameters["tolerance"]["schema"]["maximum"] == 1000
    assert parameters["min_confidence"]["schema"]["default"] == DEFAULT_CONFIDENCE
    for name, options in (
        ("mask.png", OF_MASKS),
        ("masks/{segment}.png", OF_MASKS),
        ("overlay.png", OF_OVERLAYS),
    ):
        assert parameters_of(name) == {option: parameters[option] for option in options}
    get = document["paths"]["/{image_hash}/segments"]["get"]
    content = get["responses"]["200"]["content"]
    assert set(content) == {entry.media_type for entry in FORMATS.values()}


def test_route_options_equal_python_options(service: FlaskClient, car: str) -> None:
    options = Options(tolerance=3, min_area=20, topology="shared", file_name="x.png")
    answer = service.get(f"{car}/segments", query_string={"format": "coco", **options.query()})
    by_hand = service.get(
        f"{car}/segments?format=coco&tolerance=3&min_area=20&topology=shared&file_name=x.png"
    )
    assert answer.status_code == 200
    assert answer.data == by_hand.data
