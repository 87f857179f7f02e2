"""Work through a batch: progress, from one result to the next, and all results as one file."""

from __future__ import annotations

import base64
import csv
import json
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from playwright.sync_api import expect

from img_to_segments import PART_NAMES
from tests.exports.test_cvat import SCHEMA
from tests.support.browser import PATIENCE, Visit, photo
from tests.support.http import body
from tests.support.pictures import car_photo, encoded, noise
from tests.support.server import Server
from vision.labels import DAMAGE_KINDS

NAMES = ("a, b.jpg", "b 2.jpg", "b 10.jpg", "yard.png")


@pytest.fixture
def batch(visit: Visit) -> list[str]:
    """Hashes of three cars and of a photo without a car, added together, in the page's order."""
    page = visit.start()
    files = [photo(car_photo(2100 + at), name, "image/jpeg") for at, name in enumerate(NAMES[:3])]
    visit.add(photo(encoded(noise(200, 300, seed=2104)), NAMES[3]), *reversed(files))
    expect(page.locator(".upload .open")).to_have_count(4, timeout=PATIENCE)
    expect(page.locator(".upload-name")).to_have_text(list(NAMES))
    links = page.locator(".upload .open").evaluate_all("all => all.map(a => a.hash.slice(1))")
    return [str(link) for link in links]


def download(visit: Visit, menu: str, text: str) -> tuple[str, bytes]:
    """Choose an entry of a menu, and return the name and content of the file."""
    visit.page.locator(f"{menu} summary").click()
    with visit.page.expect_download() as caught:
        visit.page.locator(menu).get_by_text(text, exact=True).click()
    return caught.value.suggested_filename, Path(caught.value.path()).read_bytes()


def answer(server: Server, image_hash: str) -> dict[str, Any]:
    document: dict[str, Any] = requests.get(
        f"{server.url}/{image_hash}/segments", timeout=60
    ).json()
    return document


def test_progress_of_batch(visit: Visit) -> None:
    page = visit.start()
    bad = photo(b"no photo", "notes.txt", "text/plain")
    visit.failed_loads_are_fine = True
    visit.add(bad, photo(encoded(noise(200, 300, seed=2110)), "a.png"))
    expect(page.locator("#batch-words")).to_have_text("2 of 2 done, 1 failed", timeout=PATIENCE)
    expect(page.locator("#batch-bar")).to_be_hidden()
    expect(page.locator("#batch-menu")).to_be_visible()


def test_next_and_previous(visit: Visit, batch: list[str]) -> None:
    page = visit.page
    page.locator(".upload .open").first.click()
    visit.result()
    expect(page.locator("#place")).to_have_text("1 of 4")
    expect(page.locator("#previous")).not_to_have_attribute("href", "#")
    page.locator("#next").click()
    expect(page.locator("#result-name")).to_have_text(NAMES[1])
    expect(page.locator("#next")).to_be_focused()  # for one after the other
    page.keyboard.press("ArrowRight")
    expect(page.locator("#result-name")).to_have_text(NAMES[2])
    page.locator("#opacity").focus()
    page.keyboard.press("ArrowRight")  # is the slider's
    expect(page.locator("#opacity")).to_have_value("55")
    expect(page.locator("#place")).to_have_text("3 of 4")
    page.locator("#result-title").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#result-title")).to_have_text("No car found")
    page.keyboard.press("ArrowRight")  # there is no more
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#result-name")).to_have_text(NAMES[2])


def test_table_of_batch(visit: Visit, server: Server, batch: list[str]) -> None:
    name, data = download(visit, "#batch-menu", "Table of the parts (CSV)")
    assert name == "car-parts.csv"
    rows = list(csv.DictReader(StringIO(data.decode("utf-8-sig"), newline="")))
    wanted = []
    for file, image_hash in zip(NAMES, batch, strict=True):
        parts = [
            (file, part["name"], str(part["confidence"]), str(part["area"]))
            for part in answer(server, image_hash)["parts"]
        ]
        wanted += parts or [(file, "", "", "")]
    columns = ("file", "part", "confidence", "area")
    assert [tuple(row[name] for name in columns) for row in rows] == wanted
    assert any(row["part"] == "" for row in rows)


def test_coco_of_batch(visit: Visit, server: Server, batch: list[str]) -> None:
    dataset = json.loads(download(visit, "#batch-menu", "COCO")[1])
    assert [image["file_name"] for image in dataset["images"]] == list(NAMES)
    assert [image["id"] for image in dataset["images"]] == [1, 2, 3, 4]
    numbers = [note["id"] for note in dataset["annotations"]]
    assert numbers == list(range(1, len(numbers) + 1))
    for at, image_hash in enumerate(batch, start=1):
        found = [note for note in dataset["annotations"] if note["image_id"] == at]
        assert len(found) == len(answer(server, image_hash)["parts"])


