"""Damage on the page: asked for, drawn, listed with its parts, printed, copied.

The sample has no damage. Where the page needs some, the answers for the sample get a dent on the
hood, and a scratch on no part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Page, Request, Route, expect

from api.openapi import OpenApiApp
from jobs.messages import UNEXPECTED
from settings import REPOSITORY
from tests.page.test_accessibility import CLIPPED, LANGUAGES, check_with_axe
from tests.page.test_downloads import copied, download
from tests.support.browser import PATIENCE, Visit, photo, serving
from tests.support.fakes import FakePipeline
from tests.support.pictures import car_photo, encoded, noise
from tests.support.server import Server
from vision.labels import DAMAGE_KINDS


def square(x: float, y: float, side: float) -> list[dict[str, Any]]:
    corners = [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]
    return [{"exterior": corners, "holes": []}]


def damages_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    hood = next(part for part in result["parts"] if part["name"] == "hood")
    x, y, width, height = hood["bbox"]
    dent = {
        "kind": "dent",
        "confidence": 0.83,
        "area": 6400,
        "bbox": [x + width / 2, y + height / 3, 80, 80],
        "polygons": square(x + width / 2, y + height / 3, 80),
        "parts": [{"name": "hood", "share": round(6400 / hood["area"], 4)}],
    }
    scratch = dent | {
        "kind": "scratch",
        "confidence": 0.41,
        "area": 100,
        "bbox": [5, 5, 10, 10],
        "polygons": square(5, 5, 10),
        "parts": [],
    }
    return [scratch, dent]


def serve(visit: Visit, none: bool = False) -> None:
    """Have the page get results with damage."""

    def result(route: Route) -> None:
        answer = route.fetch()
        if "format=" in route.request.url:
            return route.fulfill(response=answer)
        found = answer.json()
        damages = [] if none else damages_of(found)
        return route.fulfill(response=answer, json=found | {"damages": damages})

    visit.page.route("**/segments?*", result)


def row(page: Page, kind: str) -> Any:
    return page.locator(".damage", has_text=kind)


def test_damages_are_listed_and_drawn(visit: Visit, ready: str) -> None:
    serve(visit)
    page = visit.open(ready)
    expect(page.locator("#result-summary")).to_contain_text("2 damaged places")
    expect(page.locator("#damages .kind")).to_have_text(["Scratch", "Dent"])
    expect(row(page, "Scratch")).to_contain_text("On none of the parts")
    expect(row(page, "Dent")).to_contain_text(re.compile(r"Hood \([\d.]+% of it\).*83%"))
    expect(page.locator("#damage-list")).to_contain_text("It replaces no assessor.")
    shapes = page.locator("#overlay .damages .shape")
    expect(shapes).to_have_count(2)
    fills = page.locator("#overlay .damages > g").evaluate_all(
        "all => all.map(g => g.attributes.fill.value)"
    )
    assert fills == ["url(#hatching-dent)", "url(#hatching-scratch)"]  # the largest first
    page.locator("#show-damage").uncheck()
    expect(shapes.first).to_be_hidden()
    page.locator("#show-damage").check()
    page.locator("#confidence").fill("50")
    expect(page.locator("#damages .kind")).to_have_text(["Dent"])
    expect(page.locator("#overlay .damages .shape:visible")).to_have_count(1)
    expect(page.locator("#result-summary")).to_contain_text("1 damaged place")
    page.locator("#overlay .damages .shape:visible").click()
    expect(page.locator("#caption")).to_contain_text("Dent")
    expect(row(page, "Dent").locator("button")).to_have_attribute("aria-pressed", "true")
    expect(visit.row("hood").locator(".more")).to_be_hidden()


def test_colours_below_hatching_are_seen(visit: Visit, ready: str) -> None:
    serve(visit)
    page = visit.open(ready)
    visit.photo_size()
    box = page.locator("#overlay .damages .shape").first.bounding_box()
    assert box
    inside = {
        "x": box["x"] + 4,
        "y": box["y"] + 4,
        "width": box["width"] - 8,
        "height": box["height"] - 8,
    }
    shots = []
    for shown in (True, False):
        page.locator("#show-damage").set_checked(shown)
        shot = page.screenshot(clip=inside, animations="disabled")  # type: ignore[arg-type]
        picture = Image.open(BytesIO(shot))
        shots.append(np.asarray(picture.convert("RGB")).astype(int))
    changed = np.abs(shots[0] - shots[1]).max(axis=2) > 30
    assert 0.15 < changed.mean() < 0.6


def test_photo_without_damage(visit: Visit, ready: str) -> None:
    serve(visit, none=True)
    page = visit.open(ready)
    expect(page.locator("#damage-none")).to_have_text("No damage found")
    page.locator(".code summary").click()
    expect(page.locator("#code")).to_contain_text("damage=true")
    expect(page.locator("#result-summary")).to_contain_text("No damage found")
    expect(page.locator("#show-damage")).to_be_hidden()


def test_photo_is_examined(visit: Visit, server: Server) -> None:
    page = visit.start()
    page.locator("#want-damage").check()
    visit.add(REPOSITORY / "tests" / "pictures" / "damaged.jpg")
    image_hash = visit.result()
    result = requests.get(f"{server.url}/{image_hash}/segments", timeout=60).json()
    assert result["damages"]
    expect(page.locator("#damage-count")).to_have_text(str(len(result["damages"])))
    expect(page.locator(".damage")).to_have_count(len(result["damages"]))
    expect(page.locator("#overlay .damages .shape:visible")).to_have_count(len(result["damages"]))
    expect(page.locator("#ask-damage")).to_be_hidden()
    data = download(visit, "#pictures", "Mask of the damage")[1]
    assert Image.open(BytesIO(data)).size == (result["width"], result["height"])


def test_photo_is_examined_later(visit: Visit, server: Server) -> None:
    data = car_photo(2501)
    image_hash = server.post(data)
    server.wait(image_hash)
    page = visit.open(image_hash)
    expect(page.locator("#found .part").first).to_be_visible()
    expect(page.locator("#damage-box")).to_be_hidden()  # needs the photo
    page.set_input_files("#add-photo", photo(data))  # type: ignore[arg-type]
    page.locator("#ask-damage").click()
    expect(page.locator("#damage-list")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#ask-damage")).to_be_hidden()
    result = requests.get(f"{server.url}/{image_hash}/segments", timeout=60).json()
    expect(page.locator("#damage-count")).to_have_text(str(len(result["damages"])))
    expect(page.locator("#photo")).to_be_visible()


def test_list_of_uploads_says_damage(visit: Visit) -> None:
    page = visit.start()
    visit.add(photo(car_photo(2505), "later.jpg", "image/jpeg"))
    visit.result()
    page.locator("#ask-damage").click()
    expect(page.locator("#damage-list")).to_be_visible(timeout=PATIENCE)
    visit.back()
    words = re.compile(r"parts, (No damage found|\d+ damaged places?)$")
    expect(page.locator(".upload-state")).to_have_text(words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_reason_of_failed_examination(
    visitor: Callable[..., Visit],
    make_app: Callable[..., OpenApiApp],
    tmp_path: Path,
    language: str,
) -> None:
    stages = FakePipeline(tmp_path)
    words = {
        "en": "The photo could not be examined for damage.",
        "de": "Das Foto konnte nicht auf Schäden untersucht werden.",
        "fr": "La photo n’a pas pu être examinée pour des dommages.",
        "th": "ตรวจหาความเสียหายในรูปไม่สำเร็จ",
    }[language]
    with serving(make_app(stages=stages)) as url:
        visit = visitor(url, viewport={"width": 360, "height": 860})
        page = visit.start(f"/ui?lang={language}")
        painted = photo(encoded(noise(30, 40)))
        visit.add(painted)
        visit.result()
        expect(page.locator("#damage-failed")).to_be_hidden()
        stages.throw(40, "RuntimeError")
        page.locator("#ask-damage").click()
        failed = page.locator("#damage-failed")
        expect(failed).to_have_text(f"{words} {UNEXPECTED}")
        expect(page.locator("#live")).to_contain_text(words)
        assert page.evaluate(CLIPPED) == []
        visit.reload()
        visit.result()
        expect(failed).to_have_text(f"{words} {UNEXPECTED}")

        visit.back()
        page.locator("#want-damage").check()
        visit.add(painted)
        visit.result()
        visit.back()
        expect(page.locator(".upload-note")).to_have_text(words)

        stages.throw(40, None)
        page.locator(".upload .open").click()
        visit.result()
        page.locator("#ask-damage").click()
        expect(page.locator("#damage-list")).to_be_visible()
        expect(failed).to_be_hidden()
        visit.back()
        expect(page.locator(".upload-note")).to_have_count(0)


def test_other_photo_is_examined_for_itself(visit: Visit, server: Server) -> None:
    """A photo that was added to a result, but is not the one of the result."""
    image_hash = server.post(car_photo(2502))
    server.wait(image_hash)
    page = visit.open(image_hash)
    page.set_input_files("#add-photo", photo(car_photo(2503)))  # type: ignore[arg-type]
    page.locator("#ask-damage").click()
    expect(page.locator("#damage-list")).to_be_visible(timeout=PATIENCE)
    assert image_hash not in page.url


def test_switch_is_remembered(visit: Visit) -> None:
    page = visit.start()
    box = page.locator("#want-damage")
    expect(box).not_to_be_checked()
    box.check()
    visit.reload()
    expect(box).to_be_checked()

    asked: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            asked.append(request.url)

    page.on("request", note)
    visit.add(photo(car_photo(2504), "car.jpg", "image/jpeg"))
    visit.result()
    visit.back()
    box.uncheck()
    visit.add(photo(car_photo(2504), "car.jpg", "image/jpeg"))
    visit.result()
    assert asked == [f"{visit.url}/?damage=true", f"{visit.url}/"]


def test_service_that_examines_all_photos(visit: Visit) -> None:
    def config(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"damage": "always"})

    visit.page.route("**/ui/config.json", config)
    page = visit.start()
    expect(page.locator("#want-damage")).to_be_checked()
    page.locator("#want-damage").uncheck()
    with page.expect_request(lambda request: request.method == "POST") as asked:
        visit.add(photo(car_photo(2506), "car.jpg", "image/jpeg"))
    assert asked.value.url == f"{visit.url}/?damage=false"
    visit.result()
    expect(page.locator("#damage-list")).to_be_hidden()


def test_printed_and_copied_damage(visitor: Callable[..., Visit], ready: str) -> None:
    visit = visitor(permissions=["clipboard-read", "clipboard-write"])
    serve(visit)
    page = visit.open(ready)
    text = copied(visit, "Markdown")
    lines = text.splitlines()
    assert "| Damage | Confidence | Part | Area |" in lines
    assert any(line.startswith("| Dent | 83% | Hood (") for line in lines)
    assert any(line.startswith("| Scratch | 41% | On none of the parts |") for line in lines)
    assert "It replaces no assessor." in text
    page.emulate_media(media="print")
    paper = page.locator("#print")
    expect(paper.locator("table")).to_have_count(2)
    expect(paper.locator("table").last.locator("tbody tr")).to_have_count(2)
    expect(paper).to_contain_text("It replaces no assessor.")
    expect(paper.locator("path[fill^='url(#print-']")).to_have_count(2)


def test_html_of_damage(visitor: Callable[..., Visit], ready: str) -> None:
    visit = visitor(permissions=["clipboard-read", "clipboard-write"])
    serve(visit)
    page = visit.open(ready)
    snippet = copied(visit, "HTML for a web page")
    page.locator("#show-damage").uncheck()
    hidden = copied(visit, "HTML for a web page")
    assert "dent" not in hidden
    assert "No damage found" not in hidden
    other = page.context.new_page()
    other.set_content(snippet)
    expect(other.locator("li")).to_have_text(
        [
            "Scratch (41%): On none of the parts",
            re.compile(r"^Dent \(83%\): Hood \([\d.]+% of it\)$"),
        ]
    )
    expect(other.locator("body")).to_contain_text("It replaces no assessor.")
    expect(other.locator("a[href='#dent'] title")).to_have_text("Dent")
    expect(other.locator("a[href='#hood'] title")).to_have_text("Hood")


def test_html_without_damage(visitor: Callable[..., Visit], ready: str) -> None:
    visit = visitor(permissions=["clipboard-read", "clipboard-write"])
    serve(visit, none=True)
    visit.open(ready)
    assert "<p>No damage found</p>" in copied(visit, "HTML for a web page")


def test_saved_picture_has_hatching(visit: Visit, ready: str) -> None:
    serve(visit)
    page = visit.open(ready)
    pictures = []
    for shown in (True, False):
        page.locator("#show-damage").set_checked(shown)
        data = download(visit, "#pictures", "Photo with the parts")[1]
        pictures.append(np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int))
    assert np.count_nonzero(np.abs(pictures[0] - pictures[1]).max(axis=2) > 30) > 300


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_damage(
    visitor: Callable[..., Visit], ready: str, scheme: str
) -> None:
    visit = visitor(color_scheme=scheme, bypass_csp=True)
    serve(visit)
    page = visit.start()
    expect(page.locator("#damage-option")).to_be_visible()
    check_with_axe(page)
    page.goto(f"{visit.url}/ui#{ready}")
    visit.result()
    row(page, "Dent").locator("button").click()
    check_with_axe(page)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_damage_fit(
    visitor: Callable[..., Visit], ready: str, language: str, width: int
) -> None:
    visit = visitor(viewport={"width": width, "height": 860})
    serve(visit)
    page = visit.start(f"/ui?lang={language}")
    expect(page.locator("#damage-option")).to_be_visible()
    expect(page.locator("#gallery-list li").first).to_be_visible()
    assert page.evaluate(CLIPPED) == []
    page.goto(f"{visit.url}/ui?lang={language}#{ready}")
    visit.result()
    expect(page.locator(".damage").first).to_be_visible()
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_names_of_kinds(visit: Visit) -> None:
    page = visit.start()
    for code in LANGUAGES:
        kinds = page.evaluate(
            f"import('/ui/texts_{code}.js').then(m => Object.keys(m.default.kinds))"
        )
        assert kinds == list(DAMAGE_KINDS)
