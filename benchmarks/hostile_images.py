"""Test the service with many damaged files and bombs, and measure their cost.

    .venv/bin/python -m benchmarks.hostile_images damage --count 10000
    .venv/bin/python -m benchmarks.hostile_images bombs

`damage` posts COUNT mutations of several valid files of each format to the app, whose
networks are replaced by ones that find nothing. `bombs` decodes each file of
tests/hostile/bombs.py in a separate process. Both end with status 1 if a response is not one that
the API promises.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from api.service import service_of
from app import create_app
from settings import REPOSITORY, Settings
from tests.hostile import bombs
from tests.hostile.decode import peak_mb
from tests.hostile.mutations import mutations, seeds
from tests.support.fakes import FakePipeline, paint_nothing
from tests.support.http import body


def damage(count: int, seed: int) -> bool:
    """Post mutations and return True if all responses are as promised."""
    good = True
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(
            Settings(data_dir=Path(folder)),
            pipeline=FakePipeline(paint=paint_nothing),
            status={},
            segments={},
        )
        client = app.test_client()
        for kind in seeds():
            codes: Counter[int] = Counter()
            slowest, before = 0.0, peak_mb()
            for number, data in enumerate(mutations(count, kind, seed)):
                began = time.process_time()
                answer = client.post("/", json=body(data))
                slowest = max(slowest, time.process_time() - began)
                codes[answer.status_code] += 1
                shape = {"message", "image_hash"} if answer.status_code == 200 else {"error"}
                if (
                    answer.status_code not in (200, 400, 413, 415)
                    or set(answer.json or ()) != shape
                ):
                    good = False
                    print(f"{kind} {number} of seed {seed}: {answer.status_code} {answer.json}")
            told = ", ".join(f"{code}: {times}" for code, times in sorted(codes.items()))
            print(
                f"{kind:5} {count} files, {told}; slowest {slowest * 1000:.0f} ms, "
                f"memory +{peak_mb() - before:.0f} MB",
                flush=True,
            )
        jobs = service_of(app).engine
        jobs.close()
    return good


def decode_bombs() -> bool:
    """Decode each bomb in a separate process and return True if all results are as promised."""
    good = True
    builders: dict[str, Callable[[], bytes]] = {**bombs.REFUSED, **bombs.BOUNDED}
    builders |= {name: partial(build, bombs.LEGAL) for name, build in bombs.LARGEST.items()}
    print("| file | MB | answer | seconds of one core | MB of memory |\n|---|---|---|---|---|")
    for name, build in builders.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(build())
            size = path.stat().st_size / bombs.MEGA
            done = subprocess.run(
                [sys.executable, "-m", "tests.hostile.decode", folder],
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                timeout=120,
            )
        answer, seconds, memory = json.loads(done.stdout or "{}").get(name, ("died", 0, 0))
        expected = (400, 413) if name in bombs.REFUSED else (400, "taken")
        good &= answer in expected
        print(f"| {name} | {size:.2f} | {answer} | {seconds:.2f} | {memory:.0f} |", flush=True)
    return good


def main() -> int:
    """Run the chosen test and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("damage", "bombs"))
    parser.add_argument("--count", type=int, default=10_000, help="mutations of each format")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    good = damage(given.count, given.seed) if given.what == "damage" else decode_bombs()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
