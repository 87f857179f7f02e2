"""Pictures that are sent to do harm: a clear answer, in little time and memory."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from api.openapi import OpenApiApp
from segment_interface import ImageError, decode_base64, decode_image
from settings import REPOSITORY
from tests.hostile import bombs
from tests.hostile.mutations import mutations, seeds
from tests.support import heif
from tests.support.fakes import FakePipeline, paint_nothing
from tests.support.http import body, segments
from tests.support.pictures import SAMPLE, encoded, noise
from tests.support.server import clean_environment
from vision.image_parts import exif_orientation

LIMIT = 1_000_000


@pytest.fixture
def blank(make_app: Callable[..., OpenApiApp]) -> FlaskClient:
    """Return a service that finds no car in anything."""
    return make_app(stages=FakePipeline(paint=paint_nothing)).test_client()


def decoded_apart(folder: Path, builders: Mapping[str, Callable[[], bytes]]) -> dict[str, Any]:
    """Decode in a separate process, which may use 60 s of a processor and 4 GB."""
    for name, build in builders.items():
        (folder / name).write_bytes(build())
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.decode", folder],
        cwd=REPOSITORY,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0  # -24: the time was over
    answers: dict[str, Any] = json.loads(done.stdout)
    assert set(answers) == set(builders)
    return answers


def test_bombs_are_refused_quickly(tmp_path: Path) -> None:
    answers = decoded_apart(tmp_path, bombs.REFUSED)
    assert all(status in (400, 413) for status, _, _ in answers.values()), answers
    # No more than two copies of the largest file.
    assert max(memory for _, _, memory in answers.values()) < 64, answers


def test_bombs_in_metadata_cost_nothing(tmp_path: Path) -> None:
    answers = decoded_apart(tmp_path, bombs.BOUNDED)
    assert all(status in ("taken", 400) for status, _, _ in answers.values()), answers
    assert max(memory for _, _, memory in answers.values()) < 100, answers


def test_memory_per_pixel(tmp_path: Path) -> None:
    size = (2_500, 2_500)
    builders = {name: partial(build, size) for name, build in bombs.LARGEST.items()}
    answers = decoded_apart(tmp_path, builders)
    assert {status for status, _, _ in answers.values()} == {"taken"}, answers
    assert max(memory for _, _, memory in answers.values()) < 24 * 6.25 + 16, answers


def test_posted_bombs(blank: FlaskClient) -> None:
    for name, build in bombs.REFUSED.items():
        answer = blank.post("/", json=body(build()))
        assert answer.status_code in (400, 413), name
        assert set(answer.get_json()) == {"error"}, name
    assert blank.get("/").get_json() == []


def test_bombs_are_refused_in_every_thread() -> None:
    """Python's filters of warnings belong to no thread, and tests change them."""

    def status(data: bytes) -> int:
        with pytest.raises(ImageError) as caught:
            decode_image(data, 89_000_000)
        return caught.value.status

    files = [bombs.png(60_000, 60_000, pixels=False), bombs.png(9_500, 9_500, pixels=False)] * 8
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(status, files)) == {413}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "HEIF", "AVIF", "BMP", "GIF"])
def test_damaged_files_are_accepted_or_refused(blank: FlaskClient, kind: str) -> None:
    """`benchmarks/hostile_images.py` does the same with 10,000 of each."""
    codes = set()
    for data in mutations(150, kind):
        answer = blank.post("/", json=body(data))
        codes.add(answer.status_code)
        if answer.status_code != 200:
            assert set(answer.get_json()) == {"error"}
    assert codes <= {200, 400, 413, 415}
    assert {200, 400} <= codes


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_posted_jpeg_without_its_end_has_same_parts(
    client: FlaskClient, options: dict[str, bool]
) -> None:
    car = Image.open(SAMPLE).convert("RGB").resize((600, 400))
    data = encoded(car, "JPEG", **options)
    whole, cut = segments(client, data), segments(client, data.removesuffix(b"\xff\xd9"))
    assert whole["segments"]
    assert cut | {"image_hash": ""} == whole | {"image_hash": ""}
    answer = client.post("/", json=body(data[: len(data) * 9 // 10]))
    assert answer.status_code == 400
    assert answer.get_json() == {"error": "The image is damaged or incomplete."}


@pytest.mark.parametrize(
    ("data", "status", "start"),
    [
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', 400, "This is XML or"),
        (b'<?xml version="1.0"?><svg/>', 415, "This is an SVG file"),
        (b"\0\0\0\x10ftyphevc\0\0\0\0\0\0\0\x08moov", 415, "This is a HEIC or AVIF video file"),
        (heif.heic("car").replace(b"hvc1", b"jpeg"), 415, "This is an uncommon HEIF file"),
    ],
)
def test_posted_files_of_other_formats(
    blank: FlaskClient, data: bytes, status: int, start: str
) -> None:
    answer = blank.post("/", json=body(data))
    assert answer.status_code == status
    assert answer.get_json()["error"].startswith(start)
    assert "takes PNG, JPEG, WebP, HEIC, AVIF, BMP and GIF" in answer.get_json()["error"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "HEIF", "AVIF", "BMP", "GIF"])
def test_seeds_of_damage_are_valid(kind: str) -> None:
    assert all(decode_image(data, LIMIT).size > 0 for data in seeds()[kind])


def well_formed(pixels: NDArray[np.uint8]) -> bool:
    """Return True if an array is a valid input of the networks."""
    return (
        pixels.dtype == np.uint8
        and pixels.ndim == 3
        and pixels.shape[2] == 3
        and 0 < pixels.shape[0] * pixels.shape[1] <= LIMIT
        and pixels.flags.c_contiguous
        and pixels.flags.writeable
    )


STARTS = st.sampled_from(
    [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"]
    + [data[:40] for files in seeds().values() for data in files]
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(STARTS, st.binary(max_size=300))
def test_any_bytes_decode_or_fail_cleanly(start: bytes, rest: bytes) -> None:
    try:
        pixels = decode_image(start + rest, LIMIT)
    except ImageError as error:
        status, good = error.status, len(error.message) < 200
    else:
        status, good = 200, well_formed(pixels)
    assert good
    assert status in (200, 400, 413, 415)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=200) | st.text("ABCabc01+/-_=\r\n ", max_size=200))
@example("data:" + "," * 1000)
@example("\ud800")
@example("=" * 1000)
def test_any_text_decodes_or_fails_cleanly(text: str) -> None:
    try:
        status, size = 200, len(decode_base64(text))
    except ImageError as error:
        status, size = error.status, 1
    assert status in (200, 400)
    assert 0 < size <= max(1, len(text))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from([b"", b"II*\0", b"MM\0*"]), st.binary(max_size=120))
def test_any_exif_has_orientation(start: bytes, rest: bytes) -> None:
    assert 1 <= exif_orientation(start + rest) <= 8


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "letter"), [(1, "B"), (3, "H"), (4, "I")])
def test_orientation_among_other_entries(order: str, kind: int, letter: str) -> None:
    head = b"II*\0" if order == "<" else b"MM\0*"
    first = struct.pack(f"{order}HHII", 0x010F, 2, 4, 0x41424300)
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + struct.pack(f"{order}{letter}", 8)
    exif = head + struct.pack(f"{order}IH", 8, 2) + first + entry.ljust(12, b"\0")
    assert exif_orientation(exif) == 8


def test_metadata_does_not_change_picture() -> None:
    """Profiles, comments and thumbnails are left out before a file is decoded."""
    picture = noise(40, 50)
    plain = decode_image(encoded(picture, "JPEG"), LIMIT)
    data = encoded(picture, "JPEG", icc_profile=b"x" * 70_000, comment=b"hello")
    assert np.array_equal(decode_image(data, LIMIT), plain)
    extra = bombs.chunk(b"tEXt", b"a\0b") + bombs.chunk(b"gAMA", b"\0\0\xb1\x8f")
    data = encoded(picture)
    data = data[:33] + extra + data[33:]
    assert np.array_equal(decode_image(data, LIMIT), picture)
    for options in ({"lossless": True}, {"quality": 90}):
        plain = decode_image(encoded(picture, "WEBP", **options), LIMIT)
        data = encoded(picture, "WEBP", icc_profile=b"x" * 501, xmp=b"<x/>", **options)
        assert np.array_equal(decode_image(data, LIMIT), plain)
