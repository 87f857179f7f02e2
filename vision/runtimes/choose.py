"""What runs the networks: one small interface, and the choice of what stands behind it.

torch is the reference; ONNX Runtime gives the same answers several times as fast on a CPU, and
needs no torch; OpenVINO computes in bfloat16 where the CPU can, which is faster still and a little
less exact. Only the one that was chosen is ever imported.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from vision.model_files import MODELS, ModelDescription
from vision.runtimes.base import ActiveCalls, Runtime

Name = Literal["onnx", "torch", "openvino"]
RuntimeSetting = Literal["auto", "onnx", "torch", "openvino"]

_PACKAGES: dict[Name, str] = {"onnx": "onnxruntime", "torch": "torch", "openvino": "openvino"}
_CPU = Path("/proc/cpuinfo")


class RuntimeMissingError(Exception):
    """The package that is needed is not installed; the message is for whoever starts us."""


@dataclass(frozen=True)
class RuntimeConfig:
    """A runtime that is there.

    Attributes:
        name: which.
        threads: cores that one call may use. With torch it is a setting of the whole process.
        calls: how many come at the same time at most. A lone call may use the cores of all where
            that changes no bit of its result, that is, not with torch.
        crowd: whoever makes calls enters it while they work, networks or not, so that a call can
            tell whether others need the cores.
    """

    name: Name
    threads: int = 1
    calls: int = 1
    crowd: ActiveCalls = field(default_factory=ActiveCalls, compare=False, repr=False)

    def load(self, description: ModelDescription, folder: Path = MODELS) -> Runtime:
        """Load the described network. Raises ModelError if a file of it can't be used."""
        if self.name == "torch":
            from vision.runtimes.torch_runtime import TorchRuntime

            return TorchRuntime(description, folder, self.threads)
        if self.name == "openvino":
            from vision.runtimes.openvino_runtime import OpenvinoRuntime

            return OpenvinoRuntime(description, folder, self.threads, self.calls)
        from vision.runtimes.onnx_runtime import OnnxRuntime

        return OnnxRuntime(description, folder, self.threads, self.calls, self.crowd)


def choose(wish: RuntimeSetting = "auto", threads: int = 1, calls: int = 1) -> RuntimeConfig:
    """Find the runtime to use.

    Args:
        wish: `auto` takes the fastest that is installed and right for the machine.
        threads, calls: see `RuntimeConfig`.

    Raises:
        RuntimeMissingError: what is wished for is not installed.
    """
    if wish != "auto" and not _installed(wish):
        raise RuntimeMissingError(f"the package {_PACKAGES[wish]} is not installed")
    return RuntimeConfig(_best() if wish == "auto" else wish, threads, calls)


def _best() -> Name:
    """The fastest that is there. Raises RuntimeMissingError if there is none."""
    if _installed("torch") and _torch_sees_a_card():
        return "torch"
    if _installed("openvino") and cpu_has_bfloat16():
        return "openvino"
    names: tuple[Name, ...] = ("onnx", "openvino", "torch")
    for name in names:
        if _installed(name):
            return name
    raise RuntimeMissingError("none of onnxruntime, torch and openvino is installed")


def _installed(name: Name) -> bool:
    return find_spec(_PACKAGES[name]) is not None


def cpu_has_bfloat16() -> bool:
    """Whether the CPU computes in bfloat16; False where that can't be told (not on Linux)."""
    try:
        flags = _CPU.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _torch_sees_a_card() -> bool:
    """Whether torch can compute on an NVIDIA card; torch is imported only if there is one."""
    if not _driver_sees_a_card():
        return False
    import torch

    return torch.cuda.is_available()


def _driver_sees_a_card() -> bool:
    """Whether there is a driver of NVIDIA (`cuInit`, `cuDeviceGetCount`), and a card."""
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(library)
        except OSError:
            continue
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return False
        return count.value > 0
    return False
