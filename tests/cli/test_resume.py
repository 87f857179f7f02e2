"""`python segment.py FOLDER` stopped in the middle, and run again."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pybase64
import pytest
import requests
from click.testing import CliRunner, Result
from PIL import Image

import segment
from cli import segmenters
from cli.output_formats import OUTPUT_FORMATS
from cli.run_log import FOLDER, RunLog
from cli.service_segmenter import FETCHES
from pipeline import Pipeline
from settings import REPOSITORY
from tests.support.fakes import Gate
from tests.support.pictures import encoded, noise
from tests.support.server import Server, clean_environment
from tests.support.waiting import wait_until

COUNT = 40


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> Gate:
    made = Gate(pipeline)
    made.open.set()
    monkeypatch.setattr(segmenters, "open_pipeline", lambda settings, **kinds: made)
    return made


@pytest.fixture
def folder(tmp_path: Path, sample: bytes) -> Path:
    """Return a few small photos in two folders."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    car = tmp_path / "photos" / "car.jpg"
    with Image.open(REPOSITORY / "sample" / "car.png") as picture:
        picture.thumbnail((320, 320))
        car.write_bytes(encoded(picture.convert("RGB"), "JPEG"))
    for seed in range(3):
        (tmp_path / "photos" / "more" / f"{seed}.png").write_bytes(encoded(noise(20, 30, seed)))
    return tmp_path / "photos"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(segment.main, [str(argument) for argument in arguments])


