"""The networks in torch, the reference, on a graphics card if there is one.

Imported only where it was chosen, and by `training/`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import nn

from vision.model_files import MODELS, ModelDescription, ModelFileError, verified_bytes
from vision.networks import build_network


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
        raise ModelFileError(f"models/{description.weights} does not fit the network") from error
    # Batch norm counts its batches in training; inference has no use for that.
    missing = [key for key in keys.missing_keys if not key.endswith("num_batches_tracked")]
    if missing or keys.unexpected_keys:
        raise ModelFileError(f"models/{description.weights} does not fit the network")
    network.requires_grad_(False)
    return network.eval().to(memory_format=torch.channels_last)


class TorchRuntime:
    """A network in torch; a `runtimes.Runtime`."""

    def __init__(self, description: ModelDescription, folder: Path, threads: int) -> None:
        """Load; `threads` then holds for all of torch in this process.

        Raises:
            ModelError: see `load_network`.
        """
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Convolutions on a card round to 10 bits by default; answers shall be those of a CPU.
        torch.backends.cudnn.allow_tf32 = False
        self._network = load_network(description, folder).to(self._device)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `runtimes.Runtime`."""
        with torch.inference_mode():
            tensor = torch.from_numpy(batch).to(self._device, memory_format=torch.channels_last)
            logits: NDArray[np.float32] = self._network(tensor).float().cpu().numpy()
        return logits
