"""Build the ONNX graph of a network with its weights inside, to quantise it.

Unlike in the graph of `onnx_graph`, nothing runs in slices: 8-bit maps fit the cache as they are.
Batch norms are merged into the convolutions.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime
import torch

from training.onnx_graph import make_traceable, set_padding, trace
from vision.model_files import MODELS, ModelDescription
from vision.runtimes.torch_runtime import load_network


def make_float_graph(description: ModelDescription, folder: Path = MODELS) -> onnx.ModelProto:
    """Return the float32 graph of a network, with input `input` and output `logits`.

    Args:
        description: of the network.
        folder: holds its weights.

    Raises:
        ModelFileError: the weights can't be used.
    """
    network = load_network(description, folder).to(memory_format=torch.contiguous_format)
    extra = make_traceable(network)
    fields = description.input
    size = (fields.get("height", 192), fields.get("width", 288))
    model = trace(network, description.architecture, (3, *size))
    set_padding(model.graph, extra)
    return _merged(model)


def _merged(model: onnx.ModelProto) -> onnx.ModelProto:
    """Merge batch norms into convolutions, by the first level of ONNX Runtime's optimiser."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "merged.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return onnx.shape_inference.infer_shapes(onnx.load(path))
