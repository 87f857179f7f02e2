"""Run the networks in torch, the reference runtime, on an NVIDIA card if there is one.

`training/` uses this module, too.
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
        A float32 module in evaluation mode, without gradients, channels last. It never changes, so
        it is safe to call from several threads.

    Raises:
        ModelFileError: the weights are missing, differ from the manifest, or do not fit.
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
    # Batch norm counts its batches in training. Inference does not need the count.
    missing = [key for key in keys.missing_keys if not key.endswith("num_batches_tracked")]
    if missing or keys.unexpected_keys:
        raise ModelFileError(f"models/{description.weights} does not fit the network")
    network.requires_grad_(False)
    return network.eval().to(memory_format=torch.channels_last)


class TorchRuntime:
    """A network in torch; implements `vision.runtimes.base.Runtime`."""

    def __init__(self, description: ModelDescription, folder: Path, threads: int) -> None:
        """Load the network.

        Args:
            description: of the network.
            folder: holds its files.
            threads: cores that torch may use in this process.

        Raises:
            ModelFileError: see `load_network`.
        """
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # By default convolutions on a card round to 10 bits. Results must equal those of a CPU.
        torch.backends.cudnn.allow_tf32 = False
        self._network = load_network(description, folder).to(self._device)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `vision.runtimes.base.Runtime`."""
        with torch.inference_mode():
            tensor = torch.from_numpy(batch).to(self._device, memory_format=torch.channels_last)
            logits: NDArray[np.float32] = self._network(tensor).float().cpu().numpy()
        return logits
