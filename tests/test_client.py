"""`client.py` and `web/carseg.js` against a real service, and against one that is busy."""

from __future__ import annotations

import json
import re
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
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from PIL import Image

from api.openapi import OpenApiApp
from client import CarSeg, CarSegError, Options, Outcome, Result
from jobs.messages import UNEXPECTED
from options import DEFAULT_CONFIDENCE
from settings import REPOSITORY
from tests.support.browser import serving
from tests.support.fakes import FakePipeline
from tests.support.http import body
from tests.support.pictures import SAMPLE, encoded, noise
from tests.support.server import Server, clean_environment

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
        self.paths: list[str] = []
        self.documents: list[dict[str, Any]] = []  # answers; without, that to a photo
        self.headers: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class BusyHandler(BaseHTTPRequestHandler):
    server: Busy

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.server.seen.append((self.command, self.rfile.read(length), time.monotonic()))
        self.server.paths.append(self.path)
        self.server.headers = dict(self.headers)
        refused = self.server.refusals.pop(0) if self.server.refusals else None
        status, headers = refused or (200, {})
        documents = self.server.documents
        taken = documents.pop(0) if documents and not refused else {"image_hash": HASH}
        document = {"error": "Too busy."} if refused else taken
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


def test_photo_to_typed_result(service: CarSeg, server: Server) -> None:
    result = service.segment(SAMPLE)
    assert result == service.segment(SAMPLE.read_bytes()) == service.segment(str(SAMPLE))
    document = requests.get(f"{server.url}/{result.image_hash}/segments", timeout=60).json()
    assert Result.from_json(document) == result
    assert result.image_hash in service.ready()
    assert result.type is not None
    assert result.type.scores[result.type.name] == result.type.confidence
    assert result.model_version == document["model_version"] != ""
    assert (result.rotation, result.other_cars) == (0, False)
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
    everything, nothing = Options(min_confidence=0), Options(min_confidence=1, min_area=9)
    raw = requests.get(f"{address}/mask.png?min_confidence=0", timeout=60).content
    assert service.picture(image_hash, "mask", everything) == raw
    assert service.picture(image_hash, "overlay", nothing) != service.picture(image_hash, "overlay")
    with pytest.raises(CarSegError, match="There is no option 'tolerance'"):
        service.picture(image_hash, "mask", Options(tolerance=4))


def result_json(**fields: Any) -> dict[str, Any]:
    """Return an answer of a service from before turned photos and model versions were reported."""
    plain = {"image_hash": HASH, "width": 9, "height": 6, "message": "No car.", "type": None}
    return plain | {"segments": {}, "parts": []} | fields


PROGRAM = """
    import { CarSeg } from "./web/carseg.js";
    const service = new CarSeg(process.argv[1]);
    const outcome = await service
      .segment(new TextEncoder().encode("photo"), { tolerance: 1 })
      .then(({ message }) => ["result", message], ({ message, status }) => [status, message]);
    console.log(JSON.stringify(outcome));
"""


