"""Kill processes of a cluster while clients post, and count the losses.

`python -m benchmarks.cluster_kills --minutes 10` runs a Redis, two web processes and two workers,
one of them behind a `Cable`. Again and again it kills one target with `kill -9` and starts it
again, or cuts the cable for a minute. Targets are a worker with all its processes, one process of a
worker, a web process, and Redis. At the end each accepted photo must have ended exactly once, with
the same result as from the networks alone.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.kills import CLIENTS, Load, Report, count
from tests.support.redis_cluster import Cable, RedisServer, Worker
from tests.support.server import Server

PAUSE = 2.0  # seconds between two posts of a client
KINDS = ("worker", "process of a worker", "web process", "redis", "cable")


@dataclass
class Parts:
    """The processes of a cluster."""

    folder: Path
    cut: float
    redis: RedisServer = field(init=False)
    cable: Cable = field(init=False)
    workers: list[Worker] = field(default_factory=list)
    services: list[Server] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "redis").mkdir(parents=True)
        self.redis = RedisServer(self.folder / "redis")
        self.cable = Cable(self.redis.port)
        for number in range(2):
            self.workers.append(self._worker(number))
            self.services.append(self._service(number))
            self.addresses.append(self._address(number))

    def _settings(self, port: int) -> dict[str, str]:
        url = f"redis://127.0.0.1:{port}/0"
        return {"CARSEG_BROKER_URL": url, "CARSEG_QUEUE": "100000", "CARSEG_WORKERS": "1"}

    def _worker(self, number: int) -> Worker:
        port = self.cable.port if number else self.redis.port
        return Worker(self.folder / f"worker-{number}.log", **self._settings(port))

    def _service(self, number: int) -> Server:
        return Server.start(self.folder / f"web-{number}", **self._settings(self.redis.port))

    def _address(self, number: int) -> str:
        return self.services[number].url

    def hurt(self, kind: str, load: Load, rng: random.Random) -> None:
        """Kill a process and replace it, or cut the cable and mend it."""
        number = rng.randrange(2)
        if kind == "worker":
            self.workers[number].kill()
            time.sleep(rng.uniform(0, 3))
            self.workers[number] = self._worker(number)
        elif kind == "process of a worker":
            if children := self.workers[number].children():
                os.kill(rng.choice(children), signal.SIGKILL)
        elif kind == "web process":
            load.address = None
            self.services[number].kill()
            self.services[number].__exit__()
            load.address = self.addresses[1 - number]
            self.services[number] = self._service(number)
            self.addresses[number] = self._address(number)
        elif kind == "redis":
            self.redis.kill()
            time.sleep(rng.uniform(0, 5))
            self.redis.start()
        else:
            self.cable.cut()
            time.sleep(self.cut)
            self.cable.mend()
        load.address = self.addresses[rng.randrange(2)]

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.kill()
        for service in self.services:
            service.__exit__()
        self.cable.close()
        self.redis.close()


def run(
    seconds: float, folder: Path, seed: int = 0, cut: float = 60.0, pause: float = 6.0
) -> tuple[Report, collections.Counter[str]]:
    """Apply each kind in random order for some time, then let the cluster finish and count."""
    rng = random.Random(seed)
    load = Load(pause=PAUSE)
    parts = Parts(folder, cut)
    done: collections.Counter[str] = collections.Counter()
    load.address = parts.addresses[0]
    clients = [threading.Thread(target=load.post) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for kind in rng.sample(KINDS, len(KINDS)):
                time.sleep(rng.uniform(0, pause))
                parts.hurt(kind, load, rng)
                done[kind] += 1
        load.stop.set()
        for client in clients:
            client.join()
        return count(parts.addresses[0], load, done.total()), done
    finally:
        load.stop.set()
        parts.close()


def main() -> None:
    """Run and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the started processes
    with tempfile.TemporaryDirectory() as folder:
        report, done = run(arguments.minutes * 60, Path(folder) / "cluster", arguments.seed)
    for name, value in {**done, **vars(report)}.items():
        print(f"{name:26s} {value}")


if __name__ == "__main__":
    main()
