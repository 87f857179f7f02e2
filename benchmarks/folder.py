"""Segment a folder through a real service, stopped by `kill -9` and run again.

    python -m benchmarks.folder --photos 1000 --kill-at 400

Prints the number of photos with a result at the kill, the number that the second run added, the
number that the service processed in all, and the largest memory of the two runs.
"""

from __future__ import annotations

import argparse
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from settings import REPOSITORY
from tests.support.pictures import car_photo
from tests.support.server import Server


def results(out: Path) -> int:
    """Return the number of photos with a result."""
    noted = out / ".carseg" / "done.jsonl"
    return noted.read_bytes().count(b"\n") if noted.exists() else 0


def worked_on(address: str) -> float:
    """Return the number of photos that the service has processed."""
    with urllib.request.urlopen(f"{address}/metrics") as answer:  # noqa: S310 (our own)
        found = re.search(r'carseg_jobs_total\{outcome="ready"\} (\S+)', answer.read().decode())
    assert found
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--kill-at", type=int, default=400)
    parser.add_argument("--format", default="json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos, out = Path(folder) / "photos", Path(folder) / "out"
        photos.mkdir()
        for seed in range(given.photos):
            (photos / f"{seed}.jpg").write_bytes(car_photo(seed))
        with Server.start(Path(folder) / "data") as service:
            command = [sys.executable, str(REPOSITORY / "segment.py"), str(photos)]
            command += ["--format", given.format, "--out", str(out), "--server", service.url]
            began = time.monotonic()
            first = subprocess.Popen(command)
            while results(out) < given.kill_at:
                assert first.poll() is None
                time.sleep(0.02)
            first.send_signal(signal.SIGKILL)
            first.wait()
            killed, before = time.monotonic() - began, results(out)
            print(f"killed after {killed:.0f} s: {before} of {given.photos} have a result")
            began = time.monotonic()
            subprocess.run(command, check=True)
            seconds = time.monotonic() - began
            done = given.photos - before
            print(f"second run: {done} in {seconds:.0f} s, {done / seconds:.1f} per second")
            began = time.monotonic()
            subprocess.run(command, check=True)
            print(f"third run, with nothing to do: {time.monotonic() - began:.1f} s")
            print(f"the service worked on {worked_on(service.url):.0f} photos")
            # The service is excluded because it still runs.
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            print(f"largest memory of the runs: {memory / 1024:.0f} MB")


if __name__ == "__main__":
    main()
