"""Provide a browser to the tests of the page, and pages that watch themselves."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import ConsoleMessage, Locator, Page, Playwright, expect, sync_playwright
from werkzeug.serving import make_server

from api.openapi import OpenApiApp
from settings import Settings
from tests.support.fakes import Gate
from tests.support.server import Server

REQUIRED = "REQUIRE_BROWSER"  # if it is set, a missing Chromium is a failure
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 90_000  # milliseconds that the networks may take on a busy machine
_PAGE_PATIENCE = 30_000  # milliseconds that all else on the page may take there

# Counts what the policy forbids, and what is written where progress is shown.
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) =>
  violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
window.said = [];
new MutationObserver(() => {
  for (const node of document.querySelectorAll(".upload-state, #result-state p")) {
    if (node.textContent && said.at(-1) !== node.textContent) said.push(node.textContent);
  }
}).observe(document, { childList: true, subtree: true, characterData: true });
"""


def find() -> str | None:
    """Return the path of Debian's Chromium or the like."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def launch(playwright: Playwright) -> Chromium:
    """Launch a headless browser. Without one the tests are skipped, or fail if it is required."""
    found = find()
    if not found:
        message = f"no Chromium was found; looked for {', '.join(NAMES)} and $CHROMIUM"
        if os.environ.get(REQUIRED):
            pytest.fail(message)
        pytest.skip(message)
    # Chromium's own sandbox does not work as root, as in most containers.
    return playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])


@dataclass
class Visit:
    """A page that is open, and what went wrong on it."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    failed_loads_are_fine: bool = False

    def watch(self) -> None:
        self.page.add_init_script(WATCH)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (
            self.failed_loads_are_fine and "Failed to load resource" in message.text
        ):
            self.errors.append(message.text)

    def check(self) -> None:
        """Check that nothing failed, and that nothing was tried that the policy forbids."""
        assert self.page.evaluate("window.violations") == []
        assert self.errors == []

    def start(self, address: str = "/ui") -> Page:
        self.page.goto(self.url + address)
        expect(self.page.locator("body")).to_have_class("ready")
        return self.page

    def reload(self) -> None:
        """Load the page again, and wait until it takes photos."""
        self.page.reload()
        expect(self.page.locator("body")).to_have_class("ready")

    def back(self) -> None:
        """Go from a result to the lists, and wait until they are shown."""
        self.page.locator(".back").click()
        expect(self.page.locator("#start")).to_be_visible()

    def add(self, *files: Any) -> None:
        """Choose photos: paths, or dicts of name, mimeType and buffer."""
        self.page.set_input_files("#choose", list(files))

    def result(self) -> str:
        """Wait for a result, and return its hash."""
        expect(self.page.locator("#result-body")).to_be_visible(timeout=PATIENCE)
        found = re.search("#([0-9a-f]{64})$", self.page.url)
        assert found, self.page.url
        return found[1]

    def open(self, image_hash: str) -> Page:
        """Open the result of a hash."""
        self.start(f"/ui#{image_hash}")
        assert self.result() == image_hash
        return self.page

    def said(self) -> list[str]:
        """Return the lines of progress that were shown, in order."""
        lines: list[str] = self.page.evaluate("window.said")
        return lines

    def part(self, name: str) -> Locator:
        """Return a part of the picture."""
        return self.page.locator(f"#overlay [data-part={name}]")

    def row(self, name: str) -> Locator:
        """Return a part in the list."""
        return self.page.locator(f".part[data-part={name}]")

    def photo_size(self) -> tuple[int, int]:
        """Wait until the photo below the parts is loaded, and return its width and height."""
        self.page.wait_for_function("photo.complete && photo.naturalWidth > 0", timeout=PATIENCE)
        width, height = self.page.evaluate("[photo.naturalWidth, photo.naturalHeight]")
        return width, height

    def drawing(self) -> Locator:
        """Return the drawing of all parts, whose `transform` changes with zoom and position."""
        return self.page.locator("#overlay > g:not(.labels)")

    def transform(self) -> str:
        """Return the place of the drawing, which changes with zoom and position."""
        return self.drawing().get_attribute("transform") or ""

    def scale(self) -> float:
        found = re.search(r"scale\(([\d.e-]+)\)", self.transform())
        assert found
        return float(found[1])


def photo(data: bytes, name: str = "car.png", kind: str = "image/png") -> dict[str, Any]:
    """Return a file in the form that the browser accepts."""
    return {"name": name, "mimeType": kind, "buffer": data}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    expect.set_options(timeout=_PAGE_PATIENCE)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Chromium, server: Server) -> Iterator[Callable[..., Visit]]:
    """Open pages in separate browser contexts; each must end without an error."""
    visits: list[Visit] = []

    def make(url: str = server.url, **options: Any) -> Visit:
        wanted: Any = {"locale": "en-GB", "viewport": {"width": 1280, "height": 860}} | options
        visit = Visit(chromium.new_context(**wanted).new_page(), url)
        visit.watch()
        visits.append(visit)
        return visit

    yield make
    try:
        for visit in visits:
            visit.check()
    finally:
        for visit in visits:
            visit.page.unroute_all(behavior="wait")  # handlers that a late request started
            visit.page.context.close()


@pytest.fixture
def visit(visitor: Callable[..., Visit]) -> Visit:
    return visitor()


@contextmanager
def serving(app: OpenApiApp) -> Iterator[str]:
    """Serve an app of this process, and yield its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def gated(make_app: Callable[..., OpenApiApp], tmp_path: Path, gate: Gate) -> Iterator[str]:
    """Yield the address of a service with one worker, whose photos wait until `gate` opens."""
    with serving(make_app(Settings(data_dir=tmp_path, workers=1), gate)) as url:
        yield url
        gate.open.set()


@pytest.fixture(scope="session")
def ready(server: Server, sample: bytes) -> str:
    """Return the hash of the sample, which is Ready."""
    image_hash = server.post(sample)
    server.wait(image_hash)
    return image_hash
