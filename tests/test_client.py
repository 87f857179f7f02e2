"""`client.py` and `web/carseg.js` against a real service, and against one that is busy."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from helpers import REPOSITORY, SAMPLE, Server, body, clean_environment, encoded, noise

from client import CarSeg, CarSegError, Options, Result

HASH = "0" * 64


@pytest.fixture(scope="module")
def service(server: Server) -> Iterator[CarSeg]:
    with CarSeg(server.url) as client:
        yield client


class Busy(ThreadingHTTPServer):
    """A server that refuses a number of requests, then answers; remembers them all."""

    def __init__(self, refusals: list[tuple[int, dict[str, str]]]) -> None:
        super().__init__(("127.0.0.1", 0), BusyHandler)
        self.refusals = refusals
        self.seen: list[tuple[str, bytes, float]] = []
        self.headers: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class BusyHandler(BaseHTTPRequestHandler):
    server: Busy

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.server.seen.append((self.command, self.rfile.read(length), time.monotonic()))
        self.server.headers = dict(self.headers)
        refused = self.server.refusals.pop(0) if self.server.refusals else None
        status, headers = refused or (200, {})
        document = {"error": "Too busy."} if refused else {"image_hash": HASH}
        text = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer  # noqa: N815 (names of the standard library)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def busy() -> Iterator[Busy]:
    server = Busy([])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_from_photo_to_typed_result(service: CarSeg, server: Server) -> None:
    result = service.segment(SAMPLE)
    assert result == service.segment(SAMPLE.read_bytes()) == service.segment(str(SAMPLE))
    document = requests.get(f"{server.url}/{result.image_hash}/segments", timeout=60).json()
    assert Result.from_json(document) == result
    assert result.image_hash in service.ready()
    assert result.type is not None
    assert result.type.scores[result.type.name] == result.type.confidence
    hood = next(part for part in result.parts if part.name == "hood")
    x, y, width, height = hood.bbox
    assert all(
        x - 3 <= px <= x + width + 3 and y - 3 <= py <= y + height + 3
        for polygon in hood.polygons
        for px, py in polygon.exterior
    )


def test_options_formats_and_pictures(service: CarSeg, server: Server) -> None:
    image_hash = service.submit(SAMPLE)
    service.wait(image_hash)
    options = Options(tolerance=4, min_confidence=0.5, file_name="ä & b.png")
    assert all(part.confidence >= 0.5 for part in service.result(image_hash, options).parts)
    address = f"{server.url}/{image_hash}"
    query: dict[str, str | float] = {
        "format": "labelme",
        "file_name": "ä & b.png",
        "min_confidence": 0.5,
        "tolerance": 4,
    }
    raw = requests.get(f"{address}/segments", params=query, timeout=60).content
    assert service.export(image_hash, "labelme", options) == raw
    for name in ("mask", "overlay", "masks/hood"):
        raw = requests.get(f"{address}/{name}.png", timeout=60).content
        assert service.picture(image_hash, name) == raw


def test_errors_are_those_of_the_service(service: CarSeg) -> None:
    with pytest.raises(CarSegError, match="not an image") as caught:
        service.submit(b"no picture")
    assert caught.value.status == 400
    with pytest.raises(CarSegError, match="No photo with this hash"):
        service.result(HASH)
    with pytest.raises(CarSegError, match="there are json, coco"):
        service.export(service.submit(SAMPLE), "png")
    with pytest.raises(FileNotFoundError):
        service.submit("no such file")


KEY = "key-of-the-clients-0123"


@pytest.fixture(scope="module")
def locked(
    start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A service that asks for a key."""
    server = start_server(tmp_path_factory.mktemp("locked"), CARSEG_API_KEYS=KEY)
    yield server
    assert server.stop(signal.SIGTERM) == 0


def test_a_key(locked: Server) -> None:
    with CarSeg(locked.url, api_key=KEY) as client:
        result = client.segment(encoded(noise(32, 32)))
        assert client.ready() == [result.image_hash]
    for key in (None, "not-the-key-0123456789"):
        with CarSeg(locked.url, api_key=key) as client:
            with pytest.raises(CarSegError) as caught:
                client.ready()
            assert caught.value.status == 401
            assert str(key) not in str(caught.value)


