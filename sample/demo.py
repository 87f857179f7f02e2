"""`make demo`: start the service, post a photo, print what it finds, write an overlay picture."""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from exports.pictures import draw_parts
from options import PLAIN
from segment_interface import ImageError, decode_image
from settings import REPOSITORY, Settings

KEY = secrets.token_hex(24)  # for our own service; keys of the environment are ignored


class DemoError(Exception):
    """The reason why there is no result, in one sentence."""


@contextmanager
def service() -> Iterator[str]:
    """Run a service on a free port with a temporary folder, and yield its address."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "CARSEG_PORT": "0",
            "CARSEG_DATA_DIR": folder,
            "CARSEG_API_KEYS": KEY,
        }
        process = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, REPOSITORY / "app.py"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None  # noqa: S101 (for the type checker)
            words = process.stdout.readline().split()
            address = next((word for word in words if word.startswith("http")), None)
            if address is None:
                raise DemoError("The service did not start.")
            yield address.rstrip(",")
        finally:
            process.terminate()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def ask(url: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    """Send a GET, or a POST if there is a body, and return the JSON. Raises DemoError."""
    request = urllib.request.Request(  # noqa: S310 (the address is our own)
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "X-API-Key": KEY},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            result: dict[str, Any] = json.load(answer)
            return result
    except urllib.error.HTTPError as error:
        with error:
            raise DemoError(json.load(error)["error"]) from None


def segment(address: str, photo: bytes) -> dict[str, Any]:
    """Post a photo, wait for it, and return its result. Raises DemoError."""
    image_hash = ask(address, {"image": base64.b64encode(photo).decode()})["image_hash"]
    while (status := ask(f"{address}/{image_hash}/status"))["status"] != "Ready":
        if status["status"] == "Error":
            raise DemoError(status["message"])
        time.sleep(0.1)
    return ask(f"{address}/{image_hash}/segments?{urllib.parse.urlencode(PLAIN.query())}")


def report(result: dict[str, Any]) -> None:
    """Print the type and a table of the parts."""
    print(result["message"])
    if result["type"]:
        print(f"Type: {result['type']['name']} ({result['type']['confidence']:.0%})")
    for part in result["parts"]:
        vertices = sum(len(polygon["exterior"]) for polygon in part["polygons"])
        print(
            f"  {part['name']:18} {part['confidence']:5.0%} {part['area']:9,} px"
            f"   polygons: {len(part['polygons'])}, vertices: {vertices}"
        )


def main() -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path, help="PNG, JPEG, WebP, HEIC, AVIF, BMP or GIF")
    parser.add_argument("--out", type=Path, default=Path("demo.png"), help="overlay to write")
    arguments = parser.parse_args()
    try:
        photo = arguments.photo.read_bytes()
        rgb = decode_image(photo, Settings().max_pixels)
        with service() as address:
            result = segment(address, photo)
        report(result)
        parts = [
            (
                part["name"],
                [[polygon["exterior"], *polygon["holes"]] for polygon in part["polygons"]],
            )
            for part in result["parts"]
        ]
        Image.fromarray(draw_parts(rgb, parts)).save(arguments.out)
    except (DemoError, ImageError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'The demo failed'}: {error.strerror or error}.", file=sys.stderr)
        return 1
    print(f"Overlay: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
