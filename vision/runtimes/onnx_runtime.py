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

from vision.model_files import ModelDescription, ModelFileError, verified_graph
from vision.runtimes.base import ActiveCalls


class OnnxRuntime:
    """A network in ONNX Runtime; a `runtimes.Runtime`.

    One photo gives the same bits whatever the number of threads. So there are two sessions over
    the same weights: one for a call that has the cores to itself, and one with a single thread
    for calls that share them, of which as many do a third more in the same time.
    """

    def __init__(
        self,
        description: ModelDescription,
        folder: Path,
        threads: int,
        calls: int,
        crowd: ActiveCalls,
    ) -> None:
        """Load; see `runtimes.Choice` for the arguments.

        Raises:
            ModelError: a file is missing, differs from the manifest, or does not fit.
        """
        graph, weights = verified_graph(description, folder)
        self._crowd, self._calls = crowd, calls
        files = ([description.weights], [weights], [len(weights)])
        try:
            self._wide = _session(graph, files, max(threads, calls))
            self._narrow = _session(graph, files, 1) if calls > 1 else self._wide
        except Exception as error:  # its exceptions have no base class of their own
            raise ModelFileError(f"models/{description.graph} can't be used") from error

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `runtimes.Runtime`."""
        session = self._narrow if self._crowd.size >= self._calls else self._wide
        logits: NDArray[np.float32] = session.run(["logits"], {"input": batch})[0]
        return logits


def _session(
    graph: bytes, files: tuple[list[str], list[bytes], list[int]], threads: int
) -> onnxruntime.InferenceSession:
    """A session over the very bytes that were verified: the files may have changed since."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A thread that waits for work would otherwise keep its core busy, against other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_external_initializers_from_files_in_memory(*files)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
