"""Choose the device, and bfloat16 if it computes in it.

NVIDIA cards compute in bfloat16. Some CPUs emulate it: one training step of the type network then
takes 15 times as long as in float32 (training/EXPERIMENTS.md).
"""

from __future__ import annotations

from functools import cache

import torch

from vision.runtimes.choose import cpu_has_bfloat16

CPU = torch.device("cpu")


def choose_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def has_bfloat16() -> bool:
    """Return True if training on this CPU uses bfloat16."""
    return cpu_has_bfloat16()


def mixed_precision(device: torch.device = CPU) -> torch.autocast:
    """Return a context in which a network computes in bfloat16 if that is fast, else in float32."""
    enabled = device.type == "cuda" or has_bfloat16()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
