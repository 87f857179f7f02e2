"""The log: no request forges a line or commands a terminal, no key and no photo is in it."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from logs import JsonLines, TextLines, escaped
from tests.support.http import body
from tests.support.pictures import SAMPLE, encoded, noise
from tests.support.server import Server
from tests.support.waiting import wait_until

EVIL = "a\r\n2026-01-01 00:00:00,000 INFO root: forged\x1b[2J\x00\x7f\x85\u2028\u202e\ud800\u200b"
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) [\w.]+: .*")
KEY = "a-key-that-nobody-sees-0123"


@pytest.fixture(params=[TextLines, JsonLines])
def lines(request: pytest.FixtureRequest) -> tuple[logging.Logger, io.StringIO]:
    """Return a logger, and what it wrote."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request.param())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, stream


def check(text: str, events: int) -> None:
    """Check that there are as many events, none of them forged, without control characters."""
    assert text.endswith("\n")
    written = text[:-1].split("\n")
    assert all(letter.isprintable() for line in written for letter in line)
    heads = [line for line in written if not line.startswith("    ")]
    assert len(heads) == events, heads
    for line in heads:
        assert LINE.fullmatch(line) if line[0] != "{" else isinstance(json.loads(line), dict)
    text.encode("utf-8")


def test_forged_lines(lines: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = lines
    logger.error(EVIL)
    logger.error("on %s %r", EVIL, EVIL)
    logger.error("job", extra={"fields": {"job": EVIL, "n": 1, "reason": "two words", "s": 0.5}})
    try:
        raise ValueError(EVIL) from KeyError(EVIL)
    except ValueError:
        logger.exception("failed %s", EVIL)
        logger.error("failed", stack_info=True)
    check(stream.getvalue(), 5)
    assert "Traceback" in stream.getvalue()


def test_fields_round_trip() -> None:
    record = logging.LogRecord("job", logging.INFO, "", 0, "Job ended", (), None)
    fields = {"job": "ab", "seconds": 0.25, "reason": 'no "car" = none'}
    vars(record)["fields"] = fields
    assert (
        TextLines()
        .format(record)
        .endswith(r'INFO job: Job ended job=ab seconds=0.250 reason="no \"car\" = none"')
    )
    event = json.loads(JsonLines().format(record))
    assert event.pop("time").endswith("Z")
    assert event == {"level": "info", "logger": "job", "message": "Job ended", **fields}


@given(st.text())
def test_any_text_is_one_line(text: str) -> None:
    line = escaped(text)
    line.encode("utf-8")
    assert len(line.splitlines()) <= 1
    assert "\x1b" not in line
    if text.isascii() and text.isprintable():
        assert line == text


def test_long_texts_are_cut() -> None:
    assert len(escaped("x" * 10_000_000)) < 5000


def _has_ended(session: requests.Session, status_url: str) -> bool:
    status = session.get(status_url, timeout=60).json()["status"]
    return status in ("Ready", "Error")


def raw(server: Server, head: bytes, content: bytes = b"") -> None:
    """Send bytes as they are, and read the answer to its end."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head + content)
        while connection.recv(65_536):
            pass


@pytest.mark.parametrize("form", ["text", "json"])
def test_log_of_a_real_server(
    start_server: Callable[..., Server], tmp_path: Path, form: str
) -> None:
    """Every log line stays whole for any request, lines of libraries included."""
    keys = {"CARSEG_API_KEYS": f"{KEY}-1,{KEY}-2", "CARSEG_HOST": "127.0.0.1"}
    server = start_server(
        tmp_path / "data", CARSEG_LOG_LEVEL="debug", CARSEG_LOG_FORMAT=form, **keys
    )
    log = tmp_path / "data.log"
    sample = SAMPLE.read_bytes()
    evil = "%0d%0a2026-01-01%20INFO%20forged%1b[2J%00%e2%80%a8"
    with requests.Session() as session:
        session.headers["X-API-Key"] = f"{KEY}-1"
        hashes = []
        for photo in (sample, encoded(noise(20, 20))):
            answer = session.post(server.url, json=body(photo), timeout=60)
            hashes.append(answer.json()["image_hash"])
        for path in (evil, f"{evil}/status", f"{evil}/segments?format={evil}", f"ui/{evil}"):
            for method in ("GET", "DELETE", "BREW"):
                session.request(method, f"{server.url}/{path}", timeout=60)
        for bad in (EVIL[:-2], f"{KEY}\x1b[2J", base64.b64encode(sample).decode()[:-900]):
            session.post(server.url, json={"image": bad}, timeout=60)
        session.post(server.url, data=b"\x1b[2J\n" * 9, timeout=60)
        for image_hash in hashes:
            status = f"{server.url}/{image_hash}/status?wait=5"
            wait_until(partial(_has_ended, session, status), 120)
    key = f"X-API-Key: {KEY}-1\r\nConnection: close".encode()
    raw(
        server,
        b"GET /\x1b[2J\xff HTTP/1.1\r\nHost: \x1b[2J\r\nX: \x1b]0;x\x07\r\n" + key + b"\r\n\r\n",
    )
    raw(server, b"G\x1b[2JT / HTTP/1.1\r\n\r\n")
    raw(
        server,
        f"GET / HTTP/1.1\r\nAuthorization: Bearer {KEY}-wrong\x1b\r\n".encode()
        + key[19:]
        + b"\r\n\r\n",
    )
    assert server.stop(signal.SIGTERM) == 0

    text = log.read_text(encoding="utf-8")
    check(text, sum(not line.startswith("    ") for line in text[:-1].split("\n")))
    assert "forged" not in text or "\\r\\n" in text
    assert KEY not in text
    assert base64.b64encode(KEY.encode()).decode()[:16] not in text
    for photo in (sample, encoded(noise(20, 20))):
        encoded_photo = base64.b64encode(photo).decode()
        assert encoded_photo[:40] not in text
        assert encoded_photo[1000:1040] not in text
    ended = [line for line in text.split("\n") if "Job ended" in line]
    assert len(ended) == 2
    for image_hash in hashes:
        (line,) = [line for line in ended if image_hash in line]
        assert "parts_seconds" in line
        assert "ready" in line
