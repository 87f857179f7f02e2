"""Measure the throughput and the cost of a cluster: `python -m benchmarks.cluster`.

Everything runs on this machine, in turns: a cluster of Redis, one web process and one worker with
one process or two, and the service with its default engine. Photos are JPEGs of the sample car at
1,024 pixels, each a little different.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import requests

from photo_result import Result
from segment_interface import decode_photo
from tests.support.fakes import FakePipeline, paint_nothing
from tests.support.http import body
from tests.support.pictures import car_photo
from tests.support.redis_cluster import RedisServer, Worker
from tests.support.server import Server

CLIENTS = 4
LONGEST = 1024
LASTS = 0.25  # seconds per photo if two processes share two cores
QUEUE = {"CARSEG_QUEUE": "100000"}

_seeds = count(1_000)


def photos(number: int, longest: int = LONGEST) -> list[bytes]:
    """Return photos that were never posted before."""
    return [car_photo(next(_seeds), longest) for _ in range(number)]


def cpu_seconds(*processes: int) -> float:
    """Return the processor time of processes in seconds."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def post_all(address: str, files: Sequence[bytes]) -> list[str]:
    """Post photos from several clients and return their hashes."""
    left, hashes = list(files), []

    def client() -> None:
        with requests.Session() as session:
            while True:
                try:
                    data = left.pop()
                except IndexError:
                    return
                answer = session.post(address, json=body(data), timeout=60)
                assert answer.status_code == 200, answer.text
                hashes.append(answer.json()["image_hash"])

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return hashes


def until_ready(address: str, hashes: Sequence[str]) -> None:
    """Wait until all photos are Ready."""
    wanted = set(hashes)
    while not wanted <= set(requests.get(address, timeout=60).json()):
        time.sleep(0.1)


class Running:
    """A running service, with its Redis and its worker."""

    def __init__(
        self, service: Server, redis: RedisServer | None = None, worker: Worker | None = None
    ) -> None:
        self.service, self.redis, self.worker = service, redis, worker
        self.address = service.url
        if worker is not None:
            deadline = time.monotonic() + 60
            while requests.get(f"{service.url}/ready", timeout=60).status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        warm_up = post_all(service.url, photos(6))
        until_ready(service.url, warm_up)

    def photos_per_second(self, number: int) -> float:
        """Return the photos per second from the first POST to the last one Ready."""
        files = photos(number)
        begun = time.monotonic()
        until_ready(self.address, post_all(self.address, files))
        return number / (time.monotonic() - begun)


@contextmanager
def one_process(folder: Path) -> Iterator[Running]:
    """Run the service with its default engine."""
    with Server.start(folder / "default", **QUEUE) as service:
        yield Running(service)


@contextmanager
def cluster(
    folder: Path,
    processes: int,
    app: str = "celery_app",
    *,
    work: bool = True,
    lasts: float = 0.0,
) -> Iterator[Running]:
    """Run Redis, a web process and a worker with some processes; `lasts` is for blank photos."""
    name = f"{app}-{processes}-{work}"
    (folder / f"redis-{name}").mkdir()
    redis = RedisServer(folder / f"redis-{name}")
    settings = {"CARSEG_BROKER_URL": redis.url, "FAKE_SECONDS": str(lasts), **QUEUE}
    worker = None
    try:
        if work:
            log = folder / f"{name}.log"
            worker = Worker(log, app, CARSEG_WORKERS=str(processes), **settings)
        with Server.start(folder / name, **settings) as service:
            yield Running(service, redis, worker) if work else _without_worker(service, redis)
    finally:
        if worker is not None:
            worker.kill()
        redis.close()


def _without_worker(service: Server, redis: RedisServer) -> Running:
    running = Running.__new__(Running)
    running.service, running.redis, running.worker = service, redis, None
    running.address = service.url
    return running


def throughput(folder: Path, rounds: int, number: int) -> None:
    """Print the photos per second of one process, and of clusters with one and two processes."""
    rates: dict[str, list[float]] = {"one process, threads": [], "cluster, 1": [], "cluster, 2": []}
    with one_process(folder) as first, cluster(folder, 1) as second, cluster(folder, 2) as third:
        for _ in range(rounds):
            for name, running in zip(rates, (first, second, third), strict=True):
                rates[name].append(running.photos_per_second(number))
    base = statistics.median(rates["one process, threads"])
    print(f"throughput, medians of {rounds} rounds of {number} photos")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"  {name:24} {middle:6.2f} photos/s  {middle / base:5.2f}   {sorted(found)}")


def overhead(folder: Path, number: int) -> None:
    """Print the milliseconds per job that a cluster adds, with an almost idle worker."""
    print("overhead per job in ms, compared with the same work without a cluster")
    _tell("many wait", _overhead(folder, number, 0.0))
    _tell(f"of {LASTS} s", _overhead(folder, round(10 / LASTS), LASTS))
    _tell("one by one", _overhead_alone(folder))


def _bare(number: int, lasts: float) -> tuple[float, float]:
    """Return the seconds per photo without a cluster: elapsed, and of the processor."""
    stages = FakePipeline(paint=paint_nothing, seconds=lasts)
    files = photos(number, longest=64)
    begun, spent = time.perf_counter(), time.process_time()
    for data in files:
        Result.of(stages.analyse(decode_photo(data, 10_000_000)), stages.version).pack()
    return (time.perf_counter() - begun) / number, (time.process_time() - spent) / number


