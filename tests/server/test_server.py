"""The real process: `python app.py` on a free port."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from api.schema import ResultAnswer
from exports import FORMATS, export
from options import PLAIN
from photo_result import Result
from pipeline import Pipeline
from segment_interface import decode_image
from settings import REPOSITORY
from tests.support.http import body
from tests.support.pictures import encoded, noise
from tests.support.server import Server, clean_environment
from tests.support.waiting import wait_until


def test_photo_end_to_end(server: Server, pipeline: Pipeline, sample: bytes) -> None:
    image_hash = server.post(sample)
    server.wait(image_hash)
    assert image_hash in requests.get(server.url, timeout=60).json()
    # Another test may have had the photo examined for damage.
    answer = requests.get(f"{server.url}/{image_hash}/segments?damage=false", timeout=60)
    result = answer.json()
    ResultAnswer.model_validate(result)
    alone = Result.of(pipeline.analyse(decode_image(sample, 50_000_000)), pipeline.version)
    assert result == json.loads(export(image_hash, alone, FORMATS["json"], PLAIN))


@pytest.mark.parametrize("chunked", [False, True])
def test_oversized_body_gets_response(server: Server, chunked: bool) -> None:
    """The client must see the 413, not a reset connection."""
    data = b'{"image": "' + b"A" * 60_000_000 + b'"}'
    answer = requests.post(
        server.url,
        data=(data[i : i + 1_000_000] for i in range(0, len(data), 1_000_000)) if chunked else data,
        headers={"Content-Type": "application/json", "Origin": "http://localhost:3000"},
        timeout=120,
    )
    assert answer.status_code == 413
    assert "20 MB" in answer.json()["error"]
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert requests.get(server.url, timeout=60).status_code == 200


def test_connection_stays_open_after_refusal(server: Server) -> None:
    with requests.Session() as session:
        headers = {"Content-Type": "application/json"}
        refused = session.post(server.url, data=b"x" * 40_000_000, headers=headers, timeout=120)
        assert refused.status_code == 413
        assert session.post(server.url, json=body(noise_png()), timeout=60).status_code == 200


def noise_png() -> bytes:
    return encoded(noise(30, 40))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: ".ljust(262_144, b"a"), 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
    ],
)
def test_malformed_http(server: Server, request_: bytes, status: int) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request_)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert set(json.loads(content)) == {"error"}


@pytest.mark.parametrize(
    ("version", "framing", "status"),
    [
        ("1.1", "Content-Length: 5\r\nTransfer-Encoding: chunked", b"415"),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 500", b"415"),
        (
            "1.0",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive",
            b"415",
        ),
    ],
)
def test_two_lengths_close_connection(
    server: Server, version: str, framing: str, status: bytes
) -> None:
    """The second request may be one that a proxy took for a part of the first."""
    first = f"POST / HTTP/{version}\r\nHost: localhost\r\n{framing}\r\n\r\n".encode() + b"0\r\n\r\n"
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(first + b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    assert answer.split()[1] == status
    assert answer.count(b"HTTP/1.") == 1
    assert b"Connection: close" in answer


def test_connection_stays_open_without_content_length(server: Server) -> None:
    """204 and 304 have no body, and the end of a stream is clear."""
    image_hash = server.post(encoded(noise(31, 40)))
    server.wait(image_hash)
    with closing(HTTPConnection(server.url.removeprefix("http://"), timeout=60)) as connection:
        connection.connect()
        connection.auto_open = 0  # a closed connection raises an error instead of being replaced
        known: dict[str, str] = {}
        for method, path, status in (
            ("GET", f"/{image_hash}/segments", 200),
            ("GET", f"/{image_hash}/segments", 304),
            ("HEAD", f"/{image_hash}/segments", 304),
            ("GET", f"/{image_hash}/events", 200),
            ("DELETE", f"/{image_hash}", 204),
            ("DELETE", f"/{image_hash}", 404),
            ("GET", "/health", 200),
        ):
            connection.request(method, path, headers=known)
            answer = connection.getresponse()
            assert answer.status == status
            assert answer.getheader("Connection") is None
            assert bool(answer.read()) == (status in (200, 404))
            known = {"If-None-Match": answer.getheader("ETag") or ""}


@pytest.mark.parametrize(
    "start",
    ["GET / HTTP/1.0\r\n", "DELETE /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"],
)
def test_connection_closes_on_demand(server: Server, start: str) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f"{start}\r\n".encode())
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_loses_no_photo(
    start_server: Callable[..., Server], tmp_path: Path, sample: bytes, number: signal.Signals
) -> None:
    """Photos taken before the signal are Ready before the end or after the next start."""
    data = tmp_path / "data"
    server = start_server(data, CARSEG_WORKERS="1")
    photos = [sample, *(encoded(noise(300, 400, seed)) for seed in range(6))]
    hashes = [server.post(photo) for photo in photos]
    if number == signal.SIGTERM:  # else it stops before the models are loaded
        status = f"{server.url}/{hashes[0]}/status"
        wait_until(lambda: requests.get(status, timeout=60).json()["status"] != "Uploaded")
    assert server.stop(number) == 0
    left = {path.stem for path in (data / "img").iterdir()}
    assert left < set(hashes)

    server = start_server(data, CARSEG_WORKERS="1")
    for image_hash in left:
        server.wait(image_hash)
    assert requests.get(server.url, timeout=60).json() == hashes
    assert list((data / "img").iterdir()) == []
    assert server.stop(signal.SIGTERM) == 0


def test_results_while_service_stops(
    start_server: Callable[..., Server], tmp_path: Path, sample: bytes
) -> None:
    server = start_server(tmp_path / "data", CARSEG_WORKERS="1")
    image_hash = server.post(sample)  # runs, or waits for the models
    status = f"{server.url}/{image_hash}/status"
    wait_until(lambda: requests.get(status, timeout=60).json()["status"] != "Uploaded")
    server.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 60
    refused = None
    while refused is None and time.monotonic() < deadline:
        try:
            answer = requests.post(server.url, json=body(noise_png()), timeout=60)
        except requests.ConnectionError:
            break  # it has ended already
        if answer.status_code == 503:
            refused = answer
    if refused is not None:
        assert set(refused.json()) == {"error"}
    assert server.process.wait(120) == 0
    assert server.stop(signal.SIGTERM) == 0


def _answers(server: Server) -> bool:
    try:
        requests.get(server.url, timeout=60)
    except requests.ConnectionError:
        return False
    return True


def test_flask_run(tmp_path: Path, sample: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "app", "run", "--port", str(port)],
        cwd=REPOSITORY,
        env=clean_environment() | {"CARSEG_DATA_DIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    server = Server(process, f"http://127.0.0.1:{port}")
    try:
        wait_until(partial(_answers, server), 120)
        server.wait(server.post(sample))
    finally:
        server.stop(signal.SIGINT)


HANGING = """
import sys
from pathlib import Path
from api.service import service_of
from app import create_app
from server.serve import listen, serve
from settings import Settings
from tests.support.fakes import FakePipeline