def test_a_key_is_kept_from_other_hosts_and_goes_before_netrc(
    busy: Busy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with CarSeg(busy.url, api_key=KEY) as client:
        client.submit(b"photo")
        assert busy.headers["Authorization"] == f"Bearer {KEY}"
        elsewhere = f"http://localhost:{busy.server_address[1]}/"
        busy.refusals = [(302, {"Location": elsewhere})]
        client.ready()
        assert KEY not in str(busy.headers)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_a_key_with_javascript(locked: Server) -> None:
    program = """
        import { CarSeg } from "./web/carseg.js";
        const [url, key] = process.argv.slice(1);
        const ready = await new CarSeg(url, { apiKey: key }).ready();
        const status = await new CarSeg(url).ready().catch((error) => error.status);
        console.log(JSON.stringify([ready.length >= 0, status]));
    """
    ended = subprocess.run(
        ["node", "--input-type=module", "-e", program, locked.url, KEY],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(ended.stdout) == [True, 401]


def test_a_key_on_the_command_line(locked: Server, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(encoded(noise(32, 32)))
    for key, status, words in ((KEY, 0, '"image_hash"'), ("", 1, "Send a key.")):
        ended = subprocess.run(
            [sys.executable, "segment.py", str(photo), "--server", locked.url],
            cwd=REPOSITORY,
            env=clean_environment() | {"CARSEG_API_KEY": key},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == status, ended.stderr
        assert words in ended.stdout + ended.stderr


def test_shared_by_threads(service: CarSeg) -> None:
    photos = [encoded(noise(32, 32, seed)) for seed in range(8)]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(service.segment, photos))
    assert len({result.image_hash for result in results}) == 8
    assert all(result.parts == [] for result in results)


def test_waiting_has_an_end(service: CarSeg) -> None:
    with pytest.raises(TimeoutError):
        service.segment(encoded(noise(2000, 1500, seed=9)), timeout=0)


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_the_service_asks(busy: Busy, status: int) -> None:
    soon = formatdate(time.time() + 2, usegmt=True)
    busy.refusals = [(status, {"Retry-After": "1"}), (status, {"Retry-After": soon})]
    with CarSeg(busy.url, headers={"X-API-Key": "abc"}) as client:
        assert client.submit(b"photo") == HASH
    posts = [(method, data) for method, data, _ in busy.seen]
    assert posts == [("POST", json.dumps(body(b"photo")).encode())] * 3
    assert busy.headers["X-API-Key"] == "abc"
    first, second, _ = (moment for _, _, moment in busy.seen)
    assert second - first >= 1


def test_breaks_grow_where_the_service_names_none(busy: Busy) -> None:
    busy.refusals = [(503, {})] * 3
    with CarSeg(busy.url) as client:
        assert client.submit(b"photo") == HASH
    moments = [moment for _, _, moment in busy.seen]
    assert moments[3] - moments[2] >= 1  # 0.25 seconds, twice as long each time


def test_it_gives_up_in_the_end(busy: Busy) -> None:
    busy.refusals = [(503, {"Retry-After": "0"})] * 9
    with CarSeg(busy.url, retries=2) as client, pytest.raises(CarSegError, match="Too busy") as e:
        client.submit(b"photo")
    assert e.value.status == 503
    assert len(busy.seen) == 3


def test_nobody_there() -> None:
    with (
        CarSeg("http://127.0.0.1:9", retries=1) as client,
        pytest.raises(CarSegError, match="does not answer") as caught,
    ):
        client.ready()
    assert caught.value.status is None


def test_somebody_else_there(busy: Busy) -> None:
    with CarSeg(busy.url) as client:
        busy.refusals = [(404, {})]
        with pytest.raises(CarSegError, match="Too busy"):
            client.status(HASH)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_same_in_javascript(server: Server, busy: Busy) -> None:
    busy.refusals = [(503, {"Retry-After": "1"}), (429, {})]
    ended = subprocess.run(
        ["node", "--test", REPOSITORY / "tests" / "carseg.mjs"],
        env={
            "PATH": str(Path(shutil.which("node") or "").parent),
            "SERVICE": server.url,
            "BUSY": busy.url,
            "SAMPLE": str(SAMPLE),
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    posts = [data for method, data, _ in busy.seen if method == "POST"]
    assert posts == [json.dumps(body(b"photo"), separators=(",", ":")).encode()] * 3
    assert busy.seen[1][2] - busy.seen[0][2] >= 1
