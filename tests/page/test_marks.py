"""Mark what is wrong in a result, and find the marked results again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.page.test_accessibility import LANGUAGES, check_with_axe
from tests.support.browser import Visit
from tests.support.pictures import encoded
from tests.support.server import Server


@pytest.fixture(scope="module")
def cropped(server: Server, sample: bytes) -> str:
    """Return the hash of a photo that no other test marks."""
    image_hash = server.post(encoded(Image.open(BytesIO(sample)).crop((0, 0, 810, 570))))
    server.wait(image_hash)
    return image_hash


@pytest.fixture
def unmarked(server: Server, cropped: str) -> Iterator[str]:
    """Yield a hash without marks."""
    yield cropped
    requests.post(f"{server.url}/{cropped}/feedback", json={"wrong": []}, timeout=60)


def marks(server: Server, image_hash: str) -> dict[str, Any]:
    document: dict[str, Any] = requests.get(
        f"{server.url}/{image_hash}/feedback", timeout=60
    ).json()
    return document


def saved(page: Page, change: Callable[[], object]) -> None:
    """Change a mark, and wait until the service has it."""
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        change()


def mark_all(visit: Visit) -> tuple[str, str]:
    """Mark a part, a missing part and the type; return the names of the parts."""
    page = visit.page
    visit.row("hood").locator("button.name").click()
    saved(page, visit.row("hood").locator(".mark").click)
    page.locator("#missing-box summary").click()
    button = page.locator("#missing button").first
    saved(page, button.click)
    saved(page, lambda: page.locator("#right-type").select_option("van"))
    return "hood", button.get_attribute("value") or ""


def test_marks_are_kept_with_result(visit: Visit, server: Server, unmarked: str) -> None:
    page = visit.open(unmarked)
    expect(page.locator("#marks-note")).to_have_text("Marks are kept with the result.")
    wrong, missing = mark_all(visit)
    expect(page.locator("#marks-note")).to_have_text("3 marks, kept with the result")
    expect(visit.row("hood").locator(".badge")).to_have_text("Wrong")
    kept = marks(server, unmarked)
    assert (kept["wrong"], kept["missing"], kept["type"]) == ([wrong], [missing], "van")
    page.reload()
    visit.result()
    expect(visit.row("hood").locator(".mark")).to_have_attribute("aria-pressed", "true")
    chosen = page.locator(f"#missing button[value={missing}]")
    expect(chosen).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#right-type")).to_have_value("van")
    visit.row("hood").locator("button.name").click()
    saved(page, visit.row("hood").locator(".mark").click)
    assert marks(server, unmarked)["wrong"] == []
    saved(page, page.locator("#unmark").click)
    expect(page.locator("#right-type")).to_be_focused()
    assert marks(server, unmarked)["time"] is None


def test_comment_of_other_clients_stays(visit: Visit, server: Server, unmarked: str) -> None:
    requests.post(f"{server.url}/{unmarked}/feedback", json={"comment": "Dented."}, timeout=60)
    page = visit.open(unmarked)
    expect(page.locator("#marks-note")).to_have_text("1 mark, kept with the result")
    saved(page, lambda: page.locator("#right-type").select_option("suv"))
    kept = marks(server, unmarked)
    assert (kept["comment"], kept["type"]) == ("Dented.", "suv")


def test_unsure_part_can_be_missing(visit: Visit, server: Server, unmarked: str) -> None:
    page = visit.open(unmarked)
    page.locator("#confidence").fill("100")
    row = page.locator("#maybe .part").first
    row.locator("button.name").click()
    expect(row.locator(".mark")).to_have_text("Missing here")
    saved(page, row.locator(".mark").click)
    assert marks(server, unmarked)["missing"] == [row.get_attribute("data-part")]


def test_mark_is_taken_back_if_not_saved(visit: Visit, unmarked: str) -> None:
    visit.failed_loads_are_fine = True
    page = visit.open(unmarked)

    def refuse(route: Route) -> None:
        route.fulfill(status=507, json={"error": "The disk is full."})

    page.route("**/feedback", refuse)
    visit.row("hood").locator("button.name").click()
    visit.row("hood").locator(".mark").click()
    expect(page.locator("#toast")).to_contain_text("The disk is full.")
    expect(visit.row("hood").locator(".mark")).to_have_attribute("aria-pressed", "false")


def test_page_without_marks(visit: Visit, unmarked: str) -> None:
    visit.failed_loads_are_fine = True
    visit.page.route("**/feedback", lambda route: route.fulfill(status=500, json={"error": "No."}))
    page = visit.open(unmarked)
    expect(page.locator("#marks")).to_be_hidden()
    visit.row("hood").locator("button.name").click()
    expect(visit.row("hood").locator(".mark")).to_be_hidden()


@pytest.mark.usefixtures("ready")  # a photo without marks
def test_gallery_shows_marked_alone(visit: Visit, server: Server, unmarked: str) -> None:
    requests.post(f"{server.url}/{unmarked}/feedback", json={"wrong": ["hood"]}, timeout=60)
    page = visit.start()
    cards = page.locator("#gallery-list li")
    expect(cards.nth(1)).to_be_visible()  # the newest photos of all tests
    page.locator("#marked").click()
    expect(cards).to_have_count(1)
    expect(cards).to_have_attribute("data-hash", unmarked)
    page.locator("#marked").click()
    expect(cards.nth(1)).to_be_visible()


def test_marks_by_keyboard(visit: Visit, server: Server, unmarked: str) -> None:
    page = visit.open(unmarked)
    visit.row("hood").locator("button.name").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(visit.row("hood").locator(".mark")).to_be_focused()
    saved(page, lambda: page.keyboard.press("Space"))
    expect(visit.row("hood").locator(".mark")).to_be_focused()
    expect(page.locator("#live")).to_contain_text("1 mark")
    assert marks(server, unmarked)["wrong"] == ["hood"]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_marks(
    visitor: Callable[..., Visit], unmarked: str, scheme: Any, width: int
) -> None:
    size = {"width": width, "height": 860}
    visit = visitor(color_scheme=scheme, viewport=size, bypass_csp=True)
    page = visit.open(unmarked)
    mark_all(visit)
    check_with_axe(page)


@pytest.mark.parametrize("language", LANGUAGES)
def test_marks_fit_small_phone(visitor: Callable[..., Visit], unmarked: str, language: str) -> None:
    visit = visitor(viewport={"width": 360, "height": 720}, has_touch=True, is_mobile=True)
    page = visit.start(f"/ui?lang={language}#{unmarked}")
    visit.result()
    mark_all(visit)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = page.evaluate(
        """() => [...document.querySelectorAll(".mark, #marks select, #unmark")]
          .filter((node) => node.offsetParent)
          .map((node) => [node.outerHTML.slice(0, 90), node.getBoundingClientRect()])
          .filter(([, box]) => box.width < 44 || box.height < 44).map(([html]) => html)"""
    )
    assert small == []
