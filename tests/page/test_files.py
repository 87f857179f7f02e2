"""The files of the page, their headers and their weight; most without a browser."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Response, expect

from api import page as ui
from exports.palette import PART_COLOURS
from img_to_segments import PART_NAMES
from options import DEFAULT_CONFIDENCE
from photo_result import NO_CAR
from settings import REPOSITORY, Settings
from tests.support.browser import Visit

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


def test_config(client: FlaskClient, settings: Settings, sample: bytes) -> None:
    config = client.get("/ui/config.json").get_json()
    assert config["max_upload_bytes"] == settings.max_upload_bytes
    assert config["max_pixels"] == settings.max_pixels
    assert config["no_car"] == NO_CAR
    assert config["keep_days"] == settings.keep_days
    assert config["confidence"] == DEFAULT_CONFIDENCE
    assert config["parts"] == list(PART_NAMES)
    assert config["sample"] == hashlib.sha256(sample).hexdigest()
    assert config["colours"] == {
        name: f"#{bytes(colour).hex()}" for name, colour in PART_COLOURS.items()
    }
    assert client.get("/ui/sample.png", buffered=True).data == sample


@pytest.mark.parametrize("language", ["en", "de", "fr", "th"])
def test_transfer_size(visit: Visit, language: str) -> None:
    """The page starts with less than 130 kB in any language, uncompressed."""
    loaded: dict[str, int] = {}

    def count(response: Response) -> None:
        loaded[response.url] = len(response.body())

    visit.page.on("response", count)
    page = visit.start(f"/ui?lang={language}")
    expect(page.locator("#start-title")).not_to_be_empty()
    page.wait_for_load_state("networkidle")
    assert page_size(visit, loaded) < 130_000, loaded
    page.click("#sample")  # opens a result, which loads the rest
    visit.result()
    assert len(loaded) >= 25
    assert page_size(visit, loaded) < 170_000, loaded


def page_size(visit: Visit, loaded: dict[str, int]) -> int:
    """Return the bytes of the page's own files, all of which are from the service."""
    assert all(url.startswith((visit.url, f"blob:{visit.url}")) for url in loaded)
    files = {url: size for url, size in loaded.items() if "/ui" in url and "sample" not in url}
    return sum(size for url, size in files.items() if not url.startswith("blob:"))
