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
from vision.runtimes.base import ActiveCalls


class OpenvinoRuntime:
    """A network in OpenVINO; implements `vision.runtimes.base.Runtime`.

    As in ONNX Runtime, the result is the same to the bit for any number of threads, so a lone call
    has all cores, and concurrent calls have one thread each.
    """

    def __init__(
        self,
        description: ModelDescription,
        folder: Path,
        threads: int,
        calls: int,
        active_calls: ActiveCalls,
    ) -> None:
        """Load the network.

        Args:
            description: of the network.
            folder: holds its files.
            threads: see `vision.runtimes.choose.RuntimeConfig`.
            calls: see `vision.runtimes.choose.RuntimeConfig`.
            active_calls: see `vision.runtimes.choose.RuntimeConfig`.

        Raises:
            ModelFileError: a file is missing, differs from the manifest, or does not fit.
        """
        graph, weights = verified_graph(description, folder)
        self._active_calls, self._calls = active_calls, calls
        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": False})
        precise = "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        options = {
            "INFERENCE_PRECISION_HINT": "f32" if precise else "bf16",
            "ENABLE_CPU_PINNING": False,  # other workers need the cores, too
        }
        wide = options | {"INFERENCE_NUM_THREADS": max(threads, calls), "NUM_STREAMS": 1}
        narrow = options | {"INFERENCE_NUM_THREADS": calls, "NUM_STREAMS": calls}
        # OpenVINO reads external data from files only, so it gets copies of the verified bytes.
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / description.graph
            path.write_bytes(graph)
            (Path(scratch) / description.weights).write_bytes(weights)
            try:
                model = core.read_model(path)
                self._wide = core.compile_model(model, "CPU", wide)
                self._narrow = core.compile_model(model, "CPU", narrow) if calls > 1 else self._wide
            except RuntimeError as error:
                raise ModelFileError(f"models/{description.graph} can't be used") from error
        self._of_thread = threading.local()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `vision.runtimes.base.Runtime`."""
        compiled = self._narrow if self._active_calls.count >= self._calls else self._wide
        if not hasattr(self._of_thread, "requests"):
            self._of_thread.requests = {}
        requests = self._of_thread.requests
        if id(compiled) not in requests:
            requests[id(compiled)] = compiled.create_infer_request()
        logits: NDArray[np.float32] = requests[id(compiled)].infer([batch], share_inputs=True)[0]
        return logits
