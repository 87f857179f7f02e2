"""Test each row of the API table with the real models."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from PIL import Image

import app as app_module
from api.openapi import OpenApiApp
from api.schema import ResultAnswer
from api.service import service_of
from car_classification import TYPE_NAMES
from exports import FORMATS, export
from img_to_segments import PART_NAMES
from jobs.messages import UNEXPECTED
from options import PLAIN
from photo_result import NO_CAR, Result
from pipeline import MODELS_FAILED, ModelsNotLoadedError, Pipeline
from segment_interface import decode_image, decode_photo
from settings import VERSION, Settings, usable_cores
from tests.support.fakes import SURE, FakePipeline, Gate, paint_unsure
from tests.support.http import body, post, segments, wait
from tests.support.pictures import SAMPLE, encoded, noise

UNKNOWN = "0" * 64


def test_car_from_post_to_result(client: FlaskClient, pipeline: Pipeline, sample: bytes) -> None:
    answer = client.post("/", json=body(sample))
    image_hash = hashlib.sha256(sample).hexdigest()
    assert answer.status_code == 200
    assert answer.get_json()["image_hash"] == image_hash
    assert answer.get_json()["message"]
    status = wait(client, image_hash)
    assert set(status) == {"status", "message"}
    assert "found" in status["message"]
    assert client.get("/").get_json() == [image_hash]

    answer = client.get(f"/{image_hash}/segments")
    assert answer.status_code == 200
    result = answer.get_json()
    ResultAnswer.model_validate(result)
    assert result["image_hash"] == image_hash
    with Image.open(SAMPLE) as picture:
        assert (result["width"], result["height"]) == picture.size
    assert result["type"]["name"] in TYPE_NAMES
    assert sum(result["type"]["scores"].values()) == pytest.approx(1, abs=1e-3)
    assert {"front_glass", "hood", "front_bumper", "wheel"} <= set(result["segments"])
    assert result["model_version"] == pipeline.version
    assert result["service_version"] == VERSION
    assert result["message"] == status["message"]


def test_segments_and_parts_agree(client: FlaskClient, sample: bytes) -> None:
    result = segments(client, sample)
    assert list(result["segments"]) == [part["name"] for part in result["parts"]]
    assert list(result["segments"]) == [name for name in PART_NAMES if name in result["segments"]]
    for part in result["parts"]:
        exteriors = [polygon["exterior"] for polygon in part["polygons"]]
        assert result["segments"][part["name"]] == exteriors
        x, y, width, height = part["bbox"]
        points = np.concatenate([np.asarray(ring) for ring in exteriors])
        assert (points.min(axis=0) >= 0).all()
        assert (points.max(axis=0) <= (result["width"], result["height"])).all()
        assert np.abs(points.min(axis=0) - (x, y)).max() < 4
        assert np.abs(points.max(axis=0) - (x + width, y + height)).max() < 4
        assert 0 < part["area"] <= width * height
        assert 0 < part["confidence"] <= 1


def test_public_dicts_are_filled(settings: Settings, pipeline: Pipeline, sample: bytes) -> None:
    status: dict[str, str] = {}
    polygons: dict[str, Any] = {}
    app = app_module.create_app(settings, pipeline=pipeline, status=status, segments=polygons)
    client = app.test_client()
    result = segments(client, sample)
    assert status == {result["image_hash"]: "Ready"}
    assert polygons == {result["image_hash"]: result["segments"]}
    service_of(app).engine.close()
    assert type(app_module.processing_status) is dict
    assert type(app_module.processed_segments) is dict


def test_public_dicts_have_default_result(settings: Settings) -> None:
    polygons: dict[str, Any] = {}
    app = app_module.create_app(
        settings, pipeline=FakePipeline(paint=paint_unsure), status={}, segments=polygons
    )
    result = segments(app.test_client(), encoded(noise(40, 60)))
    service_of(app).engine.close()
    assert polygons == {result["image_hash"]: result["segments"]}
    assert list(result["segments"]) == [SURE]


def test_states_in_order(
    make_app: Callable[..., OpenApiApp], settings: Settings, gate: Gate, sample: bytes
) -> None:
    one_worker = settings.model_copy(update={"workers": 1})
    client = make_app(one_worker, gate).test_client()
    first = post(client, sample)
    assert gate.entered.wait(60)
    second = post(client, encoded(noise(30, 40)))
    for image_hash, state in ((first, "Processing"), (second, "Uploaded")):
        status = client.get(f"/{image_hash}/status").get_json()
        assert status["status"] == state
        assert status["message"]
        answer = client.get(f"/{image_hash}/segments")
        assert answer.status_code == 400
        assert state in answer.get_json()["error"]
    assert client.get("/").get_json() == []
    gate.open.set()
    wait(client, first)
    wait(client, second)
    assert client.get("/").get_json() == [first, second]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("secret /etc/passwd"), UNEXPECTED),
        (ModelsNotLoadedError(MODELS_FAILED), MODELS_FAILED),
    ],
)
def test_failed_photo_can_be_retried(
    make_app: Callable[..., OpenApiApp], gate: Gate, sample: bytes, error: Exception, message: str
) -> None:
    client = make_app(stages=gate).test_client()
    gate.error = error
    gate.open.set()
    image_hash = post(client, sample)
    assert wait(client, image_hash, "Error")["message"] == message
    answer = client.get(f"/{image_hash}/segments")
    assert (answer.status_code, answer.json) == (404, {"error": message})
    assert client.get("/").get_json() == []
    gate.error = None
    assert post(client, sample) == image_hash
    wait(client, image_hash)
    assert gate.calls == 2


def test_no_car(client: FlaskClient) -> None:
    result = segments(client, encoded(np.full((300, 400, 3), 200, np.uint8), "JPEG"))
    assert result["type"] is None
    assert result["segments"] == {}
    assert result["parts"] == []
    assert result["message"] == NO_CAR
    assert result["rotation"] == 0


@pytest.mark.parametrize("size", [(1, 1), (8000, 200), (200, 8000)])
@pytest.mark.parametrize("mode", ["RGB", "LA"])
def test_odd_pictures_are_ready(client: FlaskClient, size: tuple[int, int], mode: str) -> None:
    result = segments(client, encoded(Image.new(mode, size)))
    assert (result["width"], result["height"]) == size


def test_turned_photo_has_same_parts(client: FlaskClient, sample: bytes) -> None:
    with Image.open(SAMPLE) as picture:
        upright = picture.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    plain = segments(client, encoded(upright))
    result = segments(client, turned)
    for key in ("width", "height", "type", "segments", "parts"):
        assert result[key] == plain[key]


def test_duplicate_photo_is_processed_once(
    make_app: Callable[..., OpenApiApp], gate: Gate, sample: bytes
) -> None:
    client = make_app(stages=gate).test_client()
    image_hash = post(client, sample)
    assert gate.entered.wait(60)
    assert post(client, sample) == image_hash
    gate.open.set()
    wait(client, image_hash)
    assert post(client, sample) == image_hash
    assert client.get(f"/{image_hash}/status").get_json()["status"] == "Ready"
    assert gate.calls == 1


def test_concurrent_identical_posts(
    make_app: Callable[..., OpenApiApp], gate: Gate, sample: bytes
) -> None:
    app = make_app(stages=gate)
    with ThreadPoolExecutor(16) as threads:
        hashes = set(threads.map(lambda _: post(app.test_client(), sample), range(32)))
    gate.open.set()
    (image_hash,) = hashes
    wait(app.test_client(), image_hash)
    assert gate.calls == 1


def test_fifty_photos_from_eight_threads(
    app: OpenApiApp, pipeline: Pipeline, sample: bytes
) -> None:
    """Compare each answer with that of the photo alone, whatever its neighbours."""
    car = Image.fromarray(decode_image(sample, 50_000_000)).convert("RGB")
    car.thumbnail((480, 480))
    photos = [
        encoded(car.crop((i, i // 2, car.width - i // 3, car.height)), "JPEG", quality=80 + i % 15)
        for i in range(50)
    ]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda photo: segments(app.test_client(), photo), photos))
    assert len({answer["image_hash"] for answer in answers}) == 50
    for photo, answer in zip(photos, answers, strict=True):
        alone = Result.of(pipeline.analyse(decode_photo(photo, 50_000_000)), pipeline.version)
        image_hash = hashlib.sha256(photo).hexdigest()
        assert answer == json.loads(export(image_hash, alone, FORMATS["json"], PLAIN))
    assert sum(bool(answer["segments"]) for answer in answers) > 40


LARGE = encoded(noise(700, 700))  # 1.47 MB


@pytest.fixture
def strict(make_app: Callable[..., OpenApiApp], settings: Settings) -> FlaskClient:
    """Return a client of a service with low limits."""
    limits = {"max_upload_mb": 1.0, "max_pixels": 400_000}
    return make_app(settings.model_copy(update=limits)).test_client()


PNG = base64.b64encode(encoded(noise(20, 20))).decode()
STRIPPED = encoded(noise(20, 20)).translate(None, b"\0\r\n")  # as by `curl -d @photo.png`
BAD_POSTS: list[tuple[dict[str, Any], int, str]] = [
    ({"json": {}}, 400, "no image"),
    ({"json": {"image": ""}}, 400, "no image"),
    ({"json": {"image": None}}, 400, "no image"),
    ({"json": {"image": 5}}, 400, "no image"),
    ({"json": {"image": [PNG]}}, 400, "no image"),
    ({"json": {"picture": PNG}}, 400, "no image"),
    ({"json": {"images": [PNG]}}, 400, "POST /batch"),
    ({"json": [PNG]}, 400, "no image"),
    ({"data": b"null", "content_type": "application/json"}, 400, "no image"),
    ({"json": {"image": "   "}}, 400, "empty"),
    ({"json": {"image": "no base64!"}}, 400, "base64"),
    ({"json": {"image": "aGVsbG8="}}, 400, "not an image"),
    ({"json": {"image": PNG[: len(PNG) // 2 // 4 * 4]}}, 400, "damaged or incomplete"),
    ({"data": b"{", "content_type": "application/json"}, 400, "not valid JSON"),
    ({"data": b"", "content_type": "application/json"}, 400, "not valid JSON"),
    ({"data": b"\xff\xfe\xfa", "content_type": "application/json"}, 400, "not valid JSON"),
    ({"data": b"[" * 100_000, "content_type": "application/json"}, 400, "too many values"),
    ({"data": b'{"image":' * 9999, "content_type": "application/json"}, 400, "not valid JSON"),
    *(
        ({"data": data, "content_type": "application/json"}, 400, "The body is a file, not JSON")
        for data in (LARGE, *(encoded(noise(9, 9), kind) for kind in ("JPEG", "GIF", "TIFF")))
    ),
    ({"data": STRIPPED, "content_type": "application/json"}, 400, "curl -d"),
    ({"data": json.dumps({"image": PNG})}, 415, "application/json"),
    ({"data": {"image": PNG}}, 415, "application/json"),
    ({"json": {"image": PNG}, "headers": {"Content-Encoding": "gzip"}}, 415, "Content-Encoding"),
    ({"json": body(encoded(noise(9, 9), "TIFF"))}, 415, "TIFF"),
    ({"json": body(LARGE)}, 413, "1 MB"),
    ({"json": {"image": "A" * 3_000_000}}, 413, "1 MB"),
    ({"json": body(encoded(Image.new("L", (800, 600))))}, 413, "0.4 megapixels"),
]


@pytest.mark.parametrize(("request_", "status", "words"), BAD_POSTS)
def test_bad_posts(strict: FlaskClient, request_: dict[str, Any], status: int, words: str) -> None:
    answer = strict.post("/", **request_)
    assert answer.status_code == status
    assert set(answer.get_json()) == {"error"}
    assert words in answer.get_json()["error"]
    assert b"Traceback" not in answer.data
    assert strict.get("/").get_json() == []


@pytest.mark.parametrize(
    "image",
    [
        PNG,
        f"data:image/png;base64,{PNG}",
        PNG.rstrip("="),
        PNG.replace("+", "-").replace("/", "_"),
        re.sub("(.{76})", "\\1\r\n", PNG),
    ],
)
def test_base64_of_front_ends(client: FlaskClient, image: str) -> None:
    answer = client.post("/", json={"image": image})
    assert answer.status_code == 200
    assert answer.get_json()["image_hash"] == hashlib.sha256(base64.b64decode(PNG)).hexdigest()


def test_bare_line_breaks_in_json(client: FlaskClient) -> None:
    """Return base64 with line breaks, as the shell's `base64` prints it."""
    text = '{"image": "' + base64.encodebytes(base64.b64decode(PNG)).decode() + '"}'
    assert client.post("/", data=text, content_type="application/json").status_code == 200


