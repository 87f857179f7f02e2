"""Test that one photo has the same result bytes under any load and any settings."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from PIL import Image

from segment_interface import decode_image
from tests.support.pictures import encoded, noise
from tests.support.server import Server

QUERIES = ("", "?tolerance=0.5", "?topology=shared", "?format=coco-rle")


def photos(sample: bytes) -> list[bytes]:
    """Return the sample, parts of it in other sizes and formats, and pictures without a car."""
    car = Image.fromarray(decode_image(sample, 50_000_000))
    small = car.resize((640, 480))
    return [
        sample,
        encoded(small, "JPEG"),
        encoded(small.crop((0, 0, 401, 480)), "WEBP"),
        encoded(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        encoded(noise(200, 300)),
    ]


def results(server: Server, image_hash: str) -> list[bytes]:
    """Return all results of one photo as bytes."""
    server.wait(image_hash)
    addresses = [f"segments{query}" for query in QUERIES] + ["mask.png", "overlay.png"]
    answers = [
        requests.get(f"{server.url}/{image_hash}/{address}", timeout=60) for address in addresses
    ]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.content for answer in answers]


def test_results_do_not_depend_on_load_or_workers(
    start_server: Callable[..., Server], tmp_path: Path, sample: bytes
) -> None:
    given = photos(sample)
    hashes = [hashlib.sha256(photo).hexdigest() for photo in given]

    alone = start_server(tmp_path / "one", CARSEG_WORKERS="1")
    quiet = [results(alone, alone.post(photo)) for photo in given]
    assert alone.stop(signal.SIGTERM) == 0
    assert b'"hood"' in quiet[0][0]

    busy = start_server(tmp_path / "two", CARSEG_WORKERS="2", OMP_NUM_THREADS="1")
    with ThreadPoolExecutor(4) as threads:
        neighbours = [encoded(noise(150, 200, seed)) for seed in range(8)]
        mixed = [item for pair in zip(given, neighbours, strict=False) for item in pair]
        list(threads.map(busy.post, reversed(mixed)))
        assert list(threads.map(lambda image_hash: results(busy, image_hash), hashes)) == quiet
    assert busy.stop(signal.SIGTERM) == 0
