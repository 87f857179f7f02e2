"""Write a models folder: weights as float16 safetensors, ONNX graphs, manifest, descriptions."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from training.onnx_graph import make_graph
from training.weights import PARTS
from vision.labels import PART_NAMES
from vision.model_files import MANIFEST, MODELS, read_description, verified_bytes


def export_weights(state: dict[str, Tensor], file: str, folder: Path = MODELS) -> str:
    """Write a state dict as float16 safetensors to `folder / file`, and list it in the manifest.

    Returns:
        The SHA-256 (hex) of the file.
    """
    halved = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    return write_file(save(halved), file, folder)


def export_graph(file: str, folder: Path = MODELS) -> str:
    """Write the ONNX graph of the network whose weights are `folder / file`; see `make_graph`.

    The folder must hold the network's description under the same name.

    Returns:
        The SHA-256 (hex) of the graph's file.
    """
    description = read_description(Path(file).stem, folder)
    size = (description.input.get("height", 192), description.input.get("width", 288))
    graph = make_graph(
        description.architecture, description.options, size, file, verified_bytes(file, folder)
    )
    return write_file(graph, description.graph, folder)


def export_network(weights: Path, file: str, folder: Path) -> str:
    """Copy the weights of a stage, float16 safetensors, to `folder / file`, and make their graph.

    The folder must hold the network's description under the same name.

    Returns:
        The SHA-256 (hex) of the weights.
    """
    digest = write_file(weights.read_bytes(), file, folder)
    export_graph(file, folder)
    return digest


def export_part_network(weights: Path, out: Path) -> None:
    """Write a models folder that has another part network than `models/`.

    Its description has no figures, since those of the network in `models/` do not apply to it.

    Args:
        weights: float16 safetensors of a network with the options `weights.PARTS`.
        out: the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    for file in (*MODELS.glob("types.*"), *MODELS.glob("shapes.*"), MODELS / MANIFEST):
        shutil.copy(file, out / file.name)
    fields = read_fields("parts")
    fields.pop("int8", None)
    labels = ["background", *PART_NAMES]
    write_fields(fields | {"metrics": {}, "options": PARTS, "labels": labels}, "parts", out)
    export_network(weights, fields["weights"], out)


def write_file(data: bytes, file: str, folder: Path) -> str:
    """Write a file, list its SHA-256 in the manifest, and return that hash (hex)."""
    digest = hashlib.sha256(data).hexdigest()
    path = folder / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    (folder / file).write_bytes(data)
    manifest[file] = digest
    path.write_text(json.dumps(dict(sorted(manifest.items())), indent=2) + "\n", encoding="utf-8")
    return digest


def read_fields(name: str, folder: Path = MODELS) -> dict[str, Any]:
    """Return the fields of a description, `<folder>/<name>.json`."""
    fields: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return fields


def write_fields(fields: Mapping[str, Any], name: str, folder: Path) -> None:
    """Write `<folder>/<name>.json`."""
    text = json.dumps(fields, indent=2) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
