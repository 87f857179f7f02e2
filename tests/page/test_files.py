"""The files of the page, their headers and their weight; most without a browser."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Request, Response, expect

from api import page as ui
from exports.palette import DAMAGE_COLOURS, PART_COLOURS
from img_to_segments import PART_NAMES
from options import DEFAULT_CONFIDENCE
from photo_result import NO_CAR
from settings import REPOSITORY, Settings
from tests.support.browser import PATIENCE, Visit, photo
from tests.support.pictures import car_photo
from tests.support.waiting import wait_until
from vision.labels import DAMAGE_KINDS

WEB = REPOSITORY / "web"
NOT_OF_THE_PAGE = {"docs.html", "docs.js", "screenshot.png", "carseg.d.ts", "carseg_many.d.ts"}


def test_only_listed_files_are_served(client: FlaskClient) -> None:
    of_the_page = {path.name for path in WEB.iterdir()} - NOT_OF_THE_PAGE
    assert set(ui.FILES) == of_the_page - {"index.html"}
    for name in ui.FILES:
        answer = client.get(f"/ui/{name}", buffered=True)
        assert answer.status_code == 200
        assert answer.mimetype == ui.FILES[name]
        assert answer.data == (WEB / name).read_bytes()
    for name in (
        *NOT_OF_THE_PAGE,
        "index.html",
        "..%2fapp.py",
        "../app.py",
        "%2e%2e/app.py",
        "x.js",
    ):
        answer = client.get(f"/ui/{name}", buffered=True)
        assert answer.status_code == 404, name
        assert set(answer.get_json()) == {"error"}
    assert client.get("/ui/").headers["Location"] == "../ui"


@pytest.mark.parametrize("path", ["/ui", "/ui/app.js", "/ui/config.json", "/ui/sample.png"])
def test_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path, buffered=True).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_page_loads_nothing_from_other_hosts() -> None:
    for path in [WEB / "index.html", *map(WEB.joinpath, ui.FILES)]:
        text = path.read_text(encoding="utf-8")
        hosts = set(re.findall(r"https?://([\w.-]+)", text))
        assert hosts <= {"www.w3.org", "127.0.0.1"}, path.name  # a namespace, an example
    page = (WEB / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=", page)
    code = "".join(Path(WEB / name).read_text(encoding="utf-8") for name in ui.FILES)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", code)


def test_all_modules_of_start_are_preloaded() -> None:
    """The browser need not read one module to learn of the next."""
    page = (WEB / "index.html").read_text(encoding="utf-8")
    preloaded = re.findall(r'<link rel="modulepreload" href="ui/(\w+\.js)">', page)
    found, unread = {"app.js"}, ["app.js"]
    while unread:
        code = (WEB / unread.pop()).read_text(encoding="utf-8")
        imported = set(re.findall(r'^(?:import|export)\b[^;]*?"\./(\w+\.js)";', code, re.MULTILINE))
        unread += imported - found
        found |= imported
    assert sorted(preloaded) == sorted(found - {"app.js"})


def test_config(client: FlaskClient, settings: Settings, sample: bytes) -> None:
    config = client.get("/ui/config.json").get_json()
    assert config["max_upload_bytes"] == settings.max_upload_bytes
    assert config["max_pixels"] == settings.max_pixels
    assert config["no_car"] == NO_CAR
    assert config["keep_days"] == settings.keep_days
    assert config["confidence"] == DEFAULT_CONFIDENCE
    assert config["parts"] == list(PART_NAMES)
    assert config["damage"] == "asked"
    assert config["damage_kinds"] == list(DAMAGE_KINDS)
    assert config["damage_colours"] == {
        kind: f"#{bytes(colour).hex()}" for kind, colour in DAMAGE_COLOURS.items()
    }
    assert config["sample"] == hashlib.sha256(sample).hexdigest()
    assert config["colours"] == {
        name: f"#{bytes(colour).hex()}" for name, colour in PART_COLOURS.items()
    }
    assert client.get("/ui/sample.png", buffered=True).data == sample


@pytest.mark.parametrize("language", ["en", "de", "fr", "th"])
def test_transfer_size(visit: Visit, language: str) -> None:
    """The page starts with less than 130 kB, and an ordinary session takes less than 190 kB.

    Both count the bytes of all files of the page that the browser loads, config.json included,
    after decompression; on the way a session takes less than 65 kB. The session: two photos are
    uploaded, one is opened, results are searched, and both are saved as a table.
    """
    loaded: list[Response] = []
    pending: set[Request] = set()
    visit.page.on("response", lambda answer: loaded.append(answer))
    visit.page.on("request", lambda request: pending.add(request))
    visit.page.on("requestfinished", lambda request: pending.discard(request))
    visit.page.on("requestfailed", lambda request: pending.discard(request))
    page = visit.start(f"/ui?lang={language}")
    expect(page.locator("#start-title")).not_to_be_empty()
    page.wait_for_load_state("networkidle")
    assert page_size(visit, loaded) < 130_000
    visit.add(*(photo(car_photo(seed), f"{seed}.jpg", "image/jpeg") for seed in (1900, 1901)))
    expect(page.locator(".upload .open")).to_have_count(2, timeout=PATIENCE)
    page.locator("#search").fill("1901")
    expect(page.locator("#gallery-list li")).to_have_count(1)
    page.locator("#batch-menu summary").click()
    with page.expect_download():
        page.locator("#batch-menu .file").first.click()
    page.locator(".upload .open").first.click()
    visit.result()
    wait_until(lambda: page.evaluate("true") and not pending)  # events come during calls
    assert page_size(visit, loaded) < 190_000
    assert sent_size(visit, loaded) < 65_000


def of_page(visit: Visit, loaded: list[Response]) -> list[Response]:
    """Return the answers with the page's own files, after a look that all are from the service."""
    assert all(answer.url.startswith((visit.url, f"blob:{visit.url}")) for answer in loaded)
    return [answer for answer in loaded if re.match(rf"{visit.url}/ui(?!/sample)", answer.url)]


def page_size(visit: Visit, loaded: list[Response]) -> int:
    """Return the bytes of the page's own files, uncompressed."""
    return sum(len(answer.body()) for answer in of_page(visit, loaded))


def sent_size(visit: Visit, loaded: list[Response]) -> int:
    """Return the bytes of the bodies of the page's own files, as they were sent."""
    files = of_page(visit, loaded)
    return sum(answer.request.sizes()["responseBodySize"] for answer in files)


@pytest.mark.parametrize("name", ["", "/app.js", "/style.css", "/icon.svg"])
def test_compressed_files(client: FlaskClient, name: str) -> None:
    plain = client.get(f"/ui{name}", buffered=True)
    packed = client.get(f"/ui{name}", buffered=True, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert packed.content_length == len(packed.data)
    assert gzip.decompress(packed.data) == plain.data
    known = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]}
    assert client.get(f"/ui{name}", buffered=True, headers=known).status_code == 304
