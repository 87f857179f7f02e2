"""Quantise the ONNX graph of a network to 8 bits, after its training.

Weights are int8 with a scale per output channel, maps are uint8 with a scale and a zero point. Each
convolution is between QuantizeLinear and DequantizeLinear nodes, which ONNX Runtime merges into one
8-bit operator. The range of a map is that of its values on some photos. Weights of dense
convolutions and of the last layer have 7 bits: AVX2 adds two products in 16 bits, which 8-bit
weights overflow. Depthwise convolutions have no such step. The outputs of the last layer stay in
float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    CalibrationMethod,
    TensorsData,
    create_calibrator,
)
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

Floats = NDArray[np.float32]

_OPERATORS = ("Conv", "MatMul", "Add", "Resize", "Clip", "Relu", "Transpose")
_OPTIONS = {"OpTypesToExcludeOutputQuantization": ["MatMul"]}  # logits stay in float32


@dataclass(frozen=True)
class Recipe:
    """How a network is quantised.

    Attributes:
        floats: prefixes of the names of nodes that stay in float32.
        wide_depthwise: True if depthwise convolutions have weights of 8 bits, not 7.
    """

    floats: tuple[str, ...]
    wide_depthwise: bool = True


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
    """A reader of some batches."""

    def __init__(self, batches: Sequence[Floats]) -> None:
        self._batches: Iterator[Floats] = iter(batches)

    def get_next(self) -> dict[str, Floats] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"input": batch}


def find_ranges(model: onnx.ModelProto, batches: Sequence[Floats]) -> TensorsData:
    """Find the ranges of all maps that may be quantised.

    Args:
        model: the float32 graph, see `float_graph`.
        batches: inputs of the network.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "float.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path, _OPERATORS, str(Path(scratch) / "augmented.onnx"), CalibrationMethod.MinMax
        )
        calibrator.collect_data(_Batches(batches))
        ranges: TensorsData = calibrator.compute_data()
    return ranges


def quantised(model: onnx.ModelProto, ranges: TensorsData, recipe: Recipe) -> onnx.ModelProto:
    """Return the graph in 8 bits, each weight rounded to the nearest step.

    Args:
        model: the float32 graph, which stays as it is.
        ranges: see `find_ranges`.
        recipe: of the network.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    skipped = [node.name for node in copy.graph.node if node.name.startswith(recipe.floats)]
    quantizer = QDQQuantizer(
        copy,
        True,  # a scale for each channel
        True,  # weights of 7 bits
        QuantType.QInt8,
        QuantType.QUInt8,
        ranges,
        [],
        skipped,
        _OPERATORS,
        _OPTIONS | {"TensorQuantOverrides": _overrides(copy) if recipe.wide_depthwise else {}},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()  # new nodes are at the end
    result: onnx.ModelProto = quantizer.model.model
    return result


def _overrides(model: onnx.ModelProto) -> dict[str, list[dict[str, object]]]:
    """Return the settings of the weights of depthwise convolutions."""
    wide = {"axis": 0, "quant_type": QuantType.QInt8, "symmetric": True, "reduce_range": False}
    return {
        node.input[1]: [dict(wide)]
        for node in model.graph.node
        if node.op_type == "Conv" and group_of(node) > 1
    }


def group_of(node: onnx.NodeProto) -> int:
    """Return the number of groups of a convolution."""
    return next((int(entry.i) for entry in node.attribute if entry.name == "group"), 1)
