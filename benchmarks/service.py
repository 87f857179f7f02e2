"""Run a real service for the benchmarks, `python app.py` on a new folder, and make its photos."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE = REPOSITORY / "sample" / "car.png"
START_SECONDS = 60


def photo(seed: int, longest: int = 320) -> bytes:
    """Return a JPEG of the sample car, cut and lit a little differently for each seed."""
    rng = np.random.default_rng(seed)
    with Image.open(SAMPLE) as opened:
        car = opened.convert("RGB")
    x, y = rng.integers(0, 60, 2).tolist()
    car = car.crop((x, y, car.width - 60 + x, car.height - 60 + y))
    scale = longest / max(car.size)
    car = car.resize((round(car.width * scale), round(car.height * scale)))
    pixels = np.asarray(car) * rng.uniform(0.7, 1.2)
    pixels[0, :4] = seed >> np.arange(0, 32, 8)[:, None] & 255  # makes each seed's photo distinct
    buffer = BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def body(data: bytes) -> dict[str, str]:
    """Return the request body that posts a photo."""
    return {"image": base64.b64encode(data).decode()}


class Service:
    """A `python app.py` on a free port; killed at the end of a `with` block if it still runs."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        """Start the service; `address` waits until it listens."""
        clean = {name: value for name, value in os.environ.items() if name[:7] != "CARSEG_"}
        data_dir.mkdir(parents=True, exist_ok=True)
        with (data_dir / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, REPOSITORY / "app.py"],
                env={**clean, "CARSEG_PORT": "0", "CARSEG_DATA_DIR": str(data_dir), **environment},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def address(self) -> str | None:
        """Return its address; None if it ended before it listened."""
        assert self.process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", self.process.stdout.readline())
        return None if found is None else found.group()

    def kill(self) -> None:
        """Kill the service with `kill -9`, and wait for its end."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()
