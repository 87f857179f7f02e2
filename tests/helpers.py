"""What several tests need: pictures, posting, waiting."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import requests
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE = REPOSITORY / "sample" / "car.png"


def clean_environment() -> dict[str, str]:
    """The environment without settings of the service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CARSEG_")}


def encoded(picture: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 of random colours: no car."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def body(data: bytes) -> dict[str, str]:
    """What is posted for a photo."""
    return {"image": base64.b64encode(data).decode()}


def post(client: FlaskClient, data: bytes) -> str:
    """Post a photo that must be taken; gives its hash."""
    answer = client.post("/", json=body(data))
    assert answer.status_code == 200, answer.json
    image_hash: str = answer.get_json()["image_hash"]
    return image_hash


def wait(client: FlaskClient, image_hash: str, state: str = "Ready") -> dict[str, Any]:
    """Poll until a photo is in `state`; gives the answer of the status route."""
    deadline = time.monotonic() + 120
    while True:
        answer: dict[str, Any] = client.get(f"/{image_hash}/status").get_json()
        if answer["status"] == state:
            return answer
        assert answer["status"] not in ("Ready", "Error"), answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.01)


def segments(client: FlaskClient, data: bytes) -> dict[str, Any]:
    """Post a photo and wait for its result."""
    image_hash = post(client, data)
    wait(client, image_hash)
    result: dict[str, Any] = client.get(f"/{image_hash}/segments").get_json()
    return result


def every_request(app: Flask) -> Iterator[tuple[str, str]]:
    """Method and address for each route of an app, with a hash that nobody posted."""
    known = {"image_hash": "0" * 64, "segment": "hood"}
    for rule in app.url_map.iter_rules():
        path = rule.rule
        for name in rule.arguments:
            path = re.sub(rf"<(\w+:)?{name}>", known.get(name, "name"), path)
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            yield method, path


@dataclass
class Server:
    """A running service."""

    url: str
    process: subprocess.Popen[str]

    def post(self, data: bytes) -> str:
        """Post a photo that must be taken; gives its hash."""
        answer = requests.post(self.url, json=body(data), timeout=60)
        assert answer.status_code == 200, answer.text
        image_hash: str = answer.json()["image_hash"]
        return image_hash

    def wait(self, image_hash: str, state: str = "Ready") -> dict[str, Any]:
        """Poll until a photo is in `state`; gives the answer of the status route."""
        deadline = time.monotonic() + 120
        while True:
            answer: dict[str, Any] = requests.get(
                f"{self.url}/{image_hash}/status", timeout=60
            ).json()
            if answer["status"] == state:
                return answer
            assert answer["status"] not in ("Ready", "Error"), answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; gives the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(120)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status
