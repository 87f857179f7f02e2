"""The pages with keys: the browser asks for one, and sends it along with all that a page does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
import requests
from playwright.sync_api import Browser, Error, expect

from tests.support.browser import Visit, photo
from tests.support.pictures import encoded, noise
from tests.support.server import Server

KEY = "key-of-the-people-012345"
CREDENTIALS = {"http_credentials": {"username": "me", "password": KEY}}


@pytest.fixture(scope="module")
def locked(
    start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    server = start_server(tmp_path_factory.mktemp("locked"), CARSEG_API_KEYS=KEY)
    yield server
    assert server.stop(signal.SIGTERM) == 0


def test_page_with_a_key(visitor: Callable[..., Visit], locked: Server) -> None:
    visit = visitor(locked.url, **CREDENTIALS)
    visit.start()
    visit.add(photo(encoded(noise(200, 300, seed=77))))
    image_hash = visit.result()
    answer = requests.get(locked.url, headers={"X-API-Key": KEY}, timeout=60)
    assert image_hash in answer.json()


def test_page_without_a_key(chromium: Browser, locked: Server) -> None:
    for path in ("/ui", "/docs"):
        with chromium.new_context() as context:
            page = context.new_page()
            # Chromium's error after it asked for name and password, and got none.
            with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
                page.goto(locked.url + path)


def test_docs_with_a_key(visitor: Callable[..., Visit], locked: Server) -> None:
    visit = visitor(locked.url, **CREDENTIALS)
    page = visit.page
    page.goto(f"{locked.url}/docs")
    page.locator("#operations-photos-list_ready button").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    status = page.locator(".live-responses-table td.response-col_status:not(.col_header)")
    expect(status).to_contain_text("200")


def test_other_site_cannot_use_stored_key(
    visitor: Callable[..., Visit], locked: Server, server: Server
) -> None:
    """A page on another origin, in a browser that knows the key."""
    visit = visitor(locked.url, **CREDENTIALS)
    visit.failed_loads_are_fine = True
    visit.start()
    foreign = visit.page.context.new_page()
    foreign.goto(server.url.replace("127.0.0.1", "localhost") + "/health")
    tried = foreign.evaluate(
        """async (url) => {
          const read = (options) => fetch(url, { credentials: "include", ...options })
            .then((answer) => answer.status, () => "nothing");
          const text = { "Content-Type": "text/plain" };
          return [
            await read({}),
            await read({ method: "POST", body: "{}", headers: text }),
            await read({ method: "POST", body: "{}", mode: "no-cors" }),
            await read({ method: "DELETE" }),
          ];
        }""",
        locked.url,
    )
    assert 200 not in tried
    assert tried[0] == "nothing"
