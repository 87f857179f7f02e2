"""Find results again: names, small pictures, search, filter, deletion, and what a browser keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import Page, Route, expect

from tests.support.browser import PATIENCE, Visit, photo
from tests.support.http import body
from tests.support.pictures import car_photo, encoded, noise
from tests.support.server import Server
from tests.support.waiting import wait_until

NO_DATABASE = "Object.defineProperty(window, 'indexedDB', { get() { throw new Error('off'); } })"


def car(seed: int, name: str) -> dict[str, Any]:
    """A photo of a car as the browser takes it."""
    return photo(car_photo(seed), name, "image/jpeg")


def add(visit: Visit, *files: dict[str, Any]) -> None:
    """Add several photos, and wait until all are done."""
    visit.add(*files)
    rows = visit.page.locator(".upload .open")
    expect(rows).to_have_count(len(files), timeout=PATIENCE)


def card(page: Page, name: str) -> Any:
    return page.locator("#gallery-list li", has_text=name)


def test_upload_says_what_was_found(visit: Visit) -> None:
    page = visit.start()
    none = photo(encoded(noise(200, 300, seed=2000)), "photo 10.png")
    add(visit, none, car(2001, "photo 9.jpg"))
    expect(page.locator(".upload-name")).to_have_text(["photo 9.jpg", "photo 10.png"])
    states = page.locator(".upload-state")
    expect(states.nth(0)).to_contain_text("parts")
    expect(states.nth(0)).to_contain_text("%")
    expect(states.nth(1)).to_have_text("No car")


def test_card_after_reload(visit: Visit) -> None:
    page = visit.start()
    add(visit, car(2010, "Volvo.jpg"), car(2011, "Saab.jpg"))
    page.reload()  # at once: the small pictures are kept before the uploads are done
    for name in ("Volvo.jpg", "Saab.jpg"):
        expect(card(page, name).locator("img")).to_be_visible()
    expect(card(page, "Volvo.jpg")).to_contain_text("parts found")
    expect(card(page, "Volvo.jpg")).to_contain_text(":")  # the time
    card(page, "Volvo.jpg").locator("a").click()
    visit.result()
    expect(page.locator("#result-name")).to_have_text("Volvo.jpg")
    expect(page.locator("#photo")).to_be_visible()
    expect(page.locator("#ground")).to_be_hidden()


def test_search_and_filter(visit: Visit, server: Server) -> None:
    page = visit.start()
    none = photo(encoded(noise(200, 300, seed=2020)), "Empty yard.png")
    add(visit, car(2021, "Fiat 500.jpg"), none)
    page.locator("#search").fill("fiat")
    expect(page.locator("#gallery-list li")).to_have_count(1)
    expect(card(page, "Fiat 500.jpg")).to_be_visible()
    page.locator("#search").fill("")
    page.locator("#type-filter").select_option("No car found")
    expect(card(page, "Empty yard.png")).to_be_visible()
    expect(card(page, "Fiat 500.jpg")).to_have_count(0)
    page.locator("#search").fill("nothing has this name")
    expect(page.locator("#gallery-note")).to_have_text("No result matches.")


def test_way_back_to_place_in_list(visit: Visit) -> None:
    page = visit.start()
    names = [f"{seed}.jpg" for seed in range(2200, 2206)]
    add(visit, *(car(int(Path(name).stem), name) for name in names))
    for name in names:  # newer cards push older ones out of the list
        expect(card(page, name).locator("img")).to_be_visible()
    # Below the older cards the page may still get shorter, so the place is that of a new card, and
    # the page itself notes it at the click.
    old = card(page, names[0])
    old.scroll_into_view_if_needed()
    note = "() => { window.placeOfClick = scrollY }"
    page.evaluate(f"addEventListener('click', {note}, {{ capture: true, once: true }})")
    old.locator("a").click()
    visit.result()
    place = page.evaluate("placeOfClick")
    assert place > 0
    assert page.evaluate("scrollY") == 0
    visit.back()
    expect(page.locator("#start-title")).to_be_focused()
    assert page.evaluate("scrollY") == place
    expect(old).to_be_in_viewport()


def test_card_stays_same_node(visit: Visit) -> None:
    """A pointer or the focus does not lose its card while more is learned of results."""
    page = visit.start()
    add(visit, car(2210, "First.jpg"), car(2211, "Second.jpg"))
    expect(card(page, "First.jpg").locator("img")).to_be_visible()
    link = card(page, "First.jpg").locator("a").element_handle()
    card(page, "First.jpg").locator("a").focus()
    more = range(2212, 2215)
    visit.add(*(car(seed, f"{seed}.jpg") for seed in more))
    expect(page.locator(".upload .open")).to_have_count(5, timeout=PATIENCE)
    for seed in more:
        expect(card(page, f"{seed}.jpg").locator("img")).to_be_visible()
    page.locator("#language").select_option("de")
    expect(card(page, "First.jpg")).to_contain_text("Teile gefunden")
    assert link.evaluate("link => link.isConnected")
    page.locator("#search").fill("first")
    expect(page.locator("#gallery-list li")).to_have_count(1)
    assert card(page, "First.jpg").locator("a").evaluate("(now, link) => now === link", link)


def test_click_while_card_changes(visit: Visit) -> None:
    page = visit.start()
    add(visit, car(2220, "Pressed.jpg"), car(2221, "Other.jpg"))
    pressed = card(page, "Pressed.jpg")
    expect(pressed.locator("img")).to_be_visible()
    pressed.locator("img").scroll_into_view_if_needed()
    box = pressed.locator("img").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    image_hash = pressed.get_attribute("data-hash")
    page.evaluate(
        """async (hash) => {
          const { library } = await import("./ui/library.js");
          const canvas = document.createElement("canvas");
          const thumb = await new Promise((resolve) => canvas.toBlob(resolve));
          library.thumbs.delete(hash);
          await library.note(hash, { name: "Renamed.jpg", thumb });
        }""",
        image_hash,
    )
    expect(card(page, "Renamed.jpg")).to_be_visible()
    page.mouse.up()
    assert visit.result() == image_hash


def test_focused_card_is_not_pushed_out(visit: Visit) -> None:
    page = visit.start()
    add(visit, car(2230, "Above.jpg"), car(2231, "Focused.jpg"))
    focused = card(page, "Focused.jpg")
    expect(focused.locator("img")).to_be_visible()
    at = [
        "Focused.jpg" in text for text in page.locator("#gallery-list li").all_inner_texts()
    ].index(True)
    newer = [f"{number:064x}" for number in range(30)]

    def answer(route: Route) -> None:
        if route.request.method != "GET" or "details" in route.request.url:
            return route.continue_()
        return route.fulfill(json=[*route.fetch().json(), *newer])

    page.route(re.compile(rf"{visit.url}/(\?.*)?$"), answer)
    visit.failed_loads_are_fine = True  # there are no such photos
    focused.locator("a").focus()
    visit.add(car(2232, "Newer.jpg"), car(2233, "Newest.jpg"))
    expect(page.locator(".upload .open")).to_have_count(4, timeout=PATIENCE)
    expect(page.locator("#gallery-list li")).to_have_count(len(newer) + 2 + at + 1)
    expect(focused.locator("a")).to_be_focused()
    page.unroute_all(behavior="wait")


def test_photo_that_is_ready_while_list_is_asked_for(visit: Visit) -> None:
    """A list from before a photo was Ready does not make the page forget the photo."""
    page = visit.start()
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held or route.request.method != "GET" or "details" in route.request.url:
            return route.continue_()
        held.append(route)
        return None

    page.route(re.compile(rf"{visit.url}/(\?.*)?$"), hold_first)
    visit.add(car(2240, "Early.jpg"), car(2241, "Late.jpg"))
    expect(page.locator(".upload .open")).to_have_count(2, timeout=PATIENCE)
    for name in ("Early.jpg", "Late.jpg"):
        expect(card(page, name).locator("img")).to_be_visible()
    held[0].fulfill(json=[])
    page.locator("#marked").click()  # asks again
    expect(page.locator("#gallery-note")).to_be_visible()
    page.locator("#marked").click()
    for name in ("Early.jpg", "Late.jpg"):
        expect(card(page, name).locator("img")).to_be_visible()
    page.reload()
    expect(card(page, "Late.jpg").locator("img")).to_be_visible()
    page.unroute_all(behavior="wait")


def test_deletion_with_undo(visit: Visit, server: Server) -> None:
    page = visit.start()
    add(visit, car(2030, "One.jpg"), car(2031, "Two.jpg"), car(2032, "Three.jpg"))
    hashes = {
        name: card(page, name).get_attribute("data-hash")
        for name in ("One.jpg", "Two.jpg", "Three.jpg")
    }
    for name in ("One.jpg", "Two.jpg"):
        card(page, name).locator(".pick input").check()
    expect(page.locator("#chosen-count")).to_have_text("2 selected")
    page.locator("#delete-chosen").click()
    expect(card(page, "One.jpg")).to_have_count(0)
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    undo.click()
    expect(card(page, "One.jpg").or_(card(page, "Two.jpg")).locator("a:focus")).to_be_visible()
    there = requests.get(server.url, timeout=60).json()
    assert set(hashes.values()) <= set(there)

    card(page, "Three.jpg").locator("a").click()
    visit.result()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        page.locator("#delete").click()
        expect(card(page, "Three.jpg")).to_have_count(0)
        expect(undo).to_be_focused()
        card(page, "One.jpg").locator(".pick input").check()
        page.locator("#delete-chosen").click()  # ends the time to take the first back
    assert deleted.value.url.endswith(str(hashes["Three.jpg"]))
    expect(page.locator(".upload", has_text="Three.jpg")).to_have_count(0)
    page.goto(f"{visit.url}/ui?lang=en")  # leaving ends it as well
    wait_until(lambda: hashes["One.jpg"] not in requests.get(server.url, timeout=60).json())
    page.reload()  # its list may have been older
    expect(card(page, "Two.jpg")).to_be_visible()
    expect(card(page, "One.jpg")).to_have_count(0)


def test_switch_keeps_nothing(visit: Visit) -> None:
    page = visit.start()
    add(visit, car(2040, "Kept.jpg"), car(2041, "Too.jpg"))
    page.locator("#kept summary").click()
    expect(page.locator("#kept-size")).to_contain_text("MB")
    page.locator("#forget").click()
    expect(page.locator("#toast")).to_contain_text("keeps nothing")
    expect(card(page, "Kept.jpg")).to_have_count(0)
    page.locator("#keep").uncheck()
    visit.add(car(2042, "Secret.jpg"), car(2043, "Other.jpg"))
    expect(page.locator(".upload .open")).to_have_count(4, timeout=PATIENCE)
    expect(card(page, "Secret.jpg")).to_be_visible()  # in this tab
    page.reload()
    expect(page.locator("#gallery-list li").first).to_be_visible()
    expect(card(page, "Secret.jpg")).to_have_count(0)
    page.locator("#kept summary").click()
    expect(page.locator("#keep")).not_to_be_checked()


def test_name_is_sent_with_photo(visit: Visit, server: Server) -> None:
    visit.start()
    add(visit, car(2060, "Opel.jpg"))
    image_hash = visit.result()
    exported = requests.get(f"{server.url}/{image_hash}/segments?format=coco", timeout=60).json()
    assert exported["images"][0]["file_name"] == "Opel.jpg"


def test_name_stays_here_while_keeping_is_off(visit: Visit, server: Server) -> None:
    page = visit.start()
    page.locator("#kept summary").click()
    page.locator("#keep").uncheck()
    add(visit, car(2061, "Private.jpg"))
    image_hash = visit.result()
    exported = requests.get(f"{server.url}/{image_hash}/segments?format=coco", timeout=60).json()
    assert exported["images"][0]["file_name"] != "Private.jpg"


def test_card_of_another_browser(visit: Visit, server: Server) -> None:
    document = body(car_photo(2070)) | {"file_name": "Shared.jpg"}
    image_hash = requests.post(server.url, json=document, timeout=60).json()["image_hash"]
    server.wait(image_hash)
    visit.failed_loads_are_fine = True
    visit.page.route("**/segments*", lambda route: route.abort())
    page = visit.start()
    page.locator("#search").fill("shared")
    expect(page.locator("#gallery-list li")).to_have_count(1)
    expect(card(page, "Shared.jpg")).to_contain_text("parts found")
    expect(card(page, "Shared.jpg")).to_contain_text(":")  # the time
    expect(card(page, "Shared.jpg").locator("strong")).not_to_have_text("Car")


def test_shared_link_has_name_and_neighbours(visit: Visit, server: Server) -> None:
    hashes = []
    for seed, name in ((2090, "Left.jpg"), (2091, "Right.jpg")):
        document = body(car_photo(seed)) | {"file_name": name}
        hashes.append(requests.post(server.url, json=document, timeout=60).json()["image_hash"])
        server.wait(hashes[-1])
    page = visit.open(hashes[0])
    expect(page.locator("#result-name")).to_have_text("Left.jpg")
    page.locator("#previous").click()  # newest first
    expect(page.locator("#result-name")).to_have_text("Right.jpg")
    with page.expect_download() as caught:
        page.locator("#data .file").get_by_text("CSV", exact=True).click()
    assert caught.value.suggested_filename == "Right.csv"


def test_name_posted_later(visit: Visit, server: Server) -> None:
    """A program posts the name of a photo whose result this browser knows without one."""
    document = body(car_photo(2080))
    image_hash = requests.post(server.url, json=document, timeout=60).json()["image_hash"]
    server.wait(image_hash)
    page = visit.open(image_hash)
    expect(page.locator("#result-name")).to_be_hidden()
    requests.post(server.url, json=document | {"file_name": "Fleet 7.jpg"}, timeout=60)
    page.goto(f"{visit.url}/ui?lang=en")
    page.locator("#search").fill("fleet 7")
    expect(page.locator("#gallery-list li")).to_have_count(1)
    expect(card(page, "Fleet 7.jpg")).to_have_attribute("data-hash", image_hash)
    card(page, "Fleet 7.jpg").locator("a").click()
    visit.result()
    expect(page.locator("#result-name")).to_have_text("Fleet 7.jpg")


def test_names_beyond_first_list(visit: Visit, server: Server) -> None:
    """Old results are searched as well, though the gallery asks for the newest only."""
    document = body(car_photo(2081)) | {"file_name": "Oldest.jpg"}
    image_hash = requests.post(server.url, json=document, timeout=60).json()["image_hash"]
    server.wait(image_hash)
    newer = [f"{number:064x}" for number in range(1100)]

    def answer(route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        if "details" not in query:
            return route.fulfill(json=[image_hash, *newer])
        if query.get("after"):  # the newest thousand
            return route.fulfill(json={"photos": [], "next": None})
        return route.continue_(url=f"{server.url}/?details=true&limit=1000")

    visit.page.route(re.compile(rf"{server.url}/(\?.*)?$"), answer)
    visit.failed_loads_are_fine = True  # there are no such photos
    page = visit.start()
    page.locator("#search").fill("oldest")
    expect(page.locator("#gallery-list li")).to_have_count(1)
    expect(card(page, "Oldest.jpg")).to_be_visible()
    page.unroute_all(behavior="wait")


def test_page_without_database(visit: Visit) -> None:
    visit.page.add_init_script(NO_DATABASE)
    page = visit.start()
    add(visit, car(2050, "Mine.jpg"), car(2051, "There.jpg"))
    expect(card(page, "Mine.jpg")).to_contain_text("parts found")
    card(page, "Mine.jpg").locator("a").click()
    visit.result()
    expect(page.locator("#photo")).to_be_visible()
    page.reload()
    visit.result()
    expect(page.locator("#photo")).to_be_hidden()
    visit.back()
    page.locator("#kept summary").click()
    expect(page.locator("#keep")).to_be_disabled()


def test_page_without_small_pictures(visit: Visit) -> None:
    visit.page.add_init_script("delete window.createImageBitmap")
    page = visit.start()
    add(visit, car(2055, "Plain.jpg"), car(2056, "Simple.jpg"))
    card(page, "Plain.jpg").scroll_into_view_if_needed()
    expect(card(page, "Plain.jpg").locator("svg")).to_be_visible(timeout=PATIENCE)
    expect(card(page, "Plain.jpg").locator("img")).to_have_count(0)


@pytest.mark.parametrize("budget", [10, 25, 1000])
def test_oldest_photos_go_first(visit: Visit, budget: int) -> None:
    page = visit.start()
    kept = page.evaluate(
        """async (budget) => {
          const { Library } = await import("./ui/library.js");
          const name = `test-${budget}`;
          const library = new Library({ name, budget });
          await library.open();
          for (const [at, hash] of ["a", "b", "c", "d"].entries()) {
            await library.note(hash, { time: at + 1, name: hash });
            await library.keep(hash, new Blob(["0123456789"]), null);
          }
          const again = new Library({ name, budget });
          await again.open();
          const photos = await Promise.all([...again.entries.keys()].map((h) => again.photo(h)));
          return [[...again.entries.keys()].filter((_, at) => photos[at]), again.entries.size];
        }""",
        budget,
    )
    assert kept == [["a", "b", "c", "d"][-(budget // 10) :], 4]
