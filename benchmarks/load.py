"""Measure photos per second over HTTP, relative to a bare loop over both networks on all cores.

Eight clients in a separate process on the same cores post distinct photos of 1280 pixels, poll the
status until Ready, and fetch the results, each over one connection. The bare loop only runs the
networks, on prepared inputs of a photo like the posted ones. Its rate is the better of one loop
with two threads and two loops with one thread. Service and loops take turns.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.measuring import MAIN, networks
from tests.support.http import body
from tests.support.pictures import car_photo
from tests.support.server import Server
from vision.runtimes.choose import RuntimeConfig, choose

CLIENTS = 8
PHOTOS = 64  # in each round
DUPLICATES = 100
_PAUSE = 0.1  # seconds before a client polls again after an immediate response


@dataclass(frozen=True)
class Load:
    """The figures of a measurement.

    Attributes:
        service, one_by_two, two_by_one: photos per second, medians over the rounds.
        median, p99: seconds from a post to the result, over the photos of all rounds.
        duplicate: seconds to post a known photo, median.
    """

    service: float
    one_by_two: float
    two_by_one: float
    median: float
    p99: float
    duplicate: float

    @property
    def bare(self) -> float:
        """The rate of the better bare loop."""
        return max(self.one_by_two, self.two_by_one)

    def table(self) -> str:
        """Return all figures as a table."""
        rows = {
            "bare loop, 1 x 2 threads": f"{self.one_by_two:.1f} photos/s",
            "bare loop, 2 x 1 thread": f"{self.two_by_one:.1f} photos/s",
            f"service, {CLIENTS} clients": f"{self.service:.1f} photos/s, "
            f"{self.service / self.bare:.2f} of the bare loop",
            "a photo under load": f"median {self.median:.2f} s, p99 {self.p99:.2f} s, "
            f"{self.p99 / self.median:.1f} x",
            "a duplicate": f"{self.duplicate * 1000:.1f} ms",
        }
        return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def measure(runtime: str, rounds: int = 3, seconds: float = 4.0) -> Load:
    """Measure the service with its default settings."""
    chosen = choose(runtime)  # type: ignore[arg-type]
    rates: dict[str, list[float]] = {"service": [], "1x2": [], "2x1": []}
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Server.start(Path(folder) / "data") as running:
        port = int(running.url.rpartition(":")[2])
        bodies = [_posted(number) for number in range(rounds * PHOTOS + CLIENTS)]
        _in_process(port, bodies[rounds * PHOTOS :])  # warms up
        one, two = (replace(chosen, threads=threads) for threads in (2, 1))
        for turn in range(rounds):
            rates["1x2"].append(bare(one, 1, seconds))
            rates["2x1"].append(bare(two, 2, seconds))
            rate, times = _in_process(port, bodies[turn * PHOTOS : (turn + 1) * PHOTOS])
            rates["service"].append(rate)
            taken += times
        duplicate = _duplicate(port, bodies[0])
    return Load(
        service=statistics.median(rates["service"]),
        one_by_two=statistics.median(rates["1x2"]),
        two_by_one=statistics.median(rates["2x1"]),
        median=statistics.median(taken),
        p99=float(np.percentile(taken, 99)),
        duplicate=duplicate,
    )


def bare(choice: RuntimeConfig, loops: int, seconds: float) -> float:
    """Return the photos per second of loops over both networks, each with separate sessions."""
    given = [networks(choice, car_photo(0, MAIN[0])) for _ in range(loops)]
    counts = [0] * loops
    start = time.perf_counter()

    def loop(number: int) -> None:
        while time.perf_counter() < start + seconds:
            for network, batch in given[number].values():
                network(batch)
            counts[number] += 1

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(loops)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def clients(port: int, bodies: list[bytes]) -> tuple[float, list[float]]:
    """Return the photos per second, and the seconds of each, posted by CLIENTS clients."""
    local = threading.local()

    def one(data: bytes) -> float:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection = local.connection
        start = time.perf_counter()
        address = f"/{_ask(connection, 'POST', '/', data)['image_hash']}"
        while (state := _ask(connection, "GET", f"{address}/status?wait=10")["status"]) != "Ready":
            assert state != "Error", address
            time.sleep(_PAUSE)
        assert _ask(connection, "GET", f"{address}/segments")["image_hash"] in address
        return time.perf_counter() - start

    begin = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        times = list(pool.map(one, bodies))
    return len(bodies) / (time.perf_counter() - begin), times


def _posted(number: int) -> bytes:
    return json.dumps(body(car_photo(number, MAIN[0]))).encode()


def _in_process(port: int, bodies: list[bytes]) -> tuple[float, list[float]]:
    """Run `clients` in a separate process, so that it does not hold our interpreter lock."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(clients, (port, bodies))


def _duplicate(port: int, data: bytes) -> float:
    """Return the median seconds to post a known photo."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times = []
    for _ in range(DUPLICATES):
        start = time.perf_counter()
        answer = _ask(connection, "POST", "/", data)
        times.append(time.perf_counter() - start)
        assert "known" in answer["message"]
    return statistics.median(times)


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, data: bytes | None = None
) -> dict[str, str]:
    connection.request(method, path, data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found: dict[str, str] = json.loads(answer.read())
    assert answer.status == 200, found
    return found
