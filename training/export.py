"""Write a models folder: weights as float16 safetensors, ONNX graphs, manifest, descriptions."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save
from torch import Tensor

from training import weights as networks
from training.onnx_graph import make_graph
from vision.labels import DAMAGE_KINDS, PART_NAMES
from vision.model_files import (
    DAMAGE,
    DESCRIPTIONS,
    MANIFEST,
    MODELS,
    read_description,
    verified_bytes,
)

_NETWORKS = {
    "parts": (networks.PARTS, PART_NAMES),
    "damage": (networks.DAMAGE, DAMAGE_KINDS),
}


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


def export_trained(name: Literal["parts", "damage"], weights: Path, out: Path) -> None:
    """Write a models folder that has another part or damage network than `models/`.

    Its description has no figures, since those of the network in `models/` do not apply to it. The
    other networks are copied.

    Args:
        name: of the network's description.
        weights: float16 safetensors of a network with the options of `training.weights`.
        out: the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    for other in {*DESCRIPTIONS, DAMAGE} - {name}:
        for file in MODELS.glob(f"{other}.*"):
            shutil.copy(file, out / file.name)
    shutil.copy(MODELS / MANIFEST, out / MANIFEST)
    options, labels = _NETWORKS[name]
    fields = read_fields(name)
    fields.pop("int8", None)
    changed = {"metrics": {}, "options": options, "labels": ["background", *labels]}
    write_fields(fields | changed, name, out)
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
