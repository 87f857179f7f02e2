"""Run the networks in OpenVINO, in bfloat16 if the CPU computes in it.

OpenVINO is not installed by default: see requirements/openvino.txt.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from vision.model_files import ModelDescription, ModelFileError, verified_graph


class OpenvinoRuntime:
    """A network in OpenVINO; implements `vision.runtimes.base.Runtime`."""

    def __init__(
        self, description: ModelDescription, folder: Path, threads: int, calls: int
    ) -> None:
        """Load the network.

        Args:
            description: of the network.
            folder: holds its files.
            threads: see `vision.runtimes.choose.RuntimeConfig`.
            calls: see `vision.runtimes.choose.RuntimeConfig`.

        Raises:
            ModelFileError: a file is missing, differs from the manifest, or does not fit.
        """
        graph, weights = verified_graph(description, folder)
        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": False})
        precise = "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        options = {
            "INFERENCE_PRECISION_HINT": "f32" if precise else "bf16",
            "INFERENCE_NUM_THREADS": threads * calls,
            "NUM_STREAMS": calls,
            "ENABLE_CPU_PINNING": False,  # other workers need the cores, too
        }
        # OpenVINO reads external data from files only, so it gets copies of the verified bytes.
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / description.graph
            path.write_bytes(graph)
            (Path(scratch) / description.weights).write_bytes(weights)
            try:
                self._compiled = core.compile_model(core.read_model(path), "CPU", options)
            except RuntimeError as error:
                raise ModelFileError(f"models/{description.graph} can't be used") from error
        self._of_thread = threading.local()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `vision.runtimes.base.Runtime`."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        logits: NDArray[np.float32] = self._of_thread.request.infer([batch], share_inputs=True)[0]
        return logits
