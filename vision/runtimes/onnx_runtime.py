"""Run the networks in ONNX Runtime, on the CPU.

A graph in float32 (`models/*.onnx`) holds no weights: they are external data in the safetensors
file, in float16, and the graph casts them to float32. ONNX Runtime casts them once, at load, and
then merges batch norms into convolutions. A graph in 8 bits (`models/*.int8.onnx`) holds its
weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vision.model_files import (
    ModelDescription,
    ModelFileError,
    verified_bytes,
    verified_graph,
)
from vision.runtimes.base import ActiveCalls, release_freed_memory

# Microseconds for which a thread waits for the next node before it sleeps. A longer wait would keep
# its core busy at the cost of other programs (benchmarks/README.md#threads).
_SPIN = "30"

_Files = tuple[list[str], list[bytes], list[int]]  # names, contents and lengths


class OnnxRuntime:
    """A network in ONNX Runtime; implements `vision.runtimes.base.Runtime`.

    The result of a photo is the same to the bit for any number of threads. So there are two
    sessions over the same weights: one for a call that has all cores, and one with a single thread
    for concurrent calls. With one thread each, concurrent calls process a third more photos in the
    same time.
    """

    def __init__(
        self,
        description: ModelDescription,
        folder: Path,
        threads: int,
        calls: int,
        active_calls: ActiveCalls,
        *,
        lean: bool = False,
    ) -> None:
        """Load the network.

        Args:
            description: of the network.
            folder: holds its files.
            threads: see `vision.runtimes.choose.RuntimeConfig`.
            calls: see `vision.runtimes.choose.RuntimeConfig`.
            active_calls: see `vision.runtimes.choose.RuntimeConfig`.
            lean: see `vision.runtimes.choose.RuntimeConfig`.

        Raises:
            ModelFileError: a file is missing, differs from the manifest, or does not fit.
        """
        self._active_calls, self._calls = active_calls, calls
        files: _Files = ([], [], [])
        if description.precision == "int8":
            graph = verified_bytes(description.graph, folder)
        else:
            graph, weights = verified_graph(description, folder)
            files = ([description.weights], [weights], [len(weights)])
        try:
            self._wide = _session(graph, files, max(threads, calls))
            self._narrow = _session(graph, files, 1) if calls > 1 and not lean else self._wide
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ModelFileError(f"models/{description.graph} can't be used") from error
        release_freed_memory()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `vision.runtimes.base.Runtime`."""
        session = self._narrow if self._active_calls.count >= self._calls else self._wide
        logits: NDArray[np.float32] = session.run(["logits"], {"input": batch})[0]
        return logits


def _share_arena() -> None:
    """Let all sessions of this process take memory for their maps from one arena.

    With an arena each, memory that one network has freed would not serve the others.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    onnxruntime.create_and_register_allocator(memory, None)


_share_arena()  # only once in a process


def _session(graph: bytes, files: _Files, threads: int) -> onnxruntime.InferenceSession:
    """Return a session over the verified bytes, since the files may have changed on disk.

    Args:
        graph: the ONNX graph.
        files: names, contents and lengths of its external data files.
        threads: of the session.
    """
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN)
    if files[0]:
        options.add_external_initializers_from_files_in_memory(*files)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
