"""Build the ONNX graph of a network with its weights inside, to quantise it.

Unlike in the graph of `onnx_graph`, nothing runs in slices: 8-bit maps fit the cache as they are.
Batch norms are merged into the convolutions. The attention of a part network is one operator of
ONNX Runtime. Its last layer multiplies cells by a matrix: as a convolution in float32 it would need
the 8-bit map in another order and in float32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.onnx_graph import make_traceable, set_padding, trace
from vision.model_files import MODELS, ModelDescription
from vision.networks import ContextBlock, PartNetwork
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
    if isinstance(network, PartNetwork):
        _use_operators(network)
    fields = description.input
    size = (fields.get("height", 192), fields.get("width", 288))
    model = trace(network, description.architecture, (3, *size))
    set_padding(model.graph, extra)
    return _merged(model)


class _Attention(torch.autograd.Function):
    """Multi-head attention, which is one operator of ONNX Runtime."""

    @staticmethod
    def forward(_ctx: Any, tokens: Tensor, weight: Tensor, bias: Tensor, heads: int) -> Tensor:
        n, count, _ = tokens.shape
        mapped = (tokens @ weight + bias).reshape(n, count, 3, heads, -1)
        q, k, v = mapped.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(tokens.shape)

    @staticmethod
    def symbolic(graph: Any, tokens: Any, weight: Any, bias: Any, heads: int) -> Any:
        """Return the operator's node for the exporter."""
        node = graph.op("com.microsoft::Attention", tokens, weight, bias, num_heads_i=heads)
        return node.setType(tokens.type())


class _ContextBlock(ContextBlock):
    """A context block with this attention."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position(x)
        tokens = x.flatten(2).transpose(1, 2)
        weight, bias = self.qkv.weight.T, self.qkv.bias
        mixed: Tensor = _Attention.apply(self.norm_attention(tokens), weight, bias, self.heads)
        tokens = tokens + self.project(mixed)
        tokens = tokens + self.mlp(self.norm_mlp(tokens))
        mapped: Tensor = tokens.transpose(1, 2).reshape_as(x)
        return mapped


class _CellsTimesMatrix(nn.Conv2d):
    """A 1x1 convolution that multiplies each cell by a matrix."""

    def forward(self, x: Tensor) -> Tensor:
        cells = x.permute(0, 2, 3, 1)
        return F.linear(cells, self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)


def _use_operators(network: PartNetwork) -> None:
    """Make a part network use operators that ONNX Runtime runs fast in 8 bits, in place."""
    for block in network.context:
        block.__class__ = _ContextBlock
    network.head.__class__ = _CellsTimesMatrix


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