stages = FakePipeline(Path(sys.argv[2]))
stages.hang(40)
settings = Settings(data_dir=Path(sys.argv[1]), port=0, workers=1, job_seconds=0.2)
sockets = listen(settings)
app = create_app(settings, pipeline=stages)
serve(app, service_of(app).engine, settings, sockets)
"""


def test_hanging_job_does_not_block_stop(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING, str(tmp_path / "data"), str(tmp_path)],
        cwd=REPOSITORY, env=clean_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    server = Server(process)
    server.wait(server.post(encoded(noise(30, 40))), "Error")
    assert server.stop(signal.SIGTERM) == 0


def test_port_in_use(server: Server) -> None:
    port = server.url.rpartition(":")[2]
    ended = subprocess.run(
        [sys.executable, "app.py"],
        cwd=REPOSITORY,
        env=clean_environment() | {"CARSEG_PORT": port},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 2
    assert f"CARSEG_PORT={port}: " in ended.stderr
    assert "the port is taken" in ended.stderr
    assert "CARSEG_PORT=8080 make run" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("key", ["", "key-of-a-client-0123"])
def test_printed_example(start_server: Callable[..., Server], tmp_path: Path, key: str) -> None:
    server = start_server(tmp_path / "data", CARSEG_API_KEYS=key)
    assert server.process.stdout is not None
    example = server.process.stdout.readline()
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example],
        cwd=REPOSITORY,
        env=clean_environment() | {"CARSEG_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ResultAnswer.model_validate_json(ended.stdout).segments["hood"]
    assert server.stop(signal.SIGTERM) == 0
