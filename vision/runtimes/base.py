"""Define what a runtime is, and count the calls that are active."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """A network with its weights. Safe to call from several threads."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a batch (N, channels, H, W), in the form that the network was trained on."""
        ...


class ActiveCalls:
    """Counts what is worked on at this moment, in `with` blocks of any threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size = 0

    @property
    def size(self) -> int:
        """How many blocks are entered."""
        return self._size

    def __enter__(self) -> ActiveCalls:
        with self._lock:
            self._size += 1
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._size -= 1
