"""Test keyboard, screen reader, small screens, contrast and languages of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES
from tests.support.browser import PATIENCE, Visit, photo

LANGUAGES = ("en", "de", "fr", "th")


def check_with_axe(page: Page) -> None:
    """Check that axe-core finds nothing against WCAG 2.2 A and AA and its own good practice."""
    page.emulate_media(reduced_motion="reduce")  # no colour is half-way to another
    results = Axe().run(page)
    violations = results.response["violations"]
    assert violations == [], results.generate_report()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(visitor: Callable[..., Visit], ready: str, scheme: str) -> None:
    visit = visitor(color_scheme=scheme, bypass_csp=True)  # axe itself is an inline script
    visit.failed_loads_are_fine = True
    page = visit.start()
    expect(page.locator("#gallery-list svg").first).to_be_visible()
    visit.add(photo(b"no photo", "notes.txt", "text/plain"))
    expect(page.locator(".upload.failed")).to_be_visible()
    page.locator("#kept summary").click()
    page.locator(".pick input").first.check()
    page.locator("#chosen-menu summary").click()
    check_with_axe(page)
    page.keyboard.press("Escape")
    page.locator("#chosen-count").click()
    page.goto(f"{visit.url}/ui#{ready}")
    visit.result()
    visit.row("hood").locator("button.name").click()
    page.locator("#compare").click()
    page.locator("#names").click()
    page.locator("#confidence").fill("100")
    page.locator("#missing-box summary").click()
    page.locator(".code summary").click()
    check_with_axe(page)
    page.locator("label:has(#view-json)").click()
    expect(page.locator("#json")).to_contain_text("{")
    check_with_axe(page)
    page.goto(f"{visit.url}/ui#{'0' * 64}")
    expect(page.locator("#result-state")).to_contain_text("deletes each result after 30 days")
    check_with_axe(page)


def test_keyboard_only(visit: Visit) -> None:
    page = visit.start()

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                seen = page.evaluate("document.activeElement.matches(':focus-visible')")
                assert seen, f"the focus on {selector} can't be seen"
                return
        pytest.fail(f"the keyboard does not reach {selector}")

    tab_to(".skip")
    tab_to("#language")
    tab_to("#choose")
    tab_to("#sample")
    page.keyboard.press("Enter")
    visit.result()
    expect(page.locator("#result-title")).to_be_focused()
    tab_to("#stage")
    whole = visit.transform()
    page.keyboard.press("+")
    expect(visit.drawing()).not_to_have_attribute("transform", whole)
    tab_to("#look-filled")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#look-outline")).to_be_checked()
    tab_to("#compare")
    page.keyboard.press("Space")
    expect(page.locator("#wipe")).to_be_visible()
    tab_to("#tolerance")
    page.keyboard.press("Home")
    expect(page.locator("#points")).to_contain_text("pixel by pixel")
    tab_to(".part[data-part=hood] input")
    page.keyboard.press("Space")
    expect(visit.part("hood").locator(".shape")).to_be_hidden()
    page.keyboard.press("Space")
    tab_to(".part[data-part=hood] button")
    expect(visit.part("hood")).to_have_class("on")
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_contain_text("Hood")
    expect(visit.row("hood").locator(".more")).to_be_visible()
    page.keyboard.press("Escape")
    expect(visit.row("hood").locator(".more")).to_be_hidden()
    tab_to("#data a")
    with page.expect_download():
        page.keyboard.press("Enter")


def test_progress_is_announced(visit: Visit, sample: bytes) -> None:
    page = visit.start()
    page.evaluate(
        "window.heard = []; new MutationObserver(() => heard.push(live.textContent))"
        ".observe(live, { childList: true, characterData: true, subtree: true })"
    )
    visit.add(photo(sample, "mine.png"))
    visit.result()
    expect(page.locator("#live")).to_have_attribute("role", "status")
    page.wait_for_function("heard.includes('mine.png: Done')", timeout=PATIENCE)


def test_zoom_announcement_yields_to_later_one(visit: Visit) -> None:
    page = visit.start()
    page.click("#sample")
    visit.result()
    page.focus("#stage")
    page.keyboard.press("+")
    page.keyboard.press("+")
    expect(page.locator("#live")).to_contain_text("Zoom")
    page.keyboard.press("+")
    page.click(".part[data-part=hood] button")
    expect(page.locator("#live")).to_contain_text("Hood")
    page.wait_for_timeout(1000)  # the zoom would be said after 600
    expect(page.locator("#live")).to_contain_text("Hood")


CLIPPED = """() => [...document.querySelectorAll("a, button, label, h1, h2, h3, p, li, span")]
  .filter((node) => node.offsetParent && !node.closest(".hidden, .upload-name, .card-name"))
  .filter((node) => getComputedStyle(node).display !== "inline")
  .filter((node) => node.scrollWidth > node.clientWidth + 1)
  .map((node) => node.outerHTML.slice(0, 90))"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_fit(visitor: Callable[..., Visit], ready: str, language: str, width: int) -> None:
    visit = visitor(viewport={"width": width, "height": 860})
    page = visit.start(f"/ui?lang={language}")
    expect(page.locator("#gallery-list li").first).to_be_visible()
    assert page.evaluate(CLIPPED) == []
    page.goto(f"{visit.url}/ui?lang={language}#{ready}")
    visit.result()
    page.locator("#compare").click()
    expect(page.locator("#wipe")).to_be_visible()
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("language", LANGUAGES)
def test_small_phone_has_no_overflow(
    visitor: Callable[..., Visit], ready: str, language: str
) -> None:
    visit = visitor(viewport={"width": 360, "height": 720}, has_touch=True, is_mobile=True)
    visit.failed_loads_are_fine = True
    page = visit.start(f"/ui?lang={language}")
    assert page.evaluate("document.documentElement.lang") == language
    expect(page.locator(".camera")).to_be_visible()  # takes a photo
    visit.add(photo(b"no photo", "a-very-long-name-without-any-space" * 4, "text/plain"))
    expect(page.locator(".upload.failed")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.goto(f"{visit.url}/ui?lang={language}#{ready}")
    visit.result()
    visit.row("hood").locator("button.name").tap()
    page.locator("#compare").tap()
    expect(page.locator("#wipe")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input:not(.hidden), select, label")]
          .filter((node) => node.offsetParent && !node.matches(".skip, label input"))
          .map((node) => [node.outerHTML.slice(0, 90), node.getBoundingClientRect()])
          .filter(([, box]) => box.width < 44 || box.height < 44).map(([html]) => html)"""
    )
    assert small == []  # large enough for a finger
    page.locator("label:has(#view-json)").tap()
    page.locator(".code summary").tap()
    expect(page.locator("#json")).to_contain_text("{")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_languages_have_same_texts(visit: Visit) -> None:
    page = visit.start()
    flat = """async (code) => {
      const block = (await import(`/ui/texts_${code}.js`)).default;
      const walk = (texts, path) => Object.entries(texts).flatMap(([key, text]) =>
        typeof text === "string" ? [[path + key, text]] : walk(text, `${path}${key}.`));
      return walk(block, "");
    }"""
    texts: dict[str, dict[str, Any]] = {code: dict(page.evaluate(flat, code)) for code in LANGUAGES}
    wanted = set(texts["en"])
    assert {f"parts.{name}" for name in PART_NAMES} <= wanted
    assert {f"types.{name}" for name in TYPE_NAMES} <= wanted
    assert set(texts["de"]) == set(texts["fr"]) == wanted
    assert set(texts["th"]) == {key for key in wanted if not key.endswith("_one")}
    for code in ("de", "fr", "th"):
        for key, text in texts[code].items():
            fields = {part.split("}")[0] for part in text.split("{")[1:]}
            english = {part.split("}")[0] for part in texts["en"][key].split("{")[1:]}
            assert fields == english, (code, key)


def test_language_choice(visitor: Callable[..., Visit], ready: str) -> None:
    visit = visitor(locale="de-DE")
    page = visit.start()
    expect(page.locator("#start-title")).to_have_text("Jedes Teil des Autos auf einen Blick")
    page.goto(f"{visit.url}/ui#{ready}")
    visit.result()
    expect(visit.row("hood")).to_contain_text("Motorhaube")
    page.locator("#language").select_option("th")
    expect(visit.row("hood")).to_contain_text("ฝากระโปรงหน้า")
    page.reload()  # it is in the address
    visit.result()
    expect(visit.row("hood")).to_contain_text("ฝากระโปรงหน้า")
