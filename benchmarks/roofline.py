"""Compare the networks' speed with the limits of this machine, by kind of node.

The limits are the best rate of a 3x3 convolution and the rate of a memory copy. The convolution has
256 to 256 channels on maps of several sizes, in the same runtime, precision and number of threads.
Each node of a network has its arithmetic, the bytes that it must read and write at least, and its
time from ONNX Runtime's own profile.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from benchmarks.measuring import MAIN, files, networks
from vision.model_files import MODELS, read_description, verified_graph
from vision.runtimes.choose import RuntimeConfig

_MAPS = (24, 48, 96)  # height and width of the maps of the convolution
_CHANNELS = 256
_RUNS = 20


@dataclass(frozen=True)
class Node:
    """One node of a network in a run.

    Attributes:
        kind: its operation, for people.
        seconds: minimum over all runs.
        flop: multiplications and additions.
        moved: bytes of its inputs, weights and outputs.
    """

    name: str
    kind: str
    seconds: float
    flop: float
    moved: float


@dataclass(frozen=True)
class Roof:
    """The limits of the machine: FLOP/s of a large convolution, bytes/s of a copy."""

    flops: float
    bandwidth: float


def roof(threads: int) -> Roof:
    """Measure the limits of the machine."""
    rates = []
    for side in _MAPS:
        session = _session(_convolution(side), threads)
        batch = np.random.default_rng(0).random((1, _CHANNELS, side, side), np.float32)
        seconds = min(_seconds(lambda: session.run(None, {"x": batch})) for _ in range(_RUNS))  # noqa: B023
        rates.append(2 * 9 * _CHANNELS**2 * side**2 / seconds)
    source = np.ones(32 * 2**20, np.uint8)
    target = np.empty_like(source)
    copy = min(_seconds(lambda: np.copyto(target, source)) for _ in range(_RUNS))
    return Roof(max(rates), 2 * source.nbytes / copy)


def nodes(name: str, threads: int) -> list[Node]:
    """Return all nodes of one of our networks, `parts` or `types`, on the sample picture."""
    description = read_description(name)
    graph, weights = verified_graph(description, MODELS)
    ours = networks(RuntimeConfig("onnx"), files(MAIN)["PNG"])
    _, batch = ours["parts" if name == "parts" else "type"]
    options = _options(threads)
    options.enable_profiling = True
    options.add_external_initializers_from_files_in_memory(
        [description.weights], [weights], [len(weights)]
    )
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        for _ in range(_RUNS):
            session.run(None, {"input": batch})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            runs[event["name"].removesuffix("_kernel_time")].append(event)
    return [_node(node, found) for node, found in runs.items()]


def rate(found: list[Node]) -> float:
    """Return the FLOP/s of a network over all its nodes."""
    return sum(node.flop for node in found) / sum(node.seconds for node in found)


def table(found: list[Node], limit: Roof) -> str:
    """Return a table by kind of node: time, arithmetic, rate relative to the roof."""
    total = sum(node.seconds for node in found)
    lines = [
        "| | nodes | ms | share of time | GFLOP | GFLOP/s | of the roof |",
        "|---|---|---|---|---|---|---|",
    ]
    kinds = sorted({node.kind for node in found}, key=lambda kind: -_sum(found, kind))
    for kind in kinds:
        own = [node for node in found if node.kind == kind]
        seconds, flop = _sum(found, kind), sum(node.flop for node in own)
        lines.append(
            f"| {kind} | {len(own)} | {seconds * 1000:.1f} | {seconds / total:.0%} | "
            f"{flop / 1e9:.2f} | {flop / seconds / 1e9:.0f} | {flop / seconds / limit.flops:.0%} |"
        )
    flop = sum(node.flop for node in found)
    lines.append(
        f"| all | {len(found)} | {total * 1000:.1f} | | {flop / 1e9:.2f} | "
        f"{flop / total / 1e9:.0f} | {flop / total / limit.flops:.0%} |"
    )
    return "\n".join(lines)


def _sum(found: list[Node], kind: str) -> float:
    return sum(node.seconds for node in found if node.kind == kind)


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return options


def _session(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        model.SerializeToString(), _options(threads), ["CPUExecutionProvider"]
    )


def _convolution(side: int) -> onnx.ModelProto:
    """Return a model of one 3x3 convolution over maps of `side` x `side`."""
    weight = np.random.default_rng(1).random((_CHANNELS, _CHANNELS, 3, 3), np.float32)
    shape = [1, _CHANNELS, side, side]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "roof",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _node(name: str, runs: list[dict[str, Any]]) -> Node:
    """Build a node from its events in the profile."""
    details = runs[0]["args"]
    inputs = [_shape(entry) for entry in details["input_type_shape"]]
    outputs = [_shape(entry) for entry in details["output_type_shape"]]
    kind, flop = details["op_name"], 0.0
    if kind == "Conv":
        out, _, high, wide = inputs[1]
        flop = 2.0 * math.prod(inputs[1]) * math.prod(outputs[0][2:])
        depthwise = inputs[1][1] == 1 and out > 1
        kind = f"{'depthwise ' if depthwise else ''}convolution {high}x{wide}"
    elif kind in ("MatMul", "Gemm", "FusedMatMul"):
        kind, flop = "matrix product", 2.0 * math.prod(outputs[0]) * inputs[0][-1]
    else:
        kind = "all others"
    moved = 4.0 * sum(math.prod(shape) for shape in (*inputs, *outputs))
    return Node(name, kind, min(run["dur"] for run in runs) / 1e6, flop, moved)


def _shape(entry: dict[str, list[int]]) -> list[int]:
    """Return the shape in an entry like {"float": [1, 3, 384, 512]}."""
    (shape,) = entry.values()
    return shape
