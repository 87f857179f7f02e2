"""Requests to an app without a server: post a photo, wait for it, read its result."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask
from flask.testing import FlaskClient


def body(data: bytes) -> dict[str, str]:
    """Return the request body that posts a photo."""
    return {"image": base64.b64encode(data).decode()}


def post(client: FlaskClient, data: bytes, *, damage: bool = False) -> str:
    """Post a photo that must be accepted, for damage or not, and return its hash."""
    answer = client.post("/?damage=true" if damage else "/", json=body(data))
    assert answer.status_code == 200, answer.json
    image_hash: str = answer.get_json()["image_hash"]
    return image_hash


def wait(client: FlaskClient, image_hash: str, state: str = "Ready") -> dict[str, Any]:
    """Poll until a photo is in `state`, and return the answer of the status route."""
    deadline = time.monotonic() + 120
    while True:
        answer: dict[str, Any] = client.get(f"/{image_hash}/status").get_json()
        if answer["status"] == state:
            return answer
        assert answer["status"] not in ("Ready", "Error"), answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.01)


def segments(client: FlaskClient, data: bytes) -> dict[str, Any]:
    """Post a photo, wait for it, and return its result."""
    image_hash = post(client, data)
    wait(client, image_hash)
    result: dict[str, Any] = client.get(f"/{image_hash}/segments").get_json()
    return result


def every_request(app: Flask) -> Iterator[tuple[str, str]]:
    """Yield method and address of each route of an app, with a hash that was never posted."""
    known = {"image_hash": "0" * 64, "segment": "hood"}
    for rule in app.url_map.iter_rules():
        path = rule.rule
        for name in rule.arguments:
            path = re.sub(rf"<(\w+:)?{name}>", known.get(name, "name"), path)
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            yield method, path
