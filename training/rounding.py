"""Round weights to 8 bits so that the outputs of layers change least (GPTQ).

Rounding each weight to its nearest step adds up to large errors where inputs are correlated. Here
the weights of a layer are rounded one input after another, and the error of each is made up for by
the weights that are not rounded yet (Frantar et al., "GPTQ", 2022). It needs the inputs of the
layer on some photos, no labels and no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import numpy_helper

from training.int8_graph import Floats, group_of

_DAMPING = 0.01  # of the mean square of the inputs, so that the inverse exists
_PLACES = 256  # of a map that are looked at for each photo

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Dense:
    """A convolution that is not depthwise, or a product of cells and a matrix.

    Attributes:
        node: in the float32 graph.
        weight: (out, in, k, k), or (in, out) of a matrix.
    """

    node: onnx.NodeProto
    weight: Floats

    @property
    def rows(self) -> Floats:
        """The weights (out, n) of each output."""
        is_matrix = self.node.op_type == "MatMul"
        return self.weight.T if is_matrix else self.weight.reshape(len(self.weight), -1)

    def shaped(self, rows: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return rows (out, n) in the shape of the weight."""
        is_matrix = self.node.op_type == "MatMul"
        return np.ascontiguousarray(rows.T if is_matrix else rows.reshape(self.weight.shape))


def dense_layers(model: onnx.ModelProto, floats: tuple[str, ...]) -> list[Dense]:
    """Return the layers of a float32 graph that are quantised and not depthwise."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    return [
        Dense(node, numpy_helper.to_array(weights[node.input[1]]).astype(np.float32))
        for node in model.graph.node
        if node.op_type in {"Conv", "MatMul"}
        and group_of(node) == 1
        and not node.name.startswith(floats)
    ]


def second_moments(
    model: onnx.ModelProto, layers: Sequence[Dense], batches: Sequence[Floats]
) -> dict[str, Doubles]:
    """Return the second moments (n, n) of the inputs of each layer, by weight.

    Args:
        model: the graph whose maps are looked at.
        layers: see `dense_layers`.
        batches: inputs of the network.
    """
    asked = sorted({layer.node.input[0] for layer in layers} - {"input"})
    session = _session_with(model, asked)
    rng = np.random.default_rng(0)
    sums: dict[str, Doubles] = {}
    for batch in batches:
        maps = dict(zip(asked, session.run(asked, {"input": batch}), strict=True))
        maps["input"] = batch
        for layer in layers:
            columns = _columns(maps[layer.node.input[0]], layer, rng)
            found = columns @ columns.T / columns.shape[1]
            name = layer.node.input[1]
            sums[name] = sums.get(name, 0.0) + found
    return sums


def _session_with(model: onnx.ModelProto, asked: Sequence[str]) -> onnxruntime.InferenceSession:
    """Return a session that also returns the maps `asked`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {output.name for output in copy.graph.output}
    for name in asked:
        if name not in known:
            copy.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _columns(given: Floats, layer: Dense, rng: np.random.Generator) -> Doubles:
    """Return the inputs (n, places) of a layer at some places of its map."""
    if layer.node.op_type == "MatMul":
        cells = given.reshape(-1, given.shape[-1])
        chosen = rng.choice(len(cells), min(_PLACES, len(cells)), replace=False)
        return cells[chosen].T.astype(np.float64)
    attributes = {entry.name: list(entry.ints) for entry in layer.node.attribute}
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    down, across = attributes.get("strides", [1, 1])
    high, wide = layer.weight.shape[2:]
    padded = np.pad(given[0], ((0, 0), (top, bottom), (left, right)))
    windows = sliding_window_view(padded, (high, wide), (1, 2))[:, ::down, ::across]
    rows, columns = windows.shape[1:3]
    places = rng.choice(rows * columns, min(_PLACES, rows * columns), replace=False)
    chosen = windows[:, places // columns, places % columns]  # (in, places, k, k)
    return chosen.transpose(0, 2, 3, 1).reshape(-1, len(places)).astype(np.float64)


def round_weights(
    weight: Doubles, scales: Doubles, moments: Doubles, limit: int
) -> NDArray[np.int8]:
    """Round the weights of a layer.

    Args:
        weight: (out, n).
        scales: (out,) size of a step.
        moments: (n, n) second moments of the inputs.
        limit: largest absolute number of steps.

    Returns:
        (out, n) numbers of steps.
    """
    left = weight.copy()
    damped = moments + np.eye(len(moments)) * (_DAMPING * np.trace(moments) / len(moments) + 1e-12)
    order = np.argsort(-np.diag(damped), kind="stable")  # the inputs that matter most first
    left = left[:, order]
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    upper = np.linalg.cholesky(inverse).T
    steps = np.empty(weight.shape, np.int8)
    for place, number in enumerate(order.tolist()):
        rounded = np.clip(np.round(left[:, place] / scales), -limit, limit)
        steps[:, number] = rounded
        error = (left[:, place] - rounded * scales) / upper[place, place]
        left[:, place + 1 :] -= error[:, None] * upper[place, place + 1 :]
    return steps


def improve(rounded: onnx.ModelProto, layers: Sequence[Dense], moments: dict[str, Doubles]) -> None:
    """Round the weights of a quantised graph anew, in place, with the same scales.

    Args:
        rounded: a graph of `int8_graph.quantised`.
        layers: see `dense_layers`, of its float32 graph.
        moments: see `second_moments`.
    """
    tensors = {tensor.name: tensor for tensor in rounded.graph.initializer}
    for layer in layers:
        name = layer.node.input[1]
        steps = tensors[f"{name}_quantized"]
        scales = numpy_helper.to_array(tensors[f"{name}_scale"])
        limit = int(np.abs(numpy_helper.to_array(steps).astype(int)).max())
        rows = layer.rows.astype(np.float64)
        better = round_weights(rows, scales.astype(np.float64), moments[name], limit)
        steps.CopyFrom(numpy_helper.from_array(layer.shaped(better), steps.name))
