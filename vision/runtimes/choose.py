"""Choose the runtime that runs the networks, and load networks in it.

torch is the reference. ONNX Runtime returns the same results several times as fast on a CPU and
needs no torch. In 8 bits it is faster still and slightly less exact, as is OpenVINO, which computes
in bfloat16 if the CPU can. Only the chosen runtime is imported.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from settings import DEFAULT_PRECISION, Precision
from vision.model_files import MODELS, ModelDescription, read_description
from vision.runtimes.base import ActiveCalls, Runtime

RuntimeName = Literal["onnx", "torch", "openvino"]
RuntimeSetting = Literal["auto", "onnx", "torch", "openvino"]

_PACKAGES: dict[RuntimeName, str] = {
    "onnx": "onnxruntime",
    "torch": "torch",
    "openvino": "openvino",
}
_COMMANDS: dict[RuntimeName, str] = {
    "onnx": "make install",
    "torch": "make install TORCH=yes",
    "openvino": ".venv/bin/python -m pip install -r requirements/openvino.txt",
}
CPU_INFO = Path("/proc/cpuinfo")


class RuntimeMissingError(Exception):
    """Error for a runtime that is not installed; the message is for the operator."""


@dataclass(frozen=True)
class RuntimeConfig:
    """An installed runtime with its settings.

    Attributes:
        name: of the runtime.
        threads: cores that one call may use. With torch it is a setting of the whole process.
        calls: most concurrent calls. A lone call may use the cores of all calls if that does not
            change a bit of its result, so not with torch.
        active_calls: counter of active calls. A call includes all work on a photo, inside and
            outside the networks, so that others can see if the cores are needed.
        precision: of the networks that have it; only ONNX Runtime runs networks in 8 bits.
        lean: True to load a network once only for all calls. It needs half of the memory, and
            concurrent calls take a little longer.
    """

    name: RuntimeName
    threads: int = 1
    calls: int = 1
    active_calls: ActiveCalls = field(default_factory=ActiveCalls, compare=False, repr=False)
    precision: Precision = "float32"
    lean: bool = False

    def describe(self, name: str, folder: Path = MODELS) -> ModelDescription:
        """Return the description of a network in the precision in which this runtime runs it.

        Args:
            name: of the description's file.
            folder: holds it.

        Raises:
            ModelFileError: see `read_description`.
        """
        return read_description(name, folder).in_precision(self.precision)

    def load(self, description: ModelDescription, folder: Path = MODELS) -> Runtime:
        """Load the described network.

        Args:
            description: of the network.
            folder: holds its files.

        Raises:
            ModelFileError: one of its files can't be used.
        """
        if self.name == "torch":
            from vision.runtimes.torch_runtime import TorchRuntime

            return TorchRuntime(description, folder, self.threads)
        if self.name == "openvino":
            from vision.runtimes.openvino_runtime import OpenvinoRuntime

            return OpenvinoRuntime(description, folder, self.threads, self.calls, self.active_calls)
        from vision.runtimes.onnx_runtime import OnnxRuntime

        return OnnxRuntime(
            description, folder, self.threads, self.calls, self.active_calls, lean=self.lean
        )


def choose(
    setting: RuntimeSetting = "auto",
    threads: int = 1,
    calls: int = 1,
    precision: Precision = DEFAULT_PRECISION,
) -> RuntimeConfig:
    """Find the runtime to use.

    Args:
        setting: name of a runtime, or `auto` for the fastest installed one that suits the machine.
        threads: see `RuntimeConfig`.
        calls: see `RuntimeConfig`.
        precision: wanted precision; see `RuntimeConfig`.

    Raises:
        RuntimeMissingError: the runtime is not installed.
    """
    if setting != "auto" and not is_installed(setting):
        package, command = _PACKAGES[setting], _COMMANDS[setting]
        raise RuntimeMissingError(
            f"the package {package} is not installed; install it with: {command}"
        )
    name = _best() if setting == "auto" else setting
    return RuntimeConfig(name, threads, calls, precision=precision if name == "onnx" else "float32")


def _best() -> RuntimeName:
    """Return the fastest installed runtime.

    Raises:
        RuntimeMissingError: no runtime is installed.
    """
    if is_installed("torch") and torch_sees_card():
        return "torch"
    if is_installed("openvino") and cpu_has_bfloat16():
        return "openvino"
    names: tuple[RuntimeName, ...] = ("onnx", "openvino", "torch")
    for name in names:
        if is_installed(name):
            return name
    raise RuntimeMissingError(
        "none of onnxruntime, torch and openvino is installed; install the first with: "
        f"{_COMMANDS['onnx']}"
    )


def is_installed(name: RuntimeName) -> bool:
    """Return True if the package of a runtime is installed."""
    return find_spec(_PACKAGES[name]) is not None


def cpu_has_bfloat16(cpu_info: Path = CPU_INFO) -> bool:
    """Return True if the CPU computes in bfloat16; False if unknown, as on Windows.

    Args:
        cpu_info: Linux's description of the CPU.
    """
    try:
        flags = cpu_info.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def torch_sees_card() -> bool:
    """Return True if torch can compute on an NVIDIA card.

    torch is imported only if the driver finds a card.
    """
    if not _driver_sees_a_card():
        return False
    import torch

    return torch.cuda.is_available()


def _driver_sees_a_card() -> bool:
    """Return True if an NVIDIA driver is installed and finds a card.

    It calls the driver's `cuInit` and `cuDeviceGetCount`.
    """
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
