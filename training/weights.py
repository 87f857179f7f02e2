"""Build the networks of the line, and keep their weights as float16 safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.precision import mixed_precision
from training.warps import normalised
from vision.labels import BASIC_PARTS, DAMAGE_KINDS, PART_NAMES, TYPE_NAMES
from vision.networks import build_network

CLASSES = len(PART_NAMES) + 1  # the background, too
BASIC_CLASSES = len(BASIC_PARTS) + 1
TURNS = 4
# Added to a car's box, in shares of its sides, as in the descriptions of both type networks.
MARGIN = {"side": 0.04, "top": 0.15, "bottom": 0.04}
PARTS_SIZE, TYPES_SIZE, LAYOUT_SIZE = (384, 512), (192, 288), (32, 48)
# The options of `vision.networks.build_network`, as in the descriptions in `models/`.
PARTS: dict[str, Any] = {
    "backbone": "tf_efficientnet_lite2",
    "classes": CLASSES,
    "separable": [4],
}
TYPES: dict[str, Any] = {"model_name": "tf_efficientnet_lite0", "num_classes": len(TYPE_NAMES) + 2}
DAMAGE: dict[str, Any] = PARTS | {"classes": len(DAMAGE_KINDS) + 1}
LAYOUT: dict[str, Any] = {
    "labels": BASIC_CLASSES,
    "size": list(LAYOUT_SIZE),
    "classes": len(TYPE_NAMES) + TURNS,
}


def basic_labels(probabilities: Tensor) -> Tensor:
    """Return probabilities (n, labels, h, w) with the body panels as background.

    The type networks see cars this way, see `img_to_segments.CoarseSegmentation.basic`.
    """
    basic = probabilities[:, :BASIC_CLASSES].clone()
    basic[:, 0] += probabilities[:, BASIC_CLASSES:].sum(1)
    return basic


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the weights in float16, atomically."""
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    fresh = path.with_suffix(".new")
    save_file(state, fresh)
    fresh.replace(path)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load weights that `save_weights` wrote, for the same network or one with fewer outputs.

    Further outputs of the last layer start as the background does, the first output.

    Raises:
        ValueError: the weights belong to another network.
    """
    own = network.state_dict()
    state = {name: value.float() for name, value in load_file(path).items()}
    for name, value in state.items():
        if name in own and value.ndim and len(value) < len(own[name]) and _is_last(name):
            more = value[:1].expand(len(own[name]) - len(value), *value.shape[1:])
            state[name] = torch.cat([value, more])
    try:
        keys = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another network: {error}") from error
    missing = [key for key in keys.missing_keys if not key.endswith("num_batches_tracked")]
    if missing or keys.unexpected_keys:
        stranger = (missing + keys.unexpected_keys)[0]
        raise ValueError(f"{path} holds the weights of another network: {stranger}")


def load_body(network: nn.Module, path: Path) -> None:
    """Load the weights of a part network without its head into one with other labels."""
    state = {name: value.float() for name, value in load_file(path).items()}
    body = {name: value for name, value in state.items() if not _is_last(name)}
    missing = network.load_state_dict(body, strict=False).missing_keys
    assert all(_is_last(name) or name.endswith("num_batches_tracked") for name in missing)


def _is_last(name: str) -> bool:
    return name.startswith(("head.", "classifier."))


def load_network(
    architecture: str, options: dict[str, Any], path: Path, device: torch.device
) -> nn.Module:
    """Build a network with the weights of a file, in evaluation mode."""
    network = build_network(architecture, options)
    load_weights(network, path)
    network.to(device)
    network.to(memory_format=torch.channels_last)
    return network.eval()


@torch.no_grad()
def predict(network: nn.Module, photos: Tensor, batch: int) -> Tensor:
    """Return the logits of at most `batch` photos (n, 3, h, w) of 0 to 255, in float32.

    The network sees full batches only: each new shape costs a GPU seconds.
    """
    x = F.pad(normalised(photos), (0, 0, 0, 0, 0, 0, 0, batch - len(photos)))
    with mixed_precision(x.device):
        logits = network(x.contiguous(memory_format=torch.channels_last))
    result: Tensor = logits[: len(photos)].float()
    return result
