"""Measure the cost of keys, limits, headers and counting: `python -m benchmarks.guards`.

Requests the same small response from several apps in this process: a bare Flask app, and the
service without keys, with ten keys, and with ten keys and a limit. The apps take turns, so that
other load on the machine slows all of them. Prints the median time of a request, and its ratio to
that of the bare app.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from flask import Flask, Response, jsonify
from pydantic import SecretStr

from api.service import service_of
from app import create_app
from settings import Settings
from tests.support.fakes import FakePipeline

ROUNDS, REQUESTS = 60, 50
KEYS = tuple(SecretStr(f"key-number-{number}-0123456789") for number in range(10))
HEADERS = {"X-API-Key": KEYS[-1].get_secret_value()}
ADDRESS = f"/{'0' * 64}/mask.png"  # of an unknown photo, so that nothing is computed


def bare() -> Flask:
    """Return a minimal Flask app: one route, one small JSON."""
    app = Flask("bare")

    @app.get("/<image_hash>/mask.png")
    def unknown(image_hash: str) -> tuple[Response, int]:
        return jsonify(error="There is no photo with this hash."), 404

    return app


def seconds(app: Flask) -> float:
    """Return the median time of one request."""
    client = app.test_client()
    times = []
    for _ in range(REQUESTS):
        start = time.perf_counter()
        client.get(ADDRESS, headers=HEADERS)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measure the apps and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Settings(data_dir=Path(folder), store="memory")
        keys = plain.model_copy(update={"api_keys": KEYS})
        limit = keys.model_copy(update={"rate_limit": "1000000/second"})
        apps: dict[str, Flask] = {"bare Flask": bare()}
        for name, settings in (
            ("service", plain),
            ("service, 10 keys", keys),
            ("service, 10 keys, limit", limit),
        ):
            apps[name] = create_app(settings, pipeline=FakePipeline(), status={}, segments={})
        taken: dict[str, list[float]] = {name: [] for name in apps}
        for _ in range(ROUNDS):
            for name, app in apps.items():
                taken[name].append(seconds(app))
        base = statistics.median(taken["bare Flask"])
        for name, times in taken.items():
            middle = statistics.median(times)
            print(f"{name:24} {middle * 1e6:6.0f} us  {middle / base:5.2f}")
        for app in apps.values():
            if "jobs" in app.extensions:
                service_of(app).engine.close()


if __name__ == "__main__":
    main()
