"""Measure the service's memory over many photos: `python -m benchmarks.memory --photos 5000`.

Posts distinct photos of mixed sizes to the real service and fetches each result. Prints the
resident memory at intervals, and its growth since photo 500 (or a tenth of all, if that is less).
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.support.http import body
from tests.support.pictures import car_photo
from tests.support.server import Server

SIZES = (240, 320, 480, 640, 800)  # longest sides


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB (VmRSS; Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def measure(photos: int, every: int, clients: int, folder: Path) -> Iterator[tuple[int, float]]:
    """Yield the number of finished photos and the memory in MB, after each `every` photos."""
    with Server.start(folder, CARSEG_LOG_LEVEL="warning") as service:
        address = service.url
        local = threading.local()

        def one(number: int) -> None:
            session = getattr(local, "session", None) or requests.Session()
            local.session = session
            data = car_photo(number, SIZES[number % len(SIZES)])
            digest = session.post(address, json=body(data), timeout=60).json()["image_hash"]
            while True:
                answer = session.get(f"{address}/{digest}/status?wait=10", timeout=60).json()
                if answer["status"] == "Ready":
                    break
                assert answer["status"] != "Error", answer
            assert session.get(f"{address}/{digest}/segments", timeout=60).ok

        with ThreadPoolExecutor(clients) as pool:
            for done in range(0, photos, every):
                list(pool.map(one, range(done, min(photos, done + every))))
                yield min(photos, done + every), resident(service.process.pid)


def main() -> None:
    """Run, print, and write the curve if requested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--csv", type=Path, help="file to write the curve to")
    arguments = parser.parse_args()
    start = min(500, arguments.photos // 10)
    rows: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in measure(arguments.photos, arguments.every, arguments.clients, Path(folder)):
            rows.append(row)
            print(f"{row[0]:6d} photos {row[1]:8.1f} MB", flush=True)
    first = next(memory for done, memory in rows if done >= start)
    print(f"growth since photo {start}: {100 * (rows[-1][1] / first - 1):+.1f} %")
    if arguments.csv:
        with arguments.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("photos", "megabytes"), *rows])


if __name__ == "__main__":
    main()
