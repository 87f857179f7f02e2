"""Test the parts of a photo on the screen, and all controls that change their look."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image
from playwright.sync_api import Locator, Route, expect

from img_to_segments import PART_NAMES
from tests.support.browser import Visit, photo
from tests.support.pictures import encoded, noise
from tests.support.server import Server
from tests.support.waiting import wait_until


def answer(server: Server, image_hash: str, **options: Any) -> dict[str, Any]:
    result: dict[str, Any] = requests.get(
        f"{server.url}/{image_hash}/segments", params=options, timeout=60
    ).json()
    return result


def names_of(nodes: Locator) -> list[str]:
    """Return the parts that rows or drawings belong to, sorted."""
    names: list[str] = nodes.evaluate_all("all => all.map(node => node.dataset.part).sort()")
    return names


def points(result: dict[str, Any]) -> int:
    return sum(
        len(ring)
        for part in result["parts"]
        for polygon in part["polygons"]
        for ring in [polygon["exterior"], *polygon["holes"]]
    )


def test_photo_becomes_overlay(visit: Visit, server: Server, sample: bytes) -> None:
    page = visit.start()
    for seed in range(2):  # two others are before it, so that it waits
        server.post(encoded(noise(400, 600, seed=seed + 900)))
    changed = encoded(Image.open(BytesIO(sample)).crop((0, 0, 800, 560)))
    visit.add(photo(changed, "<img src=x onerror=alert(1)>.png"))
    # The name is text, whatever it looks like.
    expect(page.locator(".upload-name")).to_have_text("<img src=x onerror=alert(1)>.png")
    image_hash = visit.result()
    result = answer(server, image_hash)
    found = re.compile(f", {len(result['parts'])} parts$")
    expect(page.locator(".upload-state")).to_have_text(found)
    said = visit.said()
    assert "Sending …" in said
    assert any(line.startswith(("In line", "Looking", "Finding")) for line in said), said
    assert found.search(said[-1])
    expect(page.locator("#result-title")).to_be_focused()
    title = page.locator("#result-title").inner_text().lower()
    assert title == {"wagon": "station wagon"}.get(result["type"]["name"], result["type"]["name"])
    drawn = names_of(page.locator("#overlay [data-part]:not(.off)"))
    assert drawn == sorted(part["name"] for part in result["parts"])
    assert names_of(page.locator("#found .part")) == drawn
    seen = {part["name"] for part in answer(server, image_hash, min_confidence=0)["parts"]}
    assert names_of(page.locator("#missing li")) == sorted(set(PART_NAMES) - seen)
    # The photo is below the parts, at the same place: its corners are those of the drawing.
    assert visit.photo_size() == (800, 560)
    box = page.locator("#photo").bounding_box()
    assert box
    largest = max(result["parts"], key=lambda part: float(part["area"]))
    drawn_box = visit.part(largest["name"]).locator(".shape").bounding_box()
    assert drawn_box
    scale = box["width"] / result["width"]
    assert drawn_box["x"] == pytest.approx(box["x"] + largest["bbox"][0] * scale, abs=5)
    assert drawn_box["y"] == pytest.approx(box["y"] + largest["bbox"][1] * scale, abs=5)
    assert drawn_box["width"] == pytest.approx(largest["bbox"][2] * scale, abs=10)


def test_turned_photo_is_shown_upright(visit: Visit, sample: bytes) -> None:
    turned = Image.open(BytesIO(sample)).convert("RGB").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    page = visit.start()
    visit.add(photo(encoded(turned, "JPEG", exif=exif), "phone.jpg", "image/jpeg"))
    visit.result()
    width, height = visit.photo_size()
    box = page.locator("#photo").bounding_box()
    assert box
    assert box["width"] > box["height"]
    assert width / height == pytest.approx(box["width"] / box["height"], rel=0.01)


def test_hover_highlights_part(visit: Visit, server: Server, ready: str) -> None:
    page = visit.open(ready)
    hood = next(p for p in answer(server, ready)["parts"] if p["name"] == "hood")
    visit.part("hood").locator(".shape").hover()
    caption = page.locator("#caption")
    expect(caption).to_contain_text("Hood")
    expect(caption).to_contain_text(f"{hood['confidence'] * 100:.0f}% sure")
    expect(caption).to_contain_text("of the photo")
    expect(visit.part("hood")).to_have_class("on")
    expect(visit.row("hood")).to_have_class("part lit")
    page.mouse.move(5, 5)
    expect(caption).to_be_hidden()
    visit.part("hood").locator(".shape").click()  # stays, and opens its row
    page.mouse.move(5, 5)
    expect(caption).to_contain_text("Hood")
    expect(visit.row("hood").locator(".more")).to_contain_text("piece")
    page.keyboard.press("Escape")
    expect(caption).to_be_hidden()
    visit.row("hood").locator("button.name").hover()
    expect(visit.part("hood")).to_have_class("on")


def test_hidden_parts(visit: Visit, ready: str) -> None:
    page = visit.open(ready)
    shape = visit.part("hood").locator(".shape")
    visit.row("hood").locator("input").uncheck()
    expect(shape).to_be_hidden()
    all_parts = page.locator("#all-parts")
    assert all_parts.evaluate("box => box.indeterminate")
    all_parts.check()
    expect(shape).to_be_visible()
    all_parts.uncheck()
    expect(page.locator("#overlay .shape:visible")).to_have_count(0)
    all_parts.check()
    visit.row("wheel").locator("input").uncheck()
    visit.back()
    page.go_back()  # the choice holds for the next photo
    visit.result()
    expect(visit.part("wheel").locator(".shape")).to_be_hidden()


def test_fill_outline_and_strength(visit: Visit, ready: str) -> None:
    page = visit.open(ready)
    shape = visit.part("hood").locator(".shape")
    expect(shape).to_have_css("fill-opacity", "0.5")
    page.locator("#opacity").fill("80")
    expect(shape).to_have_css("fill-opacity", "0.8")
    page.get_by_text("Outline", exact=True).click()
    expect(shape).to_have_css("fill-opacity", "0")
    expect(shape).not_to_have_css("stroke", "none")


def test_compare_with_bare_photo(visit: Visit, ready: str) -> None:
    page = visit.open(ready)
    overlay = page.locator("#overlay")
    expect(overlay).to_have_css("clip-path", "none")
    page.locator("#compare").click()
    expect(overlay).to_have_css("clip-path", "inset(0px 50% 0px 0px)")
    page.locator("#wipe").fill("20")
    expect(overlay).to_have_css("clip-path", "inset(0px 80% 0px 0px)")
    stage = page.locator("#stage").bounding_box()
    assert stage
    page.mouse.move(stage["x"] + stage["width"] * 0.2, stage["y"] + 90)
    page.mouse.down()
    page.mouse.move(stage["x"] + stage["width"] * 0.75, stage["y"] + 120, steps=5)
    page.mouse.up()
    expect(page.locator("#wipe")).to_have_value(re.compile("^7[456]$"))
    page.locator("#compare").click()
    expect(overlay).to_have_css("clip-path", "none")


def test_zoom_with_wheel_keys_and_buttons(visit: Visit, ready: str) -> None:
    page = visit.open(ready)
    whole = visit.transform()
    least = visit.scale()
    hood = visit.part("hood").locator(".shape")
    hood.hover()
    page.mouse.wheel(0, -500)
    wait_until(lambda: visit.scale() > least * 1.5)
    expect(hood).to_be_visible()  # zoomed around the pointer
    assert page.evaluate("scrollY") == 0
    before = visit.transform()
    stage = page.locator("#stage").bounding_box()
    assert stage
    page.mouse.move(stage["x"] + 200, stage["y"] + 200)
    page.mouse.down()
    page.mouse.move(stage["x"] + 120, stage["y"] + 150, steps=4)
    page.mouse.up()
    drawing = visit.drawing()
    expect(drawing).not_to_have_attribute("transform", before)
    page.locator("#stage").press("0")
    expect(drawing).to_have_attribute("transform", whole)
    page.locator("#stage").press("+")
    expect(drawing).not_to_have_attribute("transform", whole)
    zoomed = visit.transform()
    page.locator("#stage").press("ArrowRight")
    expect(drawing).not_to_have_attribute("transform", zoomed)
    page.locator("#zoom-in").click()
    wait_until(lambda: visit.scale() > least * 1.6)
    page.locator("#zoom-out").click()
    page.locator("#zoom-fit").click()
    expect(drawing).to_have_attribute("transform", whole)
    # Drawn in CSS pixels, with lines that stay thin: sharp at every zoom.
    assert hood.evaluate("path => getComputedStyle(path).vectorEffect") == "non-scaling-stroke"


def test_pinch_zoom_and_tap(visitor: Callable[..., Visit], ready: str) -> None:
    visit = visitor(has_touch=True, is_mobile=True, viewport={"width": 412, "height": 800})
    page = visit.open(ready)
    visit.part("hood").locator(".shape").tap()
    expect(page.locator("#caption")).to_contain_text("Hood")
    least = visit.scale()
    box = page.locator("#stage").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *offsets: float) -> None:
        spots = [{"x": x + offset, "y": y, "id": at} for at, offset in enumerate(offsets)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

    fingers("touchStart", -20, 20)
    for spread in (30, 45, 60):
        fingers("touchMove", -spread, spread)
    fingers("touchEnd")
    wait_until(lambda: visit.scale() == pytest.approx(least * 3, rel=0.15))
    assert page.evaluate("visualViewport.scale") == 1  # the picture, not the page


def test_slider_redraws_from_server(visit: Visit, server: Server, ready: str) -> None:
    page = visit.open(ready)
    shape = visit.part("hood").locator(".shape")

    def shown() -> int:
        found = re.match(r"([\d,]+) points", page.locator("#points").inner_text())
        assert found
        return int(found[1].replace(",", ""))

    assert shown() == points(answer(server, ready))
    before = shape.get_attribute("d")
    page.locator("#tolerance").fill("0")
    expect(page.locator("#points")).to_contain_text("pixel by pixel")
    assert shown() == points(answer(server, ready, tolerance=0))
    expect(shape).not_to_have_attribute("d", before or "")
    page.locator("#tolerance").fill("2")
    expect(page.locator("#points")).to_contain_text("up to 1 pixel off")
    page.locator("#tolerance").fill("9")
    expect(page.locator("#points")).to_contain_text("20 pixels")
    assert shown() == points(answer(server, ready, tolerance=20))
    assert points(answer(server, ready, tolerance=20)) < points(answer(server, ready, tolerance=0))


def retold(visit: Visit, **fields: Any) -> None:
    """Have the page get results of the service with some fields changed."""

    def change(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | fields)

    visit.page.route("**/segments?*", change)


def test_parts_without_type(visit: Visit, server: Server, sample: bytes) -> None:
    # a new photo, which the list of results has first
    image_hash = server.post(encoded(Image.open(BytesIO(sample)).crop((0, 0, 810, 560))))
    server.wait(image_hash)
    retold(visit, type=None, message="7 parts were found. The type cannot be told.")
    page = visit.open(image_hash)
    expect(page.locator("#result-title")).to_have_text("Car")
    summary = page.locator("#result-summary")
    expect(summary).to_contain_text("The type can't be told from this photo")
    expect(summary).to_contain_text("parts found")
    drawn = names_of(page.locator("#overlay [data-part]:not(.off)"))
    assert drawn == sorted(part["name"] for part in answer(server, image_hash)["parts"])
    visit.back()
    card = page.locator(f"#gallery-list [data-hash='{image_hash}']")
    expect(card.locator("strong")).to_have_text("Car")
    expect(card).to_contain_text("parts found")
    page.unroute_all(behavior="wait")  # other cards of the list are still on their way


def test_car_without_sure_part(visit: Visit, ready: str) -> None:
    retold(visit, type=None, segments={}, parts=[], message="No part was found with enough ...")
    page = visit.open(ready)
    expect(page.locator("#result-title")).to_have_text("Car")
    expect(page.locator("#result-summary")).to_contain_text("No part is sure enough")


@pytest.mark.parametrize(
    ("language", "turned", "others"),
    [
        ("en", "turn the photo 270° clockwise", "There are other cars of similar size"),
        ("de", "Foto um 270° im Uhrzeigersinn drehen", "Es gibt weitere ähnlich große Autos"),
        ("th", "หมุนรูปตามเข็มนาฬิกา 270°", "มีรถคันอื่น"),
    ],
)
def test_notes_on_the_photo(
    visit: Visit, ready: str, language: str, turned: str, others: str
) -> None:
    summary = visit.page.locator("#result-summary")
    retold(visit, rotation=270, other_cars=True)
    visit.start(f"/ui?lang={language}#{ready}")
    visit.result()
    expect(summary).to_contain_text(turned)
    expect(summary).to_contain_text(others)


def test_photo_without_car(visit: Visit, server: Server) -> None:
    image_hash = server.post(encoded(noise(300, 400, seed=950)))
    server.wait(image_hash)
    page = visit.open(image_hash)
    expect(page.locator("#result-title")).to_have_text("No car found")
    expect(page.locator("#found")).to_be_hidden()


def test_confidence_slider(visit: Visit, server: Server, ready: str) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    page = visit.open(ready)
    parts = answer(server, ready, min_confidence=0)["parts"]
    assert len([url for url in asked if f"{ready}/segments" in url]) == 1  # all parts at once
    expect(page.locator("#confidence")).to_have_value("25")
    for least in (25, 90, 0):
        page.locator("#confidence").fill(str(least))
        expect(page.locator("#least")).to_have_text(f"{least}%")
        found = sorted(p["name"] for p in parts if p["confidence"] >= least / 100)
        maybe = sorted(p["name"] for p in parts if p["confidence"] < least / 100)
        assert names_of(page.locator("#found .part")) == found
        assert names_of(page.locator("#maybe .part")) == maybe
        assert names_of(page.locator("#overlay [data-part]:not(.off)")) == found
        expect(page.locator("#result-summary")).to_contain_text(f"{len(found)} parts found")
    expect(page.locator("#maybe-box")).to_be_hidden()


def test_maybe_part_is_off(visit: Visit, server: Server, ready: str) -> None:
    page = visit.open(ready)
    page.locator("#confidence").fill("100")
    name = names_of(page.locator("#maybe .part"))[0]
    box = visit.row(name).locator("input")
    expect(box).not_to_be_checked()
    expect(visit.part(name).locator(".shape")).to_be_hidden()
    box.check()
    expect(visit.part(name).locator(".shape")).to_be_visible()


def test_parts_not_found_are_folded(visit: Visit, ready: str) -> None:
    page = visit.open(ready)
    expect(page.locator("#missing")).to_be_hidden()
    page.locator("#missing-box summary").click()
    expect(page.locator("#missing li").first).to_be_visible()
    expect(page.locator("#missing input")).to_have_count(0)


def test_names_on_picture(visit: Visit, ready: str) -> None:
    page = visit.open(ready)
    name = page.locator("#overlay text", has_text="Hood")
    expect(name).to_be_hidden()
    page.locator("#names").click()
    expect(name).to_be_visible()
    label = name.bounding_box()
    hood = visit.part("hood").locator(".shape").bounding_box()
    assert label
    assert hood
    assert hood["x"] < label["x"] + label["width"] / 2 < hood["x"] + hood["width"]
    assert hood["y"] < label["y"] + label["height"] / 2 < hood["y"] + hood["height"]
    boxes = page.locator("#overlay text:not(.off)").evaluate_all(
        "all => all.map(t => t.getBoundingClientRect()).map(b => [b.x, b.y, b.right, b.bottom])"
    )
    for at, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[at + 1 :]:
            apart_x = right <= other[0] + 1 or other[2] <= left + 1
            assert apart_x or bottom <= other[1] + 4 or other[3] <= top + 4
    visit.row("hood").locator("input").uncheck()
    expect(name).to_be_hidden()


def test_json_beside_picture(visit: Visit, server: Server, ready: str) -> None:
    page = visit.open(ready)
    page.get_by_text("JSON", exact=True).first.click()
    expect(page.locator("#json")).to_contain_text(ready)
    assert json.loads(page.locator("#json").inner_text()) == answer(server, ready)
    expect(page.locator("#found")).to_be_hidden()
    page.locator("#confidence").fill("95")
    wanted = answer(server, ready, min_confidence=0.95)
    expect(page.locator("#json")).to_contain_text(wanted["message"])
    assert json.loads(page.locator("#json").inner_text()) == wanted


def test_picture_stays_in_view_on_phone(visitor: Callable[..., Visit], ready: str) -> None:
    visit = visitor(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = visit.open(ready)
    visit.row("wheel").locator("button.name").scroll_into_view_if_needed()
    page.mouse.wheel(0, 300)
    expect(page.locator("#stage")).to_be_in_viewport(ratio=0.99)
    expect(visit.row("wheel").locator("button.name")).to_be_in_viewport()
