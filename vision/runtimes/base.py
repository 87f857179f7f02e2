"""Define the interface of a runtime, and count active calls."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """A network with its weights, safe to call from several threads."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits of a batch (N, channels, H, W), normalised as in training."""
        ...


def release_freed_memory() -> None:
    """Give freed memory back to the system, where the C library can.

    After a network is loaded, the C library keeps as much memory as the network needs.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):  # not glibc
        return


class ActiveCalls:
    """A counter of the calls that are active in all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """Return the number of active calls."""
        return self._count

    @contextmanager
    def track(self) -> Iterator[None]:
        """Count one more call while the block runs."""
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
