"""The files in `models/`: descriptions (JSON), weights (safetensors), SHA-256 manifest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import nn

from networks import build_network

MODELS = Path(__file__).resolve().parent / "models"
MANIFEST = "manifest.json"


class ModelError(Exception):
    """A file of `models/` is missing, changed, or does not fit; the message names it."""


@dataclass(frozen=True)
class ModelDescription:
    """What is said about a model in its JSON file, next to its weights.

    Attributes:
        name: for people and logs.
        architecture, options: see `networks.build_network`.
        weights: file name of the weights.
        labels: names of the output channels, in order.
        input: geometry and normalisation of the network's input.
        thresholds: what is decided from the outputs, found on the validation split.
    """

    name: str
    architecture: str
    options: dict[str, Any]
    weights: str
    labels: tuple[str, ...]
    input: dict[str, Any]
    thresholds: dict[str, float]


def read_description(name: str, folder: Path = MODELS) -> ModelDescription:
    """Read `<folder>/<name>.json`.

    Raises:
        ModelError: if it can't be read or a field is missing.
    """
    try:
        fields = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return ModelDescription(
            name=fields["name"],
            architecture=fields["architecture"],
            options=fields["options"],
            weights=fields["weights"],
            labels=tuple(fields["labels"]),
            input=fields["input"],
            thresholds=fields["thresholds"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"models/{name}.json can't be used: {error!r}") from error


def load_network(description: ModelDescription, folder: Path = MODELS) -> nn.Module:
    """Build the described network with its weights, ready for inference.

    Returns:
        A float32 module in evaluation mode, without gradients, channels last; calling it from
        several threads is safe, since nothing of it changes.

    Raises:
        ModelError: if the weights are missing, differ from the manifest, or do not fit.
    """
    weights = load(verified_bytes(description.weights, folder))
    network = build_network(description.architecture, description.options)
    try:
        keys = network.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in weights.items()},
            strict=False,
        )
    except RuntimeError as error:
        raise ModelError(f"models/{description.weights} does not fit the network") from error
    # Batch norm counts its batches in training; inference has no use for that.
    missing = [key for key in keys.missing_keys if not key.endswith("num_batches_tracked")]
    if missing or keys.unexpected_keys:
        raise ModelError(f"models/{description.weights} does not fit the network")
    network.requires_grad_(False)
    return network.eval().to(memory_format=torch.channels_last)


def verified_bytes(file: str, folder: Path = MODELS) -> bytes:
    """The bytes of a file in `folder`, checked against the manifest.

    Raises:
        ModelError: if the file is missing, not in the manifest, or has another SHA-256.
    """
    try:
        expected = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))[file]
        data = (folder / file).read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"models/{file} can't be read: {error!r}") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise ModelError(f"models/{file} is not the file named in models/{MANIFEST}")
    return data


def normalise(pixels: Any, description: ModelDescription) -> torch.Tensor:
    """(h, w, 3) uint8 RGB to the float32 input (1, 3, h, w) of a network, channels last."""
    mean, deviation = description.input["mean"], description.input["std"]
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    return tensor.sub_(mean).div_(deviation).contiguous(memory_format=torch.channels_last)