def test_yolo_of_batch(visit: Visit, server: Server, batch: list[str]) -> None:
    with zipfile.ZipFile(
        BytesIO(download(visit, "#batch-menu", "YOLO dataset (ZIP)")[1])
    ) as archive:
        assert archive.testzip() is None
        assert archive.read("images/b 2.jpg") == car_photo(2101)
        url = f"{server.url}/{batch[1]}/segments?format=yolo"
        assert archive.read("labels/b 2.txt").decode() == requests.get(url, timeout=60).text
        assert archive.read("labels/yard.txt") == b""
        names = archive.read("data.yaml").decode().partition("names:\n")[2].splitlines()
        assert names == [f"  {at}: {name}" for at, name in enumerate(PART_NAMES)]


def test_cvat_of_batch(visit: Visit, server: Server, batch: list[str]) -> None:
    name, data = download(visit, "#batch-menu", "CVAT, to correct (ZIP)")
    assert name == "car-parts-cvat.zip"
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.namelist() == ["annotations.xml", *(f"images/{name}" for name in NAMES)]
        assert archive.read("images/b 2.jpg") == car_photo(2101)
        document = archive.read("annotations.xml").decode()
    SCHEMA.validate(document)
    root = ET.fromstring(document)
    assert root.findtext("meta/task/size") == "4"
    images = list(root.iter("image"))
    assert [(image.get("id"), image.get("name")) for image in images] == [
        (str(at), name) for at, name in enumerate(NAMES)
    ]
    for image, image_hash in zip(images, batch, strict=True):
        found = {part["name"] for part in answer(server, image_hash)["parts"]}
        assert {shape.get("label") for shape in image} == found


def test_label_studio_of_batch(visit: Visit, batch: list[str]) -> None:
    tasks = json.loads(download(visit, "#batch-menu", "Label Studio, to correct (JSON)")[1])
    assert [task["data"]["file_name"] for task in tasks] == list(NAMES)
    content = tasks[1]["data"]["image"].removeprefix("data:image/jpeg;base64,")
    assert base64.b64decode(content) == car_photo(2101)
    assert tasks[3]["predictions"][0]["result"] == []


def test_examined_photo_among_others(visit: Visit, server: Server) -> None:
    """Only one of two photos was examined for damage."""
    first, second = car_photo(2130), car_photo(2131)
    posted = requests.post(f"{server.url}/?damage=true", json=body(first), timeout=60).json()
    server.wait(posted["image_hash"])
    page = visit.start()
    visit.add(photo(first, "examined.jpg", "image/jpeg"), photo(second, "plain.jpg", "image/jpeg"))
    expect(page.locator(".upload .open")).to_have_count(2, timeout=PATIENCE)
    text = download(visit, "#batch-menu", "Table of the parts (CSV)")[1].decode("utf-8-sig")
    rows = list(csv.reader(StringIO(text, newline="")))
    assert rows[0][-2:] == ["damage", "part_share"]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert {row[0] for row in rows[1:]} == {"examined.jpg", "plain.jpg"}
    dataset = json.loads(download(visit, "#batch-menu", "COCO")[1])
    names = [category["name"] for category in dataset["categories"]]
    assert names == [*PART_NAMES, *DAMAGE_KINDS]
    with zipfile.ZipFile(
        BytesIO(download(visit, "#batch-menu", "CVAT, to correct (ZIP)")[1])
    ) as archive:
        root = ET.fromstring(archive.read("annotations.xml"))
    labels = {label.findtext("name") for label in root.iter("label")}
    assert labels == {*PART_NAMES, *DAMAGE_KINDS}
    assert [image.get("id") for image in root.iter("image")] == ["0", "1"]


def test_pictures_of_batch(visit: Visit, batch: list[str]) -> None:
    name, data = download(visit, "#batch-menu", "Photos with the parts (ZIP)")
    assert name == "car-parts-photos.zip"
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.testzip() is None
        stems = [Path(entry).stem for entry in archive.namelist()]
        assert stems == [f"{Path(entry).stem}-parts" for entry in NAMES]
        drawn = Image.open(BytesIO(archive.read("b 2-parts.jpg")))
    assert drawn.size == Image.open(BytesIO(car_photo(2101))).size


def test_selected_results_without_photos(
    visit: Visit, batch: list[str], visitor: Callable[..., Visit]
) -> None:
    other = visitor()
    page = other.start()
    for name, image_hash in zip(NAMES[:2], batch, strict=False):
        page.locator("#search").fill(name)  # it may be too old for the first cards
        page.locator(f"[data-hash='{image_hash}'] .pick input").check()
    _, data = download(other, "#chosen-menu", "Photos with the parts (ZIP)")
    expect(page.locator("#toast")).to_contain_text("2 photos are not kept in this browser")
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.namelist() == []


def test_same_names_of_batch(visit: Visit) -> None:
    page = visit.start()
    visit.add(
        photo(car_photo(2120), "car.jpg", "image/jpeg"),
        photo(car_photo(2121), "car.jpg", "image/jpeg"),
    )
    expect(page.locator(".upload .open")).to_have_count(2, timeout=PATIENCE)
    dataset = json.loads(download(visit, "#batch-menu", "COCO")[1])
    assert [image["file_name"] for image in dataset["images"]] == ["car.jpg", "car (2).jpg"]
