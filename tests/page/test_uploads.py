"""Test the list of uploads, and the page when something goes wrong."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import requests
from PIL import Image
from playwright.sync_api import Route, expect

from tests.support.browser import PATIENCE, Visit, photo
from tests.support.fakes import Gate
from tests.support.http import body
from tests.support.pictures import encoded, noise
from tests.support.server import Server


def test_file_without_photo(visit: Visit, server: Server) -> None:
    visit.failed_loads_are_fine = True
    page = visit.start()
    visit.add(photo(b"no photo at all", "notes.txt", "text/plain"))
    failed = page.locator(".upload.failed")
    message = requests.post(server.url, json={"image": "bm8gcGhvdG8gYXQgYWxs"}, timeout=60).json()
    expect(failed.locator(".upload-state")).to_have_text(message["error"])
    failed.get_by_role("button", name="Try again").click()
    expect(failed.locator(".upload-state")).to_have_text(message["error"])
    failed.get_by_role("button", name="Remove").click()
    expect(page.locator("#uploads")).to_be_hidden()


def test_busy_service_is_retried(visit: Visit) -> None:
    visit.failed_loads_are_fine = True
    page = visit.start()
    refusals = iter([503, 429])

    def refuse(route: Route) -> None:
        status = next(refusals, None) if route.request.method == "POST" else None
        if status is None:
            route.continue_()
        else:
            route.fulfill(status=status, headers={"Retry-After": "1"}, json={"error": "Full."})

    page.route(f"{visit.url}/", refuse)
    visit.add(photo(encoded(noise(200, 300, seed=960))))
    visit.result()
    assert "The service is busy. Trying again in 1 s …" in visit.said()


def test_many_photos_stay_in_list(visit: Visit) -> None:
    page = visit.start()
    visit.add(*(photo(encoded(noise(200, 300, seed=970 + n)), f"{n}.png") for n in range(4)))
    for number in range(4):
        row = page.locator(".upload", has_text=f"{number}.png")
        link = row.get_by_role("link", name="Show the result")
        expect(link).to_be_visible(timeout=PATIENCE)
    assert page.url.endswith("/ui")
    page.locator(".upload", has_text="2.png").get_by_role("link").click()
    visit.result()


def test_large_photo_and_stopped_service(
    visitor: Callable[..., Visit],
    start_server: Callable[..., Server],
    tmp_path: Path,
    sample: bytes,
) -> None:
    own = start_server(tmp_path, CARSEG_MAX_UPLOAD_MB="0.2", CARSEG_MAX_PIXELS="250000")
    try:
        visit = visitor(own.url)
        visit.failed_loads_are_fine = True
        page = visit.start()
        expect(page.locator(".hint")).to_contain_text("Photos over 0.2 MB are made smaller")
        visit.add(photo(sample))
        visit.result()
        width, height = visit.photo_size()
        assert width * height <= 250_000
        visit.back()
        expect(page.locator(".upload-note")).to_contain_text("was made smaller")
    finally:
        assert own.stop(signal.SIGTERM) == 0
    gone = "The service can't be reached. Is it running?"
    visit.add(photo(encoded(noise(200, 300, seed=980)), "late.png"))
    late = page.locator(".upload", has_text="late.png")
    expect(late).to_contain_text(gone, timeout=PATIENCE)
    assert "No connection. Trying again …" in visit.said()
    page.locator(".upload", has_text="car.png").get_by_role("link").click()
    expect(page.locator("#result-state")).to_contain_text(gone)
    port = own.url.rpartition(":")[2]
    folder = tmp_path / "again"
    folder.mkdir()
    again = start_server(folder, CARSEG_PORT=port)
    try:
        page.locator("#result-state").get_by_role("button", name="Try again").click()
        expect(page.locator("#result-title")).to_have_text("This result is not there any more")
        visit.back()
        late.get_by_role("button", name="Try again").click()
        expect(late).to_contain_text("No car", timeout=PATIENCE)
    finally:
        assert again.stop(signal.SIGTERM) == 0


def test_photo_with_too_many_pixels(
    visitor: Callable[..., Visit], start_server: Callable[..., Server], tmp_path: Path
) -> None:
    """A photo of few bytes is not said to shrink while its bytes grow."""
    own = start_server(tmp_path, CARSEG_MAX_PIXELS="250000")
    rough = Image.effect_noise((900, 600), 60).convert("RGB")
    tight = encoded(rough, "JPEG", quality=4)
    loose = encoded(rough, "JPEG", quality=95)
    try:
        visit = visitor(own.url)
        page = visit.start()
        visit.add(photo(tight, "tight.jpg", "image/jpeg"), photo(loose, "loose.jpg", "image/jpeg"))
        notes = page.locator(".upload-note")
        expect(notes).to_have_count(2, timeout=PATIENCE)
        expect(page.locator(".upload", has_text="tight")).to_contain_text(
            re.compile(r"900 × 600 → 6\d\d × 4\d\d\.")
        )
        expect(page.locator(".upload", has_text="loose")).to_contain_text(
            re.compile(r"900 × 600, 0\.\d MB → 6\d\d × 4\d\d, 0\.\d MB\.")
        )
        expect(page.locator(".upload .open")).to_have_count(2, timeout=PATIENCE)
    finally:
        assert own.stop(signal.SIGTERM) == 0


def test_shared_link_shows_result_without_photo(
    visitor: Callable[..., Visit], sample: bytes
) -> None:
    with Image.open(BytesIO(sample)) as picture:
        mine = encoded(picture.convert("RGB").resize((900, 600)))
    first = visitor()
    first.start()
    first.add(photo(mine))
    image_hash = first.result()
    expect(first.page.locator("#photo")).to_be_visible()
    card = first.page.locator("#gallery-list li").first
    first.back()
    expect(card).to_have_attribute("data-hash", image_hash)  # newest first
    expect(card.locator("img")).to_be_visible()
    card.locator("a").click()
    first.result()
    first.page.reload()
    assert first.result() == image_hash
    expect(first.page.locator("#photo")).to_be_visible()  # this browser keeps it
    kept = first.page.evaluate("Object.entries(localStorage)")
    assert [key for key, _ in kept] == ["carseg.ids"]
    assert kept[0][1] == f'["{image_hash}"]'
    assert first.page.evaluate("document.cookie") == ""

    second = visitor()
    page = second.open(image_hash)
    expect(page.locator("#photo")).to_be_hidden()
    expect(second.part("hood").locator(".shape")).to_be_visible()
    expect(page.locator("#compare")).to_be_disabled()
    other_shape = encoded(np.zeros((400, 400, 3), np.uint8))
    page.set_input_files("#add-photo", photo(other_shape))  # type: ignore[arg-type]
    expect(page.locator("#toast")).to_contain_text("another shape")
    page.set_input_files("#add-photo", photo(mine))  # type: ignore[arg-type]
    expect(page.locator("#photo")).to_be_visible()
    expect(page.locator("#compare")).to_be_enabled()


def test_queue_position_after_reload(gated: str, visitor: Callable[..., Visit], gate: Gate) -> None:
    visit = visitor(gated)
    page = visit.start()
    for seed in (990, 991):
        data = encoded(noise(200, 300, seed=seed))
        assert requests.post(gated, json=body(data), timeout=60).status_code == 200
    assert gate.entered.wait(60)
    visit.add(photo(encoded(noise(200, 300, seed=992))))
    state = page.locator(".upload-state")
    expect(state).to_have_text("In line, number 2", timeout=PATIENCE)
    page.reload()
    expect(state).to_have_text("In line, number 2", timeout=PATIENCE)
    gate.open.set()
    expect(state).to_have_text("No car", timeout=PATIENCE)


def test_address_without_result(visit: Visit) -> None:
    visit.failed_loads_are_fine = True
    page = visit.start("/ui#" + "0" * 64)
    expect(page.locator("#result-title")).to_have_text("This result is not there any more")
    page.locator(".back").click()
    expect(page.locator("#start-title")).to_be_focused()


def test_drop_and_paste(visit: Visit, sample: bytes) -> None:
    page = visit.start()
    give = """([bytes, kind]) => {
      const transfer = new DataTransfer();
      const blob = Uint8Array.from(bytes);
      transfer.items.add(new File([blob], "given.png", { type: "image/png" }));
      const options = { bubbles: true, cancelable: true };
      const event = kind === "paste"
        ? new ClipboardEvent(kind, { clipboardData: transfer, ...options })
        : new DragEvent(kind, { dataTransfer: transfer, ...options });
      return !document.body.dispatchEvent(event);
    }"""
    data = list(encoded(noise(60, 80, seed=985)))
    page.evaluate(give, [data, "dragenter"])
    expect(page.locator(".drop-curtain")).to_be_visible()
    assert page.evaluate(give, [data, "dragover"])  # else the browser would open the file
    assert page.evaluate(give, [data, "drop"])
    expect(page.locator(".drop-curtain")).to_be_hidden()
    expect(page.locator(".upload-name").first).to_have_text("given.png")
    page.evaluate(give, [data, "paste"])
    expect(page.locator(".upload")).to_have_count(2)
    expect(page.locator(".upload-name").first).to_have_text("Pasted photo")
    expect(page.locator(".upload .open")).to_have_count(2, timeout=PATIENCE)  # for later tests