def test_hash_in_capitals(client: FlaskClient) -> None:
    image_hash = post(client, encoded(noise(21, 20)))
    for name in ("", "/segments", "/mask.png", "/feedback", "/status"):
        wait(client, image_hash)
        answers = [client.get(f"/{text}{name}") for text in (image_hash, image_hash.upper())]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].data == answers[1].data
        assert answers[0].headers.get("ETag") == answers[1].headers.get("ETag")
    assert client.post(f"/{image_hash.upper()}").status_code == 405
    assert client.delete(f"/{image_hash.upper()}").status_code == 204


@pytest.mark.parametrize("route", ["status", "segments"])
@pytest.mark.parametrize(
    "image_hash",
    [UNKNOWN, "x", "..", "%2e%2e%2fapp.py", "a" * 5000, "%00", "ü", "' OR 1=1", UNKNOWN + "x"],
)
def test_unknown_hashes(client: FlaskClient, image_hash: str, route: str) -> None:
    answer = client.get(f"/{image_hash}/{route}")
    assert answer.status_code == 404
    assert set(answer.get_json()) == {"error"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", f"/{UNKNOWN}", 404),
        ("GET", f"/{UNKNOWN}/status/", 404),
        ("GET", "/docs/swagger/../../app.py", 404),
        ("POST", "/predict", 404),
        ("PUT", "/predict", 404),
        ("POST", f"/{UNKNOWN[1:]}", 404),
        ("POST", f"/{UNKNOWN}", 405),
        ("POST", "/health", 405),
        ("PUT", "/", 405),
        ("DELETE", "/", 405),
        ("POST", f"/{UNKNOWN}/status", 405),
        ("POST", f"/{UNKNOWN}/segments", 405),
        ("PATCH", "/openapi.json", 405),
    ],
)
def test_errors_have_one_shape(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.content_type == "application/json"
    assert set(answer.get_json()) == {"error"}
    assert ("Allow" in answer.headers) == (status == 405)


def test_internal_errors_show_no_internals(
    app: OpenApiApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("secret /etc/passwd")

    monkeypatch.setattr(service_of(app).engine, "ready", fail)
    answer = app.test_client().get("/")
    assert answer.status_code == 500
    assert set(answer.get_json()) == {"error"}
    assert b"secret" not in answer.data


@pytest.mark.parametrize(
    ("setting", "origin", "allowed"),
    [
        (("localhost",), "http://localhost:3000", True),
        (("localhost",), "https://127.0.0.1", True),
        (("localhost",), "http://[::1]:8080", True),
        (("localhost",), "https://example.org", False),
        (("localhost",), "http://localhost.example.org", False),
        (("https://example.org",), "https://example.org", True),
        (("https://example.org",), "https://exampleXorg", False),
        (("https://example.org",), "http://localhost:3000", False),
        (("*",), "https://example.org", True),
        ((), "http://localhost:3000", False),
    ],
)
def test_cors(
    make_app: Callable[..., OpenApiApp],
    settings: Settings,
    setting: tuple[str, ...],
    origin: str,
    allowed: bool,
) -> None:
    client = make_app(settings.model_copy(update={"cors_origins": setting})).test_client()
    for answer in (
        client.get("/", headers={"Origin": origin}),
        client.get("/nothing", headers={"Origin": origin}),
        client.options(
            "/",
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            },
        ),
    ):
        granted = answer.headers.get("Access-Control-Allow-Origin")
        assert granted in ((origin, "*") if allowed else (None,))


def test_openapi_document(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    assert document["openapi"].startswith("3.")
    assert set(document["paths"]) == {
        "/",
        "/batch",
        "/feedback",
        "/health",
        "/metrics",
        "/ready",
        "/status",
        "/{image_hash}",
        "/{image_hash}/status",
        "/{image_hash}/events",
        "/{image_hash}/feedback",
        "/{image_hash}/damage.png",
        "/{image_hash}/segments",
        "/{image_hash}/mask.png",
        "/{image_hash}/masks/{segment}.png",
        "/{image_hash}/overlay.png",
        "/openapi.json",
    }
    text = json.dumps(document)
    names = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert names
    assert names <= set(document["components"]["schemas"])
    for path, more in (("/", {"202", "403", "404"}), ("/batch", set())):
        statuses = set(document["paths"][path]["post"]["responses"])
        assert statuses == {"200", "400", "413", "415", "429", "500", "503", "507"} | more
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]


def test_openapi_document_is_valid(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert document["info"]["description"]
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for operations in document["paths"].values():
        for operation in operations.values():
            assert set(operation["tags"]) <= tags
            assert operation["description"]
            assert "<br" not in operation["description"]
            assert all(parameter["description"] for parameter in operation.get("parameters", ()))


def test_docs_page_loads_nothing_from_other_hosts(client: FlaskClient) -> None:
    with client.get("/docs") as page:
        assert page.status_code == 200
        links = re.findall(r'(?:src|href)="([^"]+)"', page.data.decode())
    assert len(links) >= 4
    for link in links:
        assert ":" not in link
        with client.get(f"/{link}") as file:
            assert file.status_code == 200
            assert len(file.data) > 100


def test_networks_do_not_exceed_cores(pipeline: Pipeline) -> None:
    assert 1 <= pipeline.runtime.threads <= usable_cores()


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "application/json;q=0.5,text/html"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_list_in_browser(client: FlaskClient, accept: str, method: str) -> None:
    answer = client.open("/", method=method, headers={"Accept": accept})
    assert answer.status_code == 302
    assert answer.headers["Location"] == "ui"
    assert "Accept" in answer.vary
    with client.get("/", headers={"Accept": accept}, follow_redirects=True) as page:
        assert page.status_code == 200
        assert page.mimetype == "text/html"


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/json",
        "application/json, text/html",
        "text/html;q=0.9,*/*",
        "",
        "x",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_list_in_program(client: FlaskClient, accept: str | None, method: str) -> None:
    headers = {} if accept is None else {"Accept": accept}
    answer = client.open("/", method=method, headers=headers)
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    assert answer.data == (b"[]\n" if method == "GET" else b"")
    assert "Accept" in answer.vary


def test_list_below_prefix_of_proxy(client: FlaskClient) -> None:
    prefixed = "http://localhost/cars/"
    answer = client.get("/", base_url=prefixed, headers={"Accept": BROWSER})
    assert urljoin(prefixed, answer.headers["Location"]) == "http://localhost/cars/ui"
