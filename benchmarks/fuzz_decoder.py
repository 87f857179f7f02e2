"""Fuzz the decoder with atheris, guided by coverage, for a bounded time.

    pip install atheris==3.0.0
    python -m benchmarks.fuzz_decoder -max_total_time=300 -rss_limit_mb=2048 -timeout=10

atheris traces the branches of our own and Pillow's Python code, and mutates files to reach more of
them. It is not among the requirements, because it has wheels for few platforms. The run ends at any
exception but ImageError, an array of a wrong shape, a hang of 10 s, or 2 GB of memory, and keeps
the input that caused it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vision", "segment_interface", "PIL"]):
    from segment_interface import ImageError, decode_base64, decode_image
    from tests.hostile.mutations import seeds

MAX_PIXELS = 1_000_000


def one_input(data: bytes) -> None:
    """Decode the data as a file and as a base64 file."""
    try:
        pixels = decode_image(data, MAX_PIXELS)
        good = pixels.ndim == 3 and 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    except ImageError as error:
        good = error.status in (400, 413, 415)
    assert good
    try:
        good = bool(decode_base64(data.decode("latin-1")))
    except ImageError as error:
        good = error.status == 400
    assert good


def main() -> None:
    """Fuzz the decoder, starting from valid files of the named formats, or of all."""
    valid = seeds()
    named = [argument for argument in sys.argv if argument in valid]
    options = [argument for argument in sys.argv if argument not in valid]
    with tempfile.TemporaryDirectory() as corpus:
        for kind in named or valid:
            for number, data in enumerate(valid[kind]):
                (Path(corpus) / f"{kind}-{number}").write_bytes(data)
        atheris.Setup([*options, corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
