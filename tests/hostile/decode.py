"""Decode files in a process with little memory: `python -m tests.hostile.decode FOLDER`.

Prints one JSON object: file name -> [status or "taken", seconds of the processor, MB of memory more
than at the start]. Memory is the peak so far, so the order of the names matters.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from segment_interface import ImageError, decode_image
from settings import Settings

LIMIT = 4 << 30  # bytes of address space
SECONDS = 60  # of a processor for all files, then the process is killed


def peak_mb() -> float:
    """Return the peak memory of the process, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would be that of the parent
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def main(folder: Path) -> None:
    """Decode all files of a folder, by name."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    max_pixels = Settings().max_pixels
    answers: dict[str, tuple[int | str, float, float]] = {}
    before = peak_mb()
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        began = time.process_time()
        answer: int | str = "taken"
        try:
            pixels = decode_image(data, max_pixels)
            assert pixels.shape[0] * pixels.shape[1] <= max_pixels
        except ImageError as error:
            answer = error.status
        seconds = time.process_time() - began
        answers[path.name] = (answer, round(seconds, 3), round(peak_mb() - before, 1))
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
