"""Define the interface of a runtime, and count active calls."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """A network with its weights, safe to call from several threads."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits of a batch (N, channels, H, W), normalised as in training."""
        ...


class ActiveCalls:
    """A counter of the `with` blocks that are active in all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size = 0

    @property
    def size(self) -> int:
        """Return the number of active blocks."""
        return self._size

    def __enter__(self) -> ActiveCalls:
        with self._lock:
            self._size += 1
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._size -= 1