def _overhead(folder: Path, number: int, lasts: float) -> dict[str, float]:
    """Return the overhead while many photos are queued, each of which sleeps `lasts` seconds."""
    bare = _bare(number, lasts)
    with _blank_cluster(folder, lasts) as (running, parent, child):
        files = photos(number, longest=64)
        os.kill(child, signal.SIGSTOP)  # all photos are queued before the worker starts
        hashes = post_all(running.address, files)
        spent = cpu_seconds(parent), cpu_seconds(child)
        begun = time.time()
        os.kill(child, signal.SIGCONT)
        until_ready(running.address, hashes)
        spent = cpu_seconds(parent) - spent[0], cpu_seconds(child) - spent[1]
        assert running.redis is not None
        client: Any = running.redis.client
        ((_, ended),) = client.zrange("carseg:ended", -1, -1, withscores=True)
    return {
        "total": ((ended - begun) / number - bare[0]) * 1e3,
        "parent": spent[0] / number * 1e3,
        "child": (spent[1] / number - bare[1]) * 1e3,
    }


def _overhead_alone(folder: Path) -> dict[str, float]:
    """Return the overhead of photos posted one by one; `total` is from POST to Ready."""
    number = 100
    bare = _bare(number, 0.0)
    with _blank_cluster(folder, 0.0) as (running, parent, child):
        files = photos(number, longest=64)
        spent = cpu_seconds(parent), cpu_seconds(child)
        alone = [_seconds_to_ready(running.address, data) for data in files]
        spent = cpu_seconds(parent) - spent[0], cpu_seconds(child) - spent[1]
    return {
        "total": (statistics.median(alone) - bare[0]) * 1e3,
        "parent": spent[0] / number * 1e3,
        "child": (spent[1] / number - bare[1]) * 1e3,
    }


@contextmanager
def _blank_cluster(folder: Path, lasts: float) -> Iterator[tuple[Running, int, int]]:
    """Run a cluster with one almost idle process; yield it and the pids of parent and process."""
    own = folder / f"blank-{lasts}-{next(_seeds)}"
    own.mkdir()
    with cluster(own, 1, "tests.support.fake_worker", lasts=lasts) as running:
        assert running.worker is not None
        yield running, running.worker.process.pid, running.worker.children()[0]


def _seconds_to_ready(address: str, data: bytes) -> float:
    begun = time.monotonic()
    digest = requests.post(address, json=body(data), timeout=60).json()["image_hash"]
    while requests.get(f"{address}/{digest}/status", timeout=60).json()["status"] != "Ready":
        pass
    return time.monotonic() - begun


def costs(folder: Path, number: int) -> None:
    """Print the costs of a photo for Redis and the web process: memory, network, processor."""
    files = photos(number)
    size = statistics.mean(map(len, files))
    print(f"costs of {number} photos of {size / 1024:.0f} kB")
    with cluster(folder, 2, work=False) as running:
        assert running.redis is not None
        waiting = _deltas(running, number, lambda: post_all(running.address, files))
        _tell("accepted, waiting", waiting)
        print(f"    memory beyond the file {waiting['memory'] - size / 1024:.1f} kB")
    with cluster(folder, 2) as running:
        hashes: list[str] = []

        def whole() -> None:
            hashes.extend(post_all(running.address, photos(number)))
            until_ready(running.address, hashes)

        _tell("accepted and done", _deltas(running, number, whole))

        def fetch() -> None:
            with requests.Session() as session:
                for digest in hashes:
                    session.get(f"{running.address}/{digest}/status?wait=1", timeout=60)
                    session.get(f"{running.address}/{digest}/segments", timeout=60)

        _tell("status and result", _deltas(running, number, fetch))


def _deltas(running: Running, number: int, act: Any) -> dict[str, float]:
    """Return the costs of an action per photo: kB of memory and network, ms of processors."""
    assert running.redis is not None
    client: Any = running.redis.client
    before, spent = client.info(), cpu_seconds(running.service.process.pid)
    act()
    after = client.info()
    spent = cpu_seconds(running.service.process.pid) - spent
    cpu = sum(after[f"used_cpu_{kind}"] - before[f"used_cpu_{kind}"] for kind in ("user", "sys"))
    change = {name: (after[name] - before[name]) / number for name in after if name in _BYTES}
    return {
        "memory": change["used_memory"] / 1024,
        "net in": change["total_net_input_bytes"] / 1024,
        "net out": change["total_net_output_bytes"] / 1024,
        "redis ms": cpu / number * 1e3,
        "web ms": spent / number * 1e3,
    }


_BYTES = ("used_memory", "total_net_input_bytes", "total_net_output_bytes")


def _tell(name: str, figures: dict[str, float]) -> None:
    print(f"  {name:20}" + "".join(f"  {key} {value:8.2f}" for key, value in figures.items()))


def main() -> None:
    """Run the requested measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["throughput", "overhead", "costs"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=60)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the started processes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.what == "throughput":
            throughput(folder, arguments.rounds, arguments.photos)
        elif arguments.what == "overhead":
            overhead(folder, arguments.photos)
        else:
            costs(folder, arguments.photos)


if __name__ == "__main__":
    main()