def segment_in_javascript(url: str) -> list[Any]:
    """Segment a photo with `carseg.js`; return "result" or the status, and the message."""
    ended = subprocess.run(
        ["node", "--input-type=module", "-e", PROGRAM, url],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    outcome: list[Any] = json.loads(ended.stdout)
    return outcome


def segment_in_python(url: str) -> list[Any]:
    """Do the same with `client.py`."""
    with CarSeg(url) as client:
        try:
            return ["result", client.segment(b"photo", Options(tolerance=1)).message]
        except CarSegError as error:
            return [error.status, error.message]


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
languages = pytest.mark.parametrize(
    "segment",
    [
        pytest.param(segment_in_python, id="python"),
        pytest.param(segment_in_javascript, id="javascript", marks=needs_node),
    ],
)


def queries(busy: Busy) -> list[tuple[str, dict[str, list[str]]]]:
    """Return path and query of all requests."""
    parts = [urlsplit(path) for path in busy.paths]
    return [(part.path, parse_qs(part.query)) for part in parts]


@languages
def test_segment_is_one_request(busy: Busy, segment: Callable[[str], list[Any]]) -> None:
    busy.documents = [result_json()]
    assert segment(busy.url) == ["result", "No car."]
    ((path, query),) = queries(busy)
    assert path == "/"
    assert float(query.pop("tolerance")[0]) == 1
    assert query == {"wait": ["10"], "min_confidence": [str(DEFAULT_CONFIDENCE)]}
    assert json.loads(busy.seen[0][1]) == body(b"photo")


@languages
def test_segment_polls_if_service_does_not_wait(
    busy: Busy, segment: Callable[[str], list[Any]]
) -> None:
    standings = [{"status": status, "message": "."} for status in ("Processing", "Ready")]
    busy.documents = [{"image_hash": HASH}, *standings, result_json()]
    assert segment(busy.url) == ["result", "No car."]
    paths = [path for path, _ in queries(busy)]
    assert paths == ["/", f"/{HASH}/status", f"/{HASH}/status", f"/{HASH}/segments"]


@languages
def test_segment_of_photo_that_ends_in_error(
    busy: Busy, segment: Callable[[str], list[Any]]
) -> None:
    busy.refusals = [(404, {})]
    status = None if segment is segment_in_python else 200
    assert segment(busy.url) == [status, "Too busy."]


def test_confidence_is_always_sent(busy: Busy) -> None:
    """A service of another version may have another default."""
    busy.documents = [result_json()]
    with CarSeg(busy.url) as client:
        client.result(HASH)
        client.export(HASH, "svg")
        for name in ("mask", "overlay", "masks/hood"):
            client.picture(HASH, name)
        client.export(HASH, "coco", Options(min_confidence=0))
    asked = f"min_confidence={DEFAULT_CONFIDENCE}"
    assert busy.paths == [
        f"/{HASH}/segments?{asked}",
        f"/{HASH}/segments?format=svg&{asked}",
        f"/{HASH}/mask.png?{asked}",
        f"/{HASH}/overlay.png?{asked}",
        f"/{HASH}/masks/hood.png?{asked}",
        f"/{HASH}/segments?format=coco&min_confidence=0",
    ]


def test_answers_of_older_and_of_newer_services() -> None:
    older = Result.from_json(result_json())
    assert (older.rotation, older.other_cars, older.model_version) == (0, False, "")
    fields = {"rotation": 270, "other_cars": True, "model_version": "a1"}
    newer = Result.from_json(result_json(**fields, something_new=1))
    assert (newer.rotation, newer.other_cars, newer.model_version) == (270, True, "a1")


def test_javascript_has_same_default() -> None:
    code = (REPOSITORY / "web" / "carseg.js").read_text(encoding="utf-8")
    (number,) = re.findall(r"^export const DEFAULT_CONFIDENCE = ([\d.]+);", code, re.MULTILINE)
    assert float(number) == DEFAULT_CONFIDENCE


def test_errors_of_the_service(service: CarSeg) -> None:
    with pytest.raises(CarSegError, match="not an image") as caught:
        service.submit(b"no picture")
    assert caught.value.status == 400
    with pytest.raises(CarSegError, match="no photo with this hash"):
        service.result(HASH)
    with pytest.raises(CarSegError, match="the formats are json, coco"):
        service.export(service.submit(SAMPLE), "png")
    with pytest.raises(FileNotFoundError):
        service.submit("no such file")


KEY = "key-of-the-clients-0123"


@pytest.fixture(scope="module")
def locked(
    start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Yield a service that asks for a key."""
    server = start_server(tmp_path_factory.mktemp("locked"), CARSEG_API_KEYS=KEY)
    yield server
    assert server.stop(signal.SIGTERM) == 0


def test_key(locked: Server) -> None:
    with CarSeg(locked.url, api_key=KEY) as client:
        result = client.segment(encoded(noise(32, 32)))
        assert client.ready() == [result.image_hash]
    for key in (None, "not-the-key-0123456789"):
        with CarSeg(locked.url, api_key=key) as client:
            with pytest.raises(CarSegError) as caught:
                client.ready()
            assert caught.value.status == 401
            assert str(key) not in str(caught.value)


def test_key_is_not_sent_to_other_hosts(
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
def test_key_with_javascript(locked: Server) -> None:
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


def test_key_on_command_line(locked: Server, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(encoded(noise(32, 32)))
    for key, status, words in ((KEY, 0, '"image_hash"'), ("", 1, "Send an API key.")):
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


@pytest.fixture(scope="module")
def narrow(
    start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Yield a service that takes little at once: its queue and its batches are short."""
    server = start_server(
        tmp_path_factory.mktemp("narrow"),
        CARSEG_QUEUE="4",
        CARSEG_BATCH_PHOTOS="5",
        CARSEG_BATCH_MB="0.2",
        CARSEG_MAX_UPLOAD_MB="2",
    )
    yield server
    assert server.stop(signal.SIGTERM) == 0


def crowd(folder: Path) -> list[str | Path | bytes]:
    """Return photos as paths and bytes, one twice, one larger than a batch, and three that fail."""
    folder.mkdir()
    (folder / "car.png").write_bytes(SAMPLE.read_bytes())
    (folder / "bad.png").write_bytes(b"no picture")
    photos: list[str | Path | bytes] = [encoded(noise(32, 32, seed)) for seed in range(14)]
    photos[3:3] = [folder / "car.png", str(folder / "bad.png"), folder / "missing.png"]
    photos += [encoded(noise(300, 400)), photos[0], encoded(noise(900, 900))]  # 0.35 and 2.3 MB
    return photos


def test_many_photos(narrow: Server, service: CarSeg, tmp_path: Path) -> None:
    photos = crowd(tmp_path / "photos")
    options = Options(min_confidence=0.5)
    taken: list[int] = []

    def source() -> Iterator[str | Path | bytes]:
        for number, photo in enumerate(photos):
            taken.append(number)
            yield photo

    with CarSeg(narrow.url) as client:
        outcomes: dict[int, Outcome] = {}
        for outcome in client.segment_many(source(), options, at_once=8):
            assert len(taken) - len(outcomes) <= 10  # no photo is taken long before its time
            outcomes[outcome.number] = outcome
    assert sorted(outcomes) == list(range(len(photos)))
    for number, photo in enumerate(photos):
        outcome = outcomes[number]
        assert outcome.photo == photo
        if outcome.error is None:
            assert outcome.result == service.segment(photo, options)
            assert outcome.result.image_hash == outcome.image_hash
    failed = {number: str(one.error) for number, one in outcomes.items() if one.error is not None}
    assert sorted(failed) == [4, 5, 19]
    assert "not an image" in failed[4]
    assert "No such file" in failed[5]
    assert "the limit is 2 MB" in failed[19]
    with CarSeg(narrow.url) as client:
        assert list(client.segment_many([])) == []
        hashes = [outcome.image_hash or HASH for outcome in outcomes.values()]
        ready = [one is not None and one.status == "Ready" for one in client.statuses(hashes)]
        assert ready == [outcome.error is None for outcome in outcomes.values()]


def test_names_of_files(service: CarSeg, server: Server, tmp_path: Path) -> None:
    for seed, name in ((70, "one.png"), (71, "two.png")):
        (tmp_path / name).write_bytes(encoded(noise(32, 32, seed)))

    def named(image_hash: str | None) -> str:
        coco = json.loads(service.export(image_hash or "", "coco"))
        return str(coco["images"][0]["file_name"])

    result = service.segment(tmp_path / "one.png")
    assert named(result.image_hash) == "one.png"
    (outcome,) = service.finish_many([str(tmp_path / "two.png")])
    assert named(outcome.image_hash) == "two.png"


def test_many_photos_beyond_rate_limit(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server(tmp_path / "data", CARSEG_RATE_LIMIT="6/second")
    photos = [encoded(noise(32, 32, seed)) for seed in range(15)]
    with CarSeg(server.url) as client:
        answers = client.submit_many(photos)
        refused = [answer for answer in answers if not isinstance(answer, str)]
        assert refused
        assert {(error.status, error.retry_after) for error in refused} <= {(429, 1), (429, 2)}
        ended = list(client.finish_many(photos))
    assert sorted(outcome.number for outcome in ended) == list(range(15))
    assert [outcome.error for outcome in ended] == [None] * 15
    assert server.stop(signal.SIGTERM) == 0


def test_forgotten_photos_end_in_error(busy: Busy) -> None:
    unknown = {"photos": [{"image_hash": HASH, "error": "Unknown.", "code": 404}]}
    taken = {"photos": [{"image_hash": HASH, "message": "Taken."}]}
    busy.documents = [taken, unknown] * 3
    with CarSeg(busy.url) as client:
        (outcome,) = client.finish_many([b"photo"])
    assert (outcome.number, outcome.image_hash) == (0, HASH)
    assert "lost it" in str(outcome.error)
    assert len(busy.seen) == 6


def test_failed_examination(make_app: Callable[..., OpenApiApp], tmp_path: Path) -> None:
    stages = FakePipeline(tmp_path)
    photo = encoded(noise(30, 40))
    with serving(make_app(stages=stages)) as url, CarSeg(url) as client:
        image_hash = client.segment(photo).image_hash
        assert client.status(image_hash).damage_error is None
        stages.throw(40, "RuntimeError")
        reason = f"The examination for damage failed: {UNEXPECTED}"
        for outcomes in (
            client.finish_many([photo], damage=True),
            client.segment_many([photo], Options(damage=True)),
        ):
            (outcome,) = outcomes
            assert isinstance(outcome.error, CarSegError)
            assert (outcome.error.message, outcome.error.status) == (reason, 404)
        assert client.status(image_hash).damage_error == UNEXPECTED
        (status,) = client.statuses([image_hash])
        assert status is not None
        assert (status.damage_error, status.is_final) == (UNEXPECTED, True)
        (outcome,) = client.finish_many([photo])
        assert outcome.error is None
        with pytest.raises(CarSegError, match="The examination for damage failed"):
            client.segment(photo, Options(damage=True))


@needs_node
def test_failed_examination_in_javascript(
    make_app: Callable[..., OpenApiApp], tmp_path: Path
) -> None:
    program = """
        import { CarSegMany } from "./web/carseg_many.js";
        const service = new CarSegMany(process.argv[1]);
        const photos = [Buffer.from(process.argv[2], "base64")];
        const ended = [];
        for (const options of [{ damage: true }, {}]) {
          for await (const { error } of service.finishMany(photos, options)) {
            ended.push(error ? [error.message, error.status] : null);
          }
        }
        console.log(JSON.stringify(ended));
    """
    stages = FakePipeline(tmp_path)
    photo = encoded(noise(30, 40))
    with serving(make_app(stages=stages)) as url, CarSeg(url) as client:
        client.segment(photo)
        stages.throw(40, "RuntimeError")
        ended = subprocess.run(
            ["node", "--input-type=module", "-e", program, url, body(photo)["image"]],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
    assert json.loads(ended.stdout) == [
        [f"The examination for damage failed: {UNEXPECTED}", 404],
        None,
    ]


def test_many_photos_without_service() -> None:
    with CarSeg("http://127.0.0.1:9", retries=0) as client, pytest.raises(CarSegError):
        next(client.segment_many([b"photo"]))


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_many_photos_in_javascript(narrow: Server, service: CarSeg) -> None:
    program = """
        import { CarSegMany } from "./web/carseg_many.js";
        const [url, ...photos] = process.argv.slice(1);
        const service = new CarSegMany(url);
        function* source() { for (const photo of photos) yield Buffer.from(photo, "base64"); }
        const seen = [];
        for await (const outcome of service.segmentMany(source(), { atOnce: 8, tolerance: 4 })) {
          const { number, hash, result, error } = outcome;
          seen.push([number, hash, result?.segments, error?.message, error?.status]);
        }
        const hashes = seen.map(([, hash]) => hash ?? "x");
        const ready = (await service.statuses(hashes)).map((now) => now?.status);
        const empty = [];
        for await (const outcome of service.segmentMany([])) empty.push(outcome);
        const stopped = AbortSignal.abort();
        const aborted = await service.segmentMany(source(), { signal: stopped }).next()
          .catch((error) => error.name);
        console.log(JSON.stringify({ seen, ready, empty, aborted }));
    """
    photos = [encoded(noise(32, 32, seed)) for seed in range(20, 31)]
    with Image.open(SAMPLE) as car:
        car.thumbnail((480, 480))
        photos += [encoded(car.convert("RGB"), "JPEG"), b"no picture", photos[0], b"nor this"]
    texts = [body(photo)["image"] for photo in photos]
    ended = subprocess.run(
        ["node", "--input-type=module", "-e", program, narrow.url, *texts],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert sorted(entry[0] for entry in document["seen"]) == list(range(15))
    for number, image_hash, segments, message, status in document["seen"]:
        if number in (12, 14):
            assert "not an image" in message
            assert (image_hash, status) == (None, 400)
            continue
        result = service.segment(photos[number], Options(tolerance=4))
        assert image_hash == result.image_hash
        assert set(segments) == {part.name for part in result.parts}
    assert document["ready"].count("Ready") == 13
    assert document["empty"] == []
    assert document["aborted"] == "AbortError"


def test_wait_timeout(service: CarSeg) -> None:
    with pytest.raises(TimeoutError):
        service.segment(encoded(noise(2000, 1500, seed=9)), timeout=0)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(busy: Busy, status: int) -> None:
    soon = formatdate(time.time() + 2, usegmt=True)
    busy.refusals = [(status, {"Retry-After": "1"}), (status, {"Retry-After": soon})]
    with CarSeg(busy.url, headers={"X-API-Key": "abc"}) as client:
        assert client.submit(b"photo") == HASH
    posts = [(method, data) for method, data, _ in busy.seen]
    assert posts == [("POST", json.dumps(body(b"photo")).encode())] * 3
    assert busy.headers["X-API-Key"] == "abc"
    first, second, _ = (moment for _, _, moment in busy.seen)
    assert second - first >= 1


def test_backoff_without_retry_after(busy: Busy) -> None:
    busy.refusals = [(503, {})] * 3
    with CarSeg(busy.url) as client:
        assert client.submit(b"photo") == HASH
    moments = [moment for _, _, moment in busy.seen]
    assert moments[3] - moments[2] >= 1  # 0.25 seconds, twice as long each time


def test_retries_end(busy: Busy) -> None:
    busy.refusals = [(503, {"Retry-After": "0"})] * 9
    with CarSeg(busy.url, retries=2) as client, pytest.raises(CarSegError, match="Too busy") as e:
        client.submit(b"photo")
    assert e.value.status == 503
    assert len(busy.seen) == 3


def test_unreachable_service() -> None:
    with (
        CarSeg("http://127.0.0.1:9", retries=1) as client,
        pytest.raises(CarSegError, match="does not answer") as caught,
    ):
        client.ready()
    assert caught.value.status is None
    assert caught.value.message == (
        "The service at http://127.0.0.1:9 does not answer; check that it runs there."
    )


def test_address_without_scheme(server: Server) -> None:
    with CarSeg(server.url.removeprefix("http://")) as client:
        assert isinstance(client.ready(), list)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://127.0.0.1:5000", "ftp://127.0.0.1:5000 is not an address such as http://"),
        ("http://127.0.0.1:port", "http://127.0.0.1:port is not an address such as http://"),
        ("", "http: is not an address such as http://"),
    ],
)
def test_unusable_address(url: str, words: str) -> None:
    with CarSeg(url, retries=0) as client, pytest.raises(CarSegError) as caught:
        client.ready()
    assert caught.value.message.startswith(words)


def test_plain_service_by_https(server: Server) -> None:
    address = server.url.replace("http://", "https://")
    with CarSeg(address, retries=0) as client, pytest.raises(CarSegError, match="over HTTPS"):
        client.ready()


def test_address_of_another_service(busy: Busy) -> None:
    with CarSeg(busy.url) as client:
        busy.refusals = [(404, {})]
        with pytest.raises(CarSegError, match="Too busy"):
            client.status(HASH)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_errors_in_javascript(server: Server, busy: Busy) -> None:
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
    asked = f"min_confidence={DEFAULT_CONFIDENCE}"
    assert busy.paths[3:] == [
        f"/{HASH}/segments?{asked}",
        f"/{HASH}/segments?{asked}&format=svg",
        f"/{HASH}/mask.png?{asked}",
        f"/{HASH}/masks/hood.png?min_confidence=0",
    ]
