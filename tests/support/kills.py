"""Kill a real service at random moments while clients post, and count the losses.

A service is started again and again, and killed with `kill -9` at a moment between process start
and some seconds of work. The last start is left to finish. Then each accepted photo must have ended
exactly once, with the same result as from the networks alone.
"""

from __future__ import annotations

import collections
import itertools
import json
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import requests

from exports import export, find_format
from jobs.messages import STOPPED_TWICE
from options import PLAIN
from photo_result import Result
from pipeline import Pipeline
from segment_interface import decode_image
from settings import network_threads
from tests.support.http import body
from tests.support.pictures import car_photo
from tests.support.server import Server
from tests.support.waiting import wait_until

CLIENTS = 3
PATIENCE = 600.0  # seconds for the queue that is left after the kills
PAUSE = 0.25  # seconds between two posts of a client


@dataclass
class Load:
    """Clients that post new photos one by one to the service that runs at the time."""

    address: str | None = None
    accepted: dict[str, int] = field(default_factory=dict)  # hash -> seed
    refused: collections.Counter[int] = field(default_factory=collections.Counter)
    pause: float = PAUSE
    stop: threading.Event = field(default_factory=threading.Event)
    seeds: itertools.count[int] = field(default_factory=itertools.count)

    def post(self) -> None:
        """Post until stopped. A photo without a response was not accepted."""
        while not self.stop.wait(self.pause):
            address, seed = self.address, next(self.seeds)
            if address is None:
                continue
            try:
                answer = requests.post(address, json=body(car_photo(seed)), timeout=10)
            except requests.RequestException:
                continue
            if answer.status_code == 200:
                self.accepted[answer.json()["image_hash"]] = seed
            else:
                self.refused[answer.status_code] += 1


@dataclass(frozen=True)
class Report:
    """The counts at the end of a run."""

    kills: int
    kills_before_it_listened: int
    accepted: int
    ready: int
    given_up: int  # ended in Error after two kills during work; posted again they are Ready
    lost: int
    wrong: int
    duplicated: int
    refused: dict[int, int]


def run(rounds: int, folder: Path, seed: int = 0, pause: float = PAUSE) -> Report:
    """Kill the service `rounds` times, then let it finish, and count."""
    rng = random.Random(seed)
    load = Load(pause=pause)
    clients = [threading.Thread(target=load.post) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    early = 0
    try:
        for _ in range(rounds):
            early += not _one_life(folder, load, rng)
    finally:
        load.stop.set()
        for client in clients:
            client.join()
    with Server.start(folder, CARSEG_QUEUE="100000") as service:
        return count(service.url, load, rounds, early)


def _one_life(folder: Path, load: Load, rng: random.Random) -> bool:
    """Start the service and kill it; return True if it had started to listen."""
    with Server.start(folder, CARSEG_QUEUE="100000") as service:
        if rng.random() < 0.15:
            time.sleep(rng.uniform(0.0, 3.0))
            return False
        load.address = service.url
        time.sleep(rng.uniform(0.0, 5.0))
        service.kill()
        load.address = None
        return True


def count(address: str, load: Load, kills: int, early: int = 0) -> Report:
    """Wait until all accepted photos have ended, and count their outcomes."""
    states: dict[str, dict[str, str]] = {}
    for digest in load.accepted:
        states[digest] = _wait_for_end(address, digest)
    given_up = [d for d, state in states.items() if state.get("message") == STOPPED_TWICE]
    for digest in given_up:
        requests.post(address, json=body(car_photo(load.accepted[digest])), timeout=60)
        states[digest] = _wait_for_end(address, digest)
    ready = [d for d, state in states.items() if state.get("status") == "Ready"]
    listed = requests.get(address, timeout=60).json()
    return Report(
        kills=kills,
        kills_before_it_listened=early,
        accepted=len(load.accepted),
        ready=len(ready),
        given_up=len(given_up),
        lost=len(load.accepted) - len(ready),
        wrong=sum(_is_wrong(address, digest, load.accepted[digest]) for digest in ready),
        duplicated=len(listed) - len(set(listed)),
        refused=dict(load.refused),
    )


def _wait_for_end(address: str, digest: str) -> dict[str, str]:
    """Return the status of a photo that has ended, also of an unknown one."""
    status: dict[str, str] = {}

    def has_ended() -> bool:
        status.clear()
        status.update(requests.get(f"{address}/{digest}/status", timeout=60).json())
        return status.get("status") not in ("Uploaded", "Processing")

    wait_until(has_ended, PATIENCE)
    return status


_alone: dict[str, Pipeline] = {}


def _is_wrong(address: str, digest: str, seed: int) -> bool:
    """Return True if the service's result differs from that of the networks alone."""
    pipeline = _alone.setdefault("pipeline", Pipeline(threads=network_threads()))
    analysis = pipeline.analyse(decode_image(car_photo(seed), 10_000_000))
    alone = Result.of(analysis, pipeline.version)
    expected = json.loads(export(digest, alone, find_format("json"), PLAIN))
    given = requests.get(f"{address}/{digest}/segments", timeout=60).json()
    return bool(given != expected)