def contents(out: Path) -> dict[str, bytes]:
    """Return the results by name."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and FOLDER not in path.parts
    }


def lines(out: Path) -> list[dict[str, str]]:
    """Return the lines of the run log."""
    noted = (out / FOLDER / "done.jsonl").read_text().splitlines()
    return [json.loads(line) for line in noted]


# --- what is done again, and what is not


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_second_run_does_nothing(form: str, folder: Path, counting: Gate, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(folder, "--format", form, "--out", out).exit_code == 0
    assert counting.calls == 4
    before = contents(out)
    ended = run(folder, "--format", form, "--out", out)
    assert ended.exit_code == 0
    assert ended.stderr == "4 of 4 were done before.\n4 done, 0 failed.\n"
    assert counting.calls == 4
    assert contents(out) == before
    assert run(folder, "--format", form, "--out", out, "--anew").exit_code == 0
    assert counting.calls == 8
    assert contents(out) == before
    assert not (out / FOLDER / "parts").exists()


@pytest.mark.parametrize("form", ["json", "coco"])
def test_changed_photos_are_processed_again(
    form: str, folder: Path, counting: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def calls(*options: str) -> int:
        """Return the number of photos processed; check the results against a run from nothing."""
        before = counting.calls
        assert run(folder, "--format", form, "--out", out, *options).exit_code == 0
        done = counting.calls - before
        if not done:
            return 0
        fresh = tmp_path / f"fresh-{before}"
        assert run(folder, "--format", form, "--out", fresh, *options).exit_code == 0
        assert contents(fresh).items() <= contents(out).items()
        return done

    some = 1 if form == "json" else 4  # merged results are not kept one by one
    assert calls() == 4
    photo = folder / "more" / "1.png"
    os.utime(photo)
    assert calls() == 0  # the bytes are the same
    size, times = photo.stat().st_size, photo.stat()
    photo.write_bytes(encoded(noise(20, 30, seed=50)))
    assert photo.stat().st_size == size  # only the bytes differ
    assert calls() == some
    (folder / "new.png").write_bytes(encoded(noise(20, 30, seed=51)))
    assert calls() == (1 if form == "json" else 5)
    os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert calls() == 0
    assert calls("--tolerance", "3") == 5
    assert calls() == 5  # the files had other options
    assert calls("--min-confidence", "0.2", "--topology", "shared") == 5
    assert calls() == 5
    result = out / ("car.json" if form == "json" else "coco.json")
    result.write_bytes(b"{}")
    assert calls() == (1 if form == "json" else 5)
    result.unlink()
    assert calls() == (1 if form == "json" else 5)
    shutil.move(folder, tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", folder)
    assert calls() == 0
    (folder / "new.png").unlink()
    assert calls() == (0 if form == "json" else 4)
    monkeypatch.setattr("vision.model_files.RESULTS", 0)  # as after an upgrade of the models
    assert calls() == 4
    assert calls() == 0


def test_two_formats_with_same_names(folder: Path, counting: Gate, tmp_path: Path) -> None:
    for form in ("json", "labelme", "json", "json"):
        run(folder, "--format", form, "--out", tmp_path / "both")
        run(folder, "--format", form, "--out", tmp_path / form)
        assert contents(tmp_path / "both").keys() == contents(tmp_path / form).keys()
        for name, data in contents(tmp_path / "both").items():
            assert data == contents(tmp_path / form)[name]
    assert counting.calls == 4 * (1 + 1 + 1 + 0) + 4 * (1 + 1 + 0 + 0)


@pytest.mark.parametrize("form", ["svg", "cvat"])
def test_only_failed_photos_are_retried(
    form: str, folder: Path, counting: Gate, tmp_path: Path
) -> None:
    bad = folder / "more" / "1.png"
    good = bad.read_bytes()
    bad.write_bytes(b"broken")
    out = tmp_path / "out"
    ended = run(folder, "--format", form, "--out", out)
    assert (ended.exit_code, counting.calls) == (1, 3)
    ended = run(folder, "--format", form, "--out", out)
    assert ended.stderr.startswith("3 of 4 were done before.\n")
    assert ended.stderr.endswith("3 done, 1 failed.\n")
    assert (ended.exit_code, counting.calls) == (1, 3)
    bad.write_bytes(good)
    assert run(folder, "--format", form, "--out", out).exit_code == 0
    assert counting.calls == 4
    run(folder, "--format", form, "--out", tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_truncated_log_line_is_processed_again(
    folder: Path, counting: Gate, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(folder, "--out", out)
    noted = out / FOLDER / "done.jsonl"
    noted.write_bytes(b'[1]\n"x"\n{}\n\xff\xfe\n' + noted.read_bytes()[:-20])
    assert run(folder, "--out", out).exit_code == 0
    assert counting.calls == 5
    assert run(folder, "--out", out).exit_code == 0
    assert counting.calls == 5


def test_folder_in_use(folder: Path, counting: Gate, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with RunLog(out):
        ended = run(folder, "--out", out)
    assert ended.exit_code == 1
    assert "Another run writes into" in ended.stderr
    assert counting.calls == 0


def test_unwritable_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    ended = run(folder, "--out", tmp_path / "file" / "out")
    assert ended.exit_code == 1
    assert ended.stderr.endswith("Not a directory.\n")
    assert "Traceback" not in ended.stderr


def test_quiet_shows_failures_only(folder: Path, counting: Gate, tmp_path: Path) -> None:
    assert run(folder, "--out", tmp_path / "out", "--quiet").stderr == ""
    (folder / "bad.png").write_bytes(b"broken")
    (line,) = run(folder, "--out", tmp_path / "out", "--quiet").stderr.splitlines()
    assert "bad.png: This is not an image" in line


# --- a stop in the middle


class Between(ThreadingHTTPServer):
    """Passes everything on to a service, and counts what is posted and fetched."""

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), BetweenHandler)
        self.service = url
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.posted: Counter[str] = Counter()
        self.questions = 0
        self.fetched = threading.Semaphore(0)


class BetweenHandler(BaseHTTPRequestHandler):
    server: Between
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/batch":
            for image in json.loads(data)["images"]:
                self.server.posted[hashlib.sha256(pybase64.b64decode(image)).hexdigest()] += 1
        self.server.questions += self.path == "/status"
        headers = {"Content-Type": self.headers.get("Content-Type", "")}
        answer = requests.request(
            self.command, self.server.service + self.path, data=data, headers=headers, timeout=60
        )
        if "/segments" in self.path:
            self.server.fetched.release()
        self.send_response(answer.status_code)
        for name in ("Content-Type", "Retry-After"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = answer  # noqa: N815 (names of the standard library)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def between(server: Server) -> Iterator[Between]:
    made = Between(server.url)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def start(*arguments: str | Path, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start `python segment.py` as a user does."""
    return subprocess.Popen(
        [sys.executable, REPOSITORY / "segment.py", *arguments],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


def many(folder: Path, first: int) -> Path:
    """Return photos that no other test has, so that the service must do each."""
    folder.mkdir()
    for seed in range(first, first + COUNT):
        (folder / f"{seed}.png").write_bytes(encoded(noise(24, 32, seed)))
    return folder


@pytest.mark.parametrize(("form", "first"), [("json", 1000), ("coco", 2000)])
def test_resume_after_kill(between: Between, tmp_path: Path, form: str, first: int) -> None:
    photos, out = many(tmp_path / "photos", first), tmp_path / "out"
    command: list[str | Path] = [
        photos,
        "--format",
        form,
        "--out",
        out,
        "--server",
        between.url,
        "--at-once",
        "8",
    ]
    process = start(*command, stderr=subprocess.DEVNULL)
    for _ in range(12):
        assert between.fetched.acquire(timeout=120)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    noted = {line["photo_hash"] for line in lines(out)}
    assert 2 <= len(noted) < COUNT
    assert not (out / "coco.json").exists()
    once = between.posted.copy()
    process = start(*command)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0
    assert errors.decode() == (
        f"{len(noted)} of {COUNT} were done before.\n{COUNT} done, 0 failed.\n"
    )
    # Nothing of what was done is posted again, and all the rest.
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in photos.iterdir()}
    assert set(between.posted - once) == hashes - noted
    twice = [image_hash for image_hash, count in between.posted.items() if count > 1]
    assert len(twice) <= 8 + 2 * FETCHES + 1
    fresh = run(photos, "--format", form, "--out", tmp_path / "fresh", "--server", between.url)
    assert fresh.exit_code == 0
    assert contents(out) == contents(tmp_path / "fresh")


