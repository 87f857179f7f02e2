"""Build the ONNX graph of a network, with the safetensors file of its weights as external data.

The graph depends on the description and on the layout of that file, never on the values of the
weights. So networks of one architecture have one graph.
"""

from __future__ import annotations

import json
import warnings
from io import BytesIO
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from training.slices import padding_behind, slice_large_maps
from vision.model_files import weights_header, weights_layout
from vision.networks import build_network

_OPSET = 17  # the first with LayerNormalization
_AXES: dict[str, dict[str, dict[int, str]]] = {
    "pyramid": {
        "input": {0: "batch", 2: "height", 3: "width"},
        "logits": {0: "batch", 2: "height_by_4", 3: "width_by_4"},
    },
    "classifier": {"input": {0: "batch"}, "logits": {0: "batch"}},
    "shape": {"input": {0: "batch"}, "logits": {0: "batch"}},
}


def make_graph(
    architecture: str, options: dict[str, Any], size: tuple[int, int], file: str, weights: bytes
) -> bytes:
    """Export a network as an ONNX model.

    Args:
        architecture: see `networks.build_network`.
        options: see `networks.build_network`.
        size: (height, width) of the input, multiples of 32; it binds only `classifier` and `shape`.
        file: name of the file of weights, in the folder of the model.
        weights: the content of that file, safetensors in float16.

    Returns:
        The model, with input `input` (N, channels, H, W) and output `logits`, both float32.

    Raises:
        ValueError: the weights belong to another network.
    """
    network = _untrained(architecture, options)
    if architecture == "pyramid":
        slice_large_maps(network)
    extra = make_traceable(network)
    channels = options.get("labels", 3)  # label maps have one channel per label, pictures three
    model = trace(network, architecture, (channels, *size))
    set_padding(model.graph, extra)
    onnx.checker.check_model(model)
    _point_to_weights(model.graph, file, weights)
    # `model_files.verified_graph` checks this property.
    helper.set_model_props(model, {"weights_layout": weights_layout(weights)})
    data: bytes = model.SerializeToString()
    return data


def _untrained(architecture: str, options: dict[str, Any]) -> nn.Module:
    """Return the network with distinct values, because the exporter merges equal tensors."""
    network = build_network(architecture, options).eval()
    generator = torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return network


class _PaddedAlike(Conv2dSame):
    """A convolution with equal padding on both sides; `set_padding` corrects the graph."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(
            x, self.weight, self.bias, self.stride, padding_behind(self), self.dilation, self.groups
        )


def make_traceable(network: nn.Module) -> dict[str, int]:
    """Replace TensorFlow's "same" padding, which is recomputed from each size.

    For even sizes, the only ones used here, it is a constant: kernel - stride, the odd one at the
    end.

    Returns:
        That padding, by the name of the convolution's weight.
    """
    extra = {}
    for name, module in network.named_modules():
        if isinstance(module, Conv2dSame):
            extra[f"{name}.weight"] = module.kernel_size[0] - module.stride[0]
            module.__class__ = _PaddedAlike
    return extra


def trace(network: nn.Module, architecture: str, shape: tuple[int, int, int]) -> onnx.ModelProto:
    """Export a network with all its tensors as they are.

    torch's newer exporter needs minutes for free sizes.

    Args:
        network: in evaluation mode, see `make_traceable`.
        architecture: see `networks.build_network`.
        shape: (channels, height, width) of the input; it binds only `classifier` and `shape`.
    """
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a deprecated exporter and constants
        torch.onnx.export(
            network,
            (torch.zeros(2, *shape),),
            buffer,  # type: ignore[arg-type]  # its type declares only file names
            dynamo=False,
            opset_version=_OPSET,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes=_AXES[architecture],
            training=torch.onnx.TrainingMode.PRESERVE,  # leaves batch norms unchanged
            do_constant_folding=False,
        )
    return onnx.load_model_from_string(buffer.getvalue())


def set_padding(graph: onnx.GraphProto, extra: dict[str, int]) -> None:
    """Set the padding that `make_traceable` returned."""
    cuts = [node for node in graph.node if node.op_type == "Split"]
    whole = {piece: cut.input[0] for cut in cuts for piece in cut.output}
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        weight = whole.get(node.input[1], node.input[1])
        if weight in extra:
            total = extra[weight]
            before = total // 2
            (pads,) = (entry for entry in node.attribute if entry.name == "pads")
            pads.ints[:] = [before, before, total - before, total - before]


def _point_to_weights(graph: onnx.GraphProto, file: str, weights: bytes) -> None:
    """Make all tensors external data in float16, cast to float32 before their use."""
    header = weights_header(weights)
    start = 8 + len(header)
    entries = json.loads(header)
    entries.pop("__metadata__", None)
    if set(entries) != {tensor.name for tensor in graph.initializer}:
        raise ValueError(f"{file} does not hold the weights of the network")
    for tensor in graph.initializer:
        entry = entries[tensor.name]
        if entry["shape"] != list(tensor.dims) or entry["dtype"] != "F16":
            raise ValueError(f"{tensor.name} of {file} is not that of the network")
        first, last = entry["data_offsets"]
        place = {"location": file, "offset": start + first, "length": last - first}
        tensor.ClearField("raw_data")
        tensor.data_type = TensorProto.FLOAT16
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
    for node in graph.node:
        node.input[:] = [f"{name}.float32" if name in entries else name for name in node.input]
    casts = [
        helper.make_node("Cast", [name], [f"{name}.float32"], to=TensorProto.FLOAT)
        for name in entries
    ]
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
