"""Test the files and texts that the page offers, each read by a program it is meant for."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import expect

from exports.labelstudio import DAMAGE_LABELING_CONFIG, LABELING_CONFIG
from options import DEFAULT_CONFIDENCE
from tests.exports.test_cvat import SCHEMA
from tests.support.browser import Visit, photo
from tests.support.pictures import car_photo
from tests.support.server import Server


@pytest.fixture
def result(server: Server, ready: str) -> dict[str, Any]:
    document: dict[str, Any] = requests.get(f"{server.url}/{ready}/segments", timeout=60).json()
    return document


def download(visit: Visit, selector: str, text: str) -> tuple[str, bytes]:
    """Click on a download, and return its name and content."""
    with visit.page.expect_download() as caught:
        visit.page.locator(f"{selector} .file").get_by_text(text, exact=True).click()
    return caught.value.suggested_filename, Path(caught.value.path()).read_bytes()


def stem_of(visit: Visit, image_hash: str) -> str:
    """Return how files of a photo are called, once the page that shows its result knows that.

    Tests that share the service may have named it.
    """
    photos = requests.get(f"{visit.url}/?details=1&limit=1000", timeout=60).json()["photos"]
    (names,) = [one["file_names"] for one in photos if one["image_hash"] == image_hash]
    if not names:
        return f"car-{image_hash[:8]}"
    expect(visit.page.locator("#result-name")).to_have_text(names[0])
    return Path(names[0]).stem


def test_pictures(visit: Visit, ready: str, result: dict[str, Any]) -> None:
    visit.open(ready)
    stem = stem_of(visit, ready)
    size = (result["width"], result["height"])
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    names = set()
    for text in ("Photo with the parts", "Parts only", "Mask"):
        name, data = download(visit, "#pictures", text)
        with Image.open(BytesIO(data)) as picture:
            assert picture.size == size
        names.add(name)
    name, data = download(visit, "#pictures", "Drawing (SVG)")
    assert ET.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
    names.add(name)
    assert len(names) == 4
    assert all(name.startswith(stem) for name in names)
    of_service = [url for url in asked if ready in url]
    assert len(of_service) == 3
    assert all(f"min_confidence={DEFAULT_CONFIDENCE}" in url for url in of_service)


def test_saved_picture_looks_like_page(visit: Visit, sample: bytes, ready: str) -> None:
    page = visit.open(ready)
    bare = np.asarray(Image.open(BytesIO(sample)).convert("RGB")).astype(int)
    page.locator("#opacity").fill("100")
    with_parts = np.asarray(
        Image.open(BytesIO(download(visit, "#pictures", "Photo with the parts")[1])).convert("RGB")
    )
    assert np.mean(np.abs(with_parts - bare).max(axis=2) > 10) > 0.05
    page.locator("#all-parts").uncheck()
    without = np.asarray(
        Image.open(BytesIO(download(visit, "#pictures", "Photo with the parts")[1])).convert("RGB")
    )
    assert np.abs(without - bare).max() <= 2


def test_data(visit: Visit, ready: str, result: dict[str, Any]) -> None:
    visit.open(ready)
    found = {part["name"] for part in result["parts"]}
    texts = visit.page.locator("#data .file").all_inner_texts()
    files = {text: download(visit, "#data", text)[1] for text in texts}
    assert json.loads(files.pop("JSON")) == result
    coco = json.loads(files.pop("COCO"))
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert {names[note["category_id"]] for note in coco["annotations"]} == found
    assert json.loads(files.pop("GeoJSON"))["type"] == "FeatureCollection"
    assert {shape["label"] for shape in json.loads(files.pop("LabelMe"))["shapes"]} == found
    yolo = files.pop("YOLO").decode().split("\n")
    assert all(re.fullmatch(r"\d+( [\d.]+){6,}", line) for line in yolo if line)
    assert json.loads(files.pop("Label Studio"))
    cvat = ET.fromstring(files.pop("CVAT"))
    assert {shape.get("label") for shape in cvat.iter() if shape.get("label")} >= found
    table = files.pop("CSV").decode().splitlines()
    assert {row.split(",")[2] for row in table[1:]} == found
    assert not files


def test_data_follow_slider(visit: Visit, server: Server, ready: str) -> None:
    page = visit.open(ready)
    page.locator("#tolerance").fill("9")
    expect(page.locator("#points")).to_contain_text("20 pixels")
    data = json.loads(download(visit, "#data", "JSON")[1])
    url = f"{server.url}/{ready}/segments?tolerance=20"
    assert data == requests.get(url, timeout=60).json()


def test_mask_of_part(visit: Visit, ready: str, result: dict[str, Any]) -> None:
    page = visit.open(ready)
    visit.row("hood").locator("button.name").click()
    with page.expect_download() as caught:
        visit.row("hood").get_by_text("Save the mask of this part").click()
    with Image.open(caught.value.path()) as mask:
        area = int(np.count_nonzero(np.asarray(mask.convert("L"))))
    assert area == next(part["area"] for part in result["parts"] if part["name"] == "hood")


def copied(visit: Visit, text: str, place: str = "#copies") -> str:
    visit.page.evaluate("navigator.clipboard.writeText('')")
    visit.page.locator(place).get_by_text(text, exact=True).click()
    expect(visit.page.locator("#toast")).to_have_text("Copied")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        content: str = visit.page.evaluate("navigator.clipboard.readText()")
        if content:
            return content
    pytest.fail(f"nothing was copied by {text}")


def test_texts(visitor: Callable[..., Visit], ready: str, result: dict[str, Any]) -> None:
    visit = visitor(permissions=["clipboard-read", "clipboard-write"])
    page = visit.open(ready)
    assert copied(visit, "Link to this result") == page.url
    assert json.loads(copied(visit, "JSON")) == result
    command = shlex.split(copied(visit, "curl command"))
    output = subprocess.run([*command, "--silent"], check=True, capture_output=True).stdout
    assert json.loads(output) == result


def test_snippet_works_on_another_page(visitor: Callable[..., Visit], ready: str) -> None:
    visit = visitor(permissions=["clipboard-read", "clipboard-write"])
    visit.open(ready)
    snippet = copied(visit, "HTML for a web page")
    other = visit.page.context.new_page()
    other.route("https://shop.example/**", lambda route: route.fulfill(body="", status=404))
    other.route(
        "https://shop.example/car",
        lambda route: route.fulfill(body=f"<!doctype html>{snippet}", content_type="text/html"),
    )
    other.goto("https://shop.example/car")
    other.locator("a[href='#hood'] path").click()
    assert other.url == "https://shop.example/car#hood"
    assert other.locator("a[href='#hood'] title").inner_html() == "Hood"


def test_failed_download_shows_reason(visit: Visit, ready: str) -> None:
    visit.failed_loads_are_fine = True
    page = visit.open(ready)
    page.route("**/mask.png?*", lambda route: route.abort())
    page.locator("#pictures").get_by_text("Mask", exact=True).click()
    expect(page.locator("#toast")).to_have_text("The service can't be reached. Is it running?")


def test_files_have_the_name_of_the_photo(visit: Visit, ready: str, sample: bytes) -> None:
    page = visit.start()
    visit.add(photo(sample, "My car (front).png"))
    assert visit.result() == ready
    for selector, text, ending in (
        ("#pictures", "Photo with the parts", "-photo.png"),
        ("#pictures", "Mask", "-mask.png"),
        ("#data", "CVAT", "-cvat.xml"),
        ("#data", "COCO", "-coco.json"),
    ):
        name, data = download(visit, selector, text)
        assert name == f"My car (front){ending}"
    assert json.loads(data)["images"][0]["file_name"] == "My car (front).png"
    page.locator(".back").click()


def test_dataset_for_cvat(visit: Visit, ready: str, result: dict[str, Any], sample: bytes) -> None:
    """CVAT imports photo and annotations.xml as a dataset, and finds the photo by its name."""
    visit.start()
    visit.add(photo(sample, "My car & me.png"))
    visit.result()
    name, data = download(visit, "#edits", "Edit in CVAT")
    assert name == "My car & me-cvat.zip"
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.namelist() == ["annotations.xml", "images/My car & me.png"]
        assert archive.read("images/My car & me.png") == sample
        document = archive.read("annotations.xml").decode()
    SCHEMA.validate(document)
    (image,) = ET.fromstring(document).iter("image")
    assert image.get("name") == "My car & me.png"
    assert {shape.get("label") for shape in image} == {part["name"] for part in result["parts"]}


def test_task_for_label_studio(
    visitor: Callable[..., Visit], ready: str, result: dict[str, Any], sample: bytes
) -> None:
    """The task has the photo in it: Label Studio could not load one by the name of its file."""
    visit = visitor(permissions=["clipboard-read", "clipboard-write"])
    visit.start()
    visit.add(photo(sample, "mine.png"))
    visit.result()
    name, data = download(visit, "#edits", "Edit in Label Studio")
    assert name == "mine-labelstudio.json"
    (task,) = json.loads(data)
    kind, _, content = task["data"]["image"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == sample
    assert task["data"]["file_name"] == "mine.png"
    labels = {r["value"]["polygonlabels"][0] for r in task["predictions"][0]["result"]}
    assert labels == {part["name"] for part in result["parts"]}
    config = DAMAGE_LABELING_CONFIG if "damages" in result else LABELING_CONFIG
    assert copied(visit, "Copy the labels for Label Studio", "#edits") == config


def test_files_to_edit_follow_slider(visit: Visit, server: Server, ready: str) -> None:
    page = visit.open(ready)
    page.locator("#confidence").fill("95")
    (task,) = json.loads(download(visit, "#edits", "Edit in Label Studio")[1])
    url = f"{server.url}/{ready}/segments?format=labelstudio&min_confidence=0.95"
    assert task["predictions"] == requests.get(url, timeout=60).json()[0]["predictions"]


def test_files_to_edit_need_photo(visitor: Callable[..., Visit], server: Server) -> None:
    image_hash = server.post(car_photo(2400))
    server.wait(image_hash)
    page = visitor().open(image_hash)
    expect(page.locator("#edit")).to_be_hidden()
    page.set_input_files("#add-photo", photo(car_photo(2400)))  # type: ignore[arg-type]
    expect(page.locator("#edit")).to_be_visible()


def test_names_on_saved_picture(visit: Visit, ready: str) -> None:
    page = visit.open(ready)
    page.locator("#opacity").fill("0")
    plain = download(visit, "#pictures", "Photo with the parts")[1]
    page.locator("#names").click()
    named = download(visit, "#pictures", "Photo with the parts")[1]
    pixels = [np.asarray(Image.open(BytesIO(data)).convert("RGB")) for data in (plain, named)]
    assert np.any(pixels[0] != pixels[1])


def test_markdown(visitor: Callable[..., Visit], ready: str, result: dict[str, Any]) -> None:
    visit = visitor(permissions=["clipboard-read", "clipboard-write"])
    visit.open(ready)
    visit.row("wheel").locator("input").uncheck()
    lines = copied(visit, "Markdown").splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ")]
    assert rows[0] == ["| Part", "Confidence", "Area |"]
    assert len(rows) == len(result["parts"])  # all but the wheels, and the heads
    hood = next(part for part in result["parts"] if part["name"] == "hood")
    assert f"| Hood | {hood['confidence']:.0%} |" in "\n".join(lines)
    assert lines[-1] == f"<{visit.page.url}>"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_print(visitor: Callable[..., Visit], ready: str, sample: bytes, scheme: str) -> None:
    visit = visitor(color_scheme=scheme)
    page = visit.start()
    visit.add(photo(sample, "print me.png"))
    visit.result()
    expect(page.locator("#print")).to_be_hidden()
    visit.row("wheel").locator("input").uncheck()
    page.evaluate("window.print = () => (window.printed = true)")
    page.locator("#print-result").click()
    assert page.evaluate("window.printed")
    page.emulate_media(media="print")
    paper = page.locator("#print")
    expect(paper).to_contain_text("print me.png")
    expect(paper.locator("image")).to_be_visible()
    rows = paper.locator("tbody tr")
    expect(rows).to_have_count(page.locator("#found .part").count() - 1)
    expect(rows.first.locator("rect")).to_have_attribute("fill", re.compile("#[0-9a-f]{6}"))
    expect(page.locator("#found")).to_be_hidden()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"
    page.emulate_media(media="screen")
    page.locator(".back").click()
    expect(paper).to_be_empty()


@pytest.mark.parametrize(
    ("language", "command"),
    [
        ("curl", ["bash", "-euo", "pipefail"]),
        ("python", [sys.executable]),
        ("javascript", ["node"]),
    ],
)
def test_code_sample_runs(
    visit: Visit,
    ready: str,
    result: dict[str, Any],
    tmp_path: Path,
    sample: bytes,
    language: str,
    command: list[str],
) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    page = visit.open(ready)
    page.locator(".code summary").click()
    page.locator(f"label:has(#code-{language})").click()
    expect(page.locator("#code")).to_contain_text("CARSEG_KEY")
    code = page.locator("#code").inner_text()
    assert "CARSEG_KEY" in code
    (tmp_path / "photo.jpg").write_bytes(sample)
    (tmp_path / "sample.mjs").write_text(code, encoding="utf-8")
    environment = os.environ | {"CARSEG_KEY": ""}
    output = subprocess.run(
        [*command, "sample.mjs"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        timeout=120,
    ).stdout
    assert json.loads(output) == result
