"""`make screenshot`: take the picture of the page in docs/clients.md, with real results."""

from __future__ import annotations

from io import BytesIO

from PIL import Image
from playwright.sync_api import sync_playwright

from sample.demo import KEY, service
from settings import REPOSITORY
from tests.support.browser import PATIENCE, launch, photo
from tests.support.pictures import SAMPLE

TARGET = REPOSITORY / "web" / "screenshot.png"
LARGEST = 400_000  # bytes


def take(url: str) -> bytes:
    """Return the result of the sample in the page, with a part lit up: PNG."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(
            viewport={"width": 1280, "height": 900},
            locale="en-GB",
            extra_http_headers={"X-API-Key": KEY},
        )
        page.goto(f"{url}/ui")
        page.wait_for_selector("body.ready")
        page.set_input_files("#choose", photo(SAMPLE.read_bytes()))  # type: ignore[arg-type]
        page.wait_for_selector("#result-body:not([hidden])", timeout=PATIENCE)
        page.locator("#overlay [data-part=front_left_door] .shape").hover()
        page.wait_for_timeout(500)
        picture = page.screenshot()
        browser.close()
    return picture


def main() -> None:
    """Write the picture, with as many colours as fit into LARGEST."""
    with service() as url:
        picture = Image.open(BytesIO(take(url))).convert("RGB")
    for colours in (256, 192, 128, 96, 64):
        few = picture.quantize(colours, Image.Quantize.MEDIANCUT, kmeans=1)
        few.save(TARGET, optimize=True)
        if TARGET.stat().st_size <= LARGEST:
            break
    print(f"{TARGET.relative_to(REPOSITORY)}: {TARGET.stat().st_size:,} bytes, {colours} colours")


if __name__ == "__main__":
    main()
