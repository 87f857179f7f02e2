"""Test that one photo has the same result bytes under any load and any settings."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import requests
from PIL import Image

from segment_interface import decode_image
from settings import REPOSITORY
from tests.support.http import body
from tests.support.pictures import encoded, noise
from tests.support.server import Server

DAMAGED = REPOSITORY / "tests" / "pictures" / "damaged.jpg"
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


def results(
    server: Server, image_hash: str, pictures: Sequence[str] = ("mask.png", "overlay.png")
) -> list[bytes]:
    """Return all results of one photo as bytes."""
    server.wait(image_hash)
    addresses = [f"segments{query}" for query in QUERIES] + list(pictures)
    answers = [
        requests.get(f"{server.url}/{image_hash}/{address}", timeout=60) for address in addresses
    ]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.content for answer in answers]


def test_damage_does_not_depend_on_load_or_workers(
    start_server: Callable[..., Server], tmp_path: Path, sample: bytes
) -> None:
    given = [DAMAGED.read_bytes(), *photos(sample)]
    hashes = [hashlib.sha256(photo).hexdigest() for photo in given]
    pictures = ("mask.png", "overlay.png", "damage.png")
    alone = start_server(tmp_path / "one", CARSEG_WORKERS="1", CARSEG_DAMAGE="always")
    quiet = [results(alone, alone.post(photo), pictures) for photo in given]
    assert alone.stop(signal.SIGTERM) == 0
    assert b'"kind":"dent"' in quiet[0][0]
    assert all(b'"damages":[' in found[0] for found in quiet)

    busy = start_server(tmp_path / "two", CARSEG_WORKERS="2", OMP_NUM_THREADS="1")
    with ThreadPoolExecutor(4) as threads:
        for query in ("", "?damage=true"):  # the second time, all of them are Ready already
            list(threads.map(partial(post_at, busy, query), given))
            list(threads.map(busy.wait, hashes))
        for image_hash in hashes:
            status = f"{busy.url}/{image_hash}/status?wait=30"
            assert "damage" not in requests.get(status, timeout=60).json()
        found = list(threads.map(lambda name: results(busy, name, pictures), hashes))
    assert found == quiet
    assert busy.stop(signal.SIGTERM) == 0


def post_at(server: Server, query: str, photo: bytes) -> None:
    answer = requests.post(f"{server.url}/{query}", json=body(photo), timeout=60)
    assert answer.status_code == 200


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
