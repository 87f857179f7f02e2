"""The networks in ONNX Runtime, on the CPU. Imported only where it was chosen.

The graph (`models/*.onnx`) holds no weights: they are external data in the safetensors file, as
float16 that the graph casts to float32. ONNX Runtime does that once, at load, and then merges batch
norms into convolutions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model_files import ModelDescription, ModelError, verified_graph


class OnnxRuntime:
    """A network in ONNX Runtime; a `runtimes.Runtime`.

    One photo gives the same bits whatever the number of threads.
    """

    def __init__(
        self, description: ModelDescription, folder: Path, threads: int, calls: int
    ) -> None:
        """Load; see `runtimes.Choice` for the arguments.

        Raises:
            ModelError: a file is missing, differs from the manifest, or does not fit.
        """
        graph, weights = verified_graph(description, folder)
        options = onnxruntime.SessionOptions()
        # All calls share these threads, and the one that each call comes from.
        options.intra_op_num_threads = calls * (threads - 1) + 1
        options.inter_op_num_threads = 1
        # A thread that waits for work would otherwise keep its core busy, against other workers.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The very bytes that were verified, not the file, which may have changed since.
        options.add_external_initializers_from_files_in_memory(
            [description.weights], [weights], [len(weights)]
        )
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no base class of their own
            raise ModelError(f"models/{description.graph} can't be used") from error

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `runtimes.Runtime`."""
        logits: NDArray[np.float32] = self._session.run(["logits"], {"input": batch})[0]
        return logits
