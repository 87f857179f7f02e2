"""Select bfloat16 if the CPU computes in it, else float32.

Other CPUs emulate bfloat16: one training step of the type network then takes 15 times as long as
in float32 (training/EXPERIMENTS.md).
"""

from __future__ import annotations

from functools import cache

import torch

from vision.runtimes.choose import cpu_has_bfloat16


@cache
def has_bfloat16() -> bool:
    """Return True if training on this CPU uses bfloat16."""
    return cpu_has_bfloat16()


def mixed_precision() -> torch.autocast:
    """Return a context in which a network computes in bfloat16 if that is fast, else in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16())
