"""Measure what `make bench` prints first: each goal as a ratio within one run.

A lone client posts JPEGs of 1280 pixels with `?wait` over one connection. The baseline takes turns
with it, so that both see the same machine.
"""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Load
from benchmarks.measuring import MAIN, Task
from benchmarks.whole_answer import BASELINE
from tests.support.pictures import car_photo
from tests.support.server import Server

_WAIT = "/?wait=30"


@dataclass(frozen=True)
class Lone:
    """Seconds of an answer over HTTP and of the baseline, medians of interleaved rounds."""

    answer: float
    baseline: float


def lone(baseline: Task, runtime: str, rounds: int) -> Lone:
    """Measure a lone client of the service with its default settings."""
    times: dict[str, list[float]] = {"answer": [], "baseline": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        Server.start(Path(folder) / "data", CARSEG_RUNTIME=runtime) as running,
    ):
        connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=60)
        for number in range(rounds + 2):
            data = car_photo(number, MAIN[0])
            start = time.perf_counter()
            connection.request("POST", _WAIT, data, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            document = json.loads(answer.read())
            times["answer"].append(time.perf_counter() - start)
            assert answer.status == 200, document
            start = time.perf_counter()
            baseline()
            times["baseline"].append(time.perf_counter() - start)
    return Lone(*(statistics.median(times[name][2:]) for name in ("answer", "baseline")))


@dataclass(frozen=True)
class Measured:
    """The figures from which the goals are computed; None for what was not measured.

    Attributes:
        answers: milliseconds by task, see `whole_answer.answers`.
        lone: see `lone`.
        load: see `load.measure`.
        first: seconds from the start of the service to its first answer.
        memory: of the service in MB.
    """

    answers: dict[str, float]
    lone: Lone | None = None
    load: Load | None = None
    first: float | None = None
    memory: float | None = None


def table(found: Measured) -> str:
    """Return the goals and what was reached, as a table."""
    answers = found.answers
    yolo = answers.get(BASELINE)
    rows: dict[str, str] = {}
    if yolo is not None:
        for name, goal in (
            ("1280x960 JPEG", "<= 0.70"), ("4000x3000 JPEG", "<= 1.1"), ("4000x3000 PNG", "")
        ):  # fmt: skip
            rows[f"whole answer, {name}, x {BASELINE} {goal}"] = f"{answers[name] / yolo:.2f}"
    if found.lone is not None:
        ratio = found.lone.answer / found.lone.baseline
        rows[f"the first over HTTP, lone client, x {BASELINE} <= 0.80"] = f"{ratio:.2f}"
    if found.load is not None and yolo is not None:
        rate = found.load.service * yolo / 1000
        rows[f"8 clients, photos/s x seconds of {BASELINE} >= 1.3"] = f"{rate:.2f}"
    ratio = answers["our parts network"] / answers["our parts network in float32"]
    rows["part network, x its time in float32 <= 0.55 with VNNI, <= 0.70 with AVX2"] = (
        f"{ratio:.2f}"
    )
    if found.first is not None:
        rows["start to first answer <= 1.5 s"] = f"{found.first:.1f} s"
        rows["memory after 20 photos <= 350 MB"] = f"{found.memory:.0f} MB"
    return "\n".join(
        ["| goal | reached |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())]
    )
