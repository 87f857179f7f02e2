"""The page to try the API: a file can be chosen and posted, and dark colours are followed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.support.browser import PATIENCE, Visit
from tests.support.pictures import SAMPLE


def test_upload(visit: Visit, ready: str) -> None:
    page = visit.page
    page.goto(f"{visit.url}/docs")
    post = page.locator("#operations-photos-post_photo")
    post.locator(".opblock-summary-control").click()
    post.get_by_role("button", name="Try it out").click()
    post.locator("input[type=file]").set_input_files(SAMPLE)
    post.get_by_role("button", name="Execute").click()
    answer = post.locator(".live-responses-table")
    expect(answer).to_contain_text(f'"image_hash": "{ready}"', timeout=PATIENCE)
    expect(answer.locator(".response-col_status").last).to_contain_text("200")
    expect(post.locator(".curl-command")).not_to_contain_text("damage=true")
    # Swagger UI warns of this for any list of files.
    usual = "Could not find component: JsonSchema_string_binary"
    visit.errors = [error for error in visit.errors if error != usual]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours(visitor: Callable[..., Visit], scheme: str) -> None:
    visit = visitor(color_scheme=scheme)
    page = visit.page
    page.goto(f"{visit.url}/docs")
    expect(page.locator("#operations-photos-post_photo")).to_be_visible(timeout=PATIENCE)
    shades = expect(page.locator(".swagger-ui").first)
    check = shades.to_have_css if scheme == "dark" else shades.not_to_have_css
    check("background-color", "rgb(28, 32, 34)")
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).not_to_have_class("dark-mode")
