"""Real services, each a process with `python app.py`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from settings import REPOSITORY
from tests.support.http import body


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of the service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CARSEG_")}


class Server:
    """A service in a process; killed at the end of a `with` block if it still runs."""

    def __init__(self, process: subprocess.Popen[str], url: str | None = None) -> None:
        """Wrap a process. Without `url` its first line of output must hold the address."""
        self.process = process
        if url is not None:
            self.url = url

    @classmethod
    def start(cls, data_dir: Path, **environment: str) -> Server:
        """Start `python app.py` as a user does, on a free port; its log is DATA_DIR.log."""
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        with cls.log_file(data_dir).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, REPOSITORY / "app.py"],
                env={
                    **clean_environment(),
                    "CARSEG_PORT": "0",
                    "CARSEG_DATA_DIR": str(data_dir),
                    **environment,
                },
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return cls(process)

    @staticmethod
    def log_file(data_dir: Path) -> Path:
        """Return the log of a service with this folder."""
        return data_dir.parent / f"{data_dir.name}.log"

    @cached_property
    def url(self) -> str:
        """The address; the first access waits until the service listens."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://[\d.]+:\d+", line)
        assert found, f"the service did not start: {line!r}"
        return found.group()

    def post(self, data: bytes) -> str:
        """Post a photo that must be accepted, and return its hash."""
        answer = requests.post(self.url, json=body(data), timeout=60)
        assert answer.status_code == 200, answer.text
        image_hash: str = answer.json()["image_hash"]
        return image_hash

    def wait(self, image_hash: str, state: str = "Ready") -> dict[str, Any]:
        """Poll until a photo is in `state`, and return the answer of the status route."""
        deadline = time.monotonic() + 120
        while True:
            answer: dict[str, Any] = requests.get(
                f"{self.url}/{image_hash}/status", timeout=60
            ).json()
            if answer["status"] == state:
                return answer
            assert answer["status"] not in ("Ready", "Error"), answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal, wait for the end, and return the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(120)
        self._close_output()
        return status

    def kill(self) -> None:
        """Kill the service with `kill -9` if it still runs, and wait for its end."""
        self.process.kill()
        self.process.wait()
        self._close_output()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def _close_output(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()