def test_resume_after_ctrl_c(between: Between, tmp_path: Path) -> None:
    photos, out = many(tmp_path / "photos", 3000), tmp_path / "out"
    command: list[str | Path] = [photos, "--out", out, "--server", between.url, "--at-once", "8"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as behind &
    process = start(*command)
    signal.signal(signal.SIGINT, before)
    for _ in range(12):
        assert between.fetched.acquire(timeout=120)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    stopped = re.fullmatch(
        rf"Stopped\.\n(\d+) of {COUNT} are done\. Run the same command again to continue\.\n",
        errors.decode(),
    )
    assert stopped
    assert int(stopped[1]) == len(lines(out)) == len(contents(out))
    assert run(*command).exit_code == 0
    assert len(contents(out)) == COUNT


def test_service_stops_during_run(start_server: Callable[..., Server], tmp_path: Path) -> None:
    service = start_server(tmp_path / "data")
    photos, out = many(tmp_path / "photos", 4000), tmp_path / "out"
    process = start(photos, "--out", out, "--server", service.url, "--at-once", "8")

    def some_are_done() -> bool:
        assert process.poll() is None
        return (out / FOLDER / "done.jsonl").exists() and len(lines(out)) >= 3

    wait_until(some_are_done)
    service.process.kill()
    service.process.wait()
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "does not answer" in errors.decode()
    assert f" of {COUNT} are done. Run the same command again to continue.\n" in errors.decode()
    assert "Traceback" not in errors.decode()


def test_progress_on_a_terminal(between: Between, tmp_path: Path) -> None:
    photos = many(tmp_path / "photos", 5000)
    ours, theirs = pty.openpty()
    process = start(photos, "--out", tmp_path / "out", "--server", between.url, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how a terminal ends on Linux
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert process.wait(60) == 0
    assert re.search(rb"Photos .*\d+/40 .*\d+\.\d/s", seen)
    assert b"40/40" in seen
    assert between.questions < 200
