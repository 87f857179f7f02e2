"""Read and verify the files in `models/`.

They are descriptions (JSON), weights (safetensors), graphs (ONNX) and a manifest of SHA-256 sums.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from settings import DEFAULT_PRECISION, Precision

MODELS = Path(__file__).resolve().parents[1] / "models"
MANIFEST = "manifest.json"
DESCRIPTIONS = ("parts", "shapes", "types")  # of the networks that run for each photo
DAMAGE = "damage"  # description of the network that runs only for photos posted for it

# Increment with each code change that changes results, or only damage.
RESULTS = 4
DAMAGE_RESULTS = 2


class ModelFileError(Exception):
    """Error for a file of `models/` that is missing, changed, or does not fit.

    The message names the file.
    """


@dataclass(frozen=True)
class ModelDescription:
    """The content of a model's JSON file.

    Attributes:
        name: for people and logs.
        architecture, options: see `vision.networks.build_network`.
        weights: file name of the weights.
        labels: names of the output channels, in order.
        input: geometry and normalisation of the network's input.
        thresholds: limits for decisions on the outputs, found on the validation split.
        int8: thresholds that differ for the network in 8 bits; None if there is none, or if it was
            made from other weights.
        precision: of the graph that the thresholds are for.
    """

    name: str
    architecture: str
    options: dict[str, Any]
    weights: str
    labels: tuple[str, ...]
    input: dict[str, Any]
    thresholds: dict[str, float]
    int8: dict[str, float] | None = None
    precision: Precision = "float32"

    @property
    def graph(self) -> str:
        """Return the file name of the ONNX graph.

        That in float32 points into the file of weights. That in 8 bits has its own weights.
        """
        ending = ".onnx" if self.precision == "float32" else ".int8.onnx"
        return str(Path(self.weights).with_suffix(ending))

    def in_precision(self, precision: Precision) -> ModelDescription:
        """Return the description with the thresholds of a precision, if the model has it."""
        if precision == "float32" or self.int8 is None:
            return self
        return replace(self, thresholds=self.thresholds | self.int8, precision=precision)


def read_description(name: str, folder: Path = MODELS) -> ModelDescription:
    """Read `<folder>/<name>.json`.

    Raises:
        ModelFileError: the file can't be read or lacks a field.
    """
    try:
        fields = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return ModelDescription(
            name=fields["name"],
            architecture=fields["architecture"],
            options=fields["options"],
            weights=fields["weights"],
            labels=tuple(fields["labels"]),
            input=fields["input"],
            thresholds=fields["thresholds"],
            int8=_int8_thresholds(fields, folder),
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelFileError(f"models/{name}.json can't be used: {error!r}") from error


def _int8_thresholds(fields: dict[str, Any], folder: Path) -> dict[str, float] | None:
    """Return the thresholds in 8 bits, if that network was made from the present weights."""
    made = fields.get("int8")
    if made is None:
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # loading the network fails, too, and says so
        return None
    thresholds: dict[str, float] = made["thresholds"]
    return thresholds if manifest.get(fields["weights"]) == made["weights_sha256"] else None


def models_version(folder: Path = MODELS, precision: Precision = DEFAULT_PRECISION) -> str:
    """Return the version of the models and of the code that makes results: 12 hex digits.

    It changes with the weights, the descriptions (except their names), the precision and `RESULTS`.
    Networks in 8 bits count in that precision only, and the damage network does not count, see
    `damage_version`.

    Raises:
        ModelFileError: a description or the manifest can't be read.
    """
    return _version(DESCRIPTIONS, folder, precision)


def damage_version(folder: Path = MODELS, precision: Precision = DEFAULT_PRECISION) -> str:
    """Return the version of the damage network and of the code that makes results: 12 hex digits.

    It changes like `models_version`, but only with the damage network. So other results stay valid
    when that network changes.

    Raises:
        ModelFileError: the description or the manifest can't be read.
    """
    return _version((DAMAGE,), folder, precision, f".{DAMAGE_RESULTS}")


def _sums(folder: Path) -> dict[str, str]:
    """Return the manifest. Raises ModelFileError."""
    try:
        sums: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"models/{MANIFEST} can't be read: {error!r}") from error
    return sums


def _version(names: Collection[str], folder: Path, precision: Precision, code: str = "") -> str:
    """Return a hash of descriptions and of their part of the manifest. Raises ModelFileError.

    Args:
        names: of the descriptions.
        folder: of the models.
        precision: of the networks.
        code: version of the code, after `RESULTS`.
    """
    digest = hashlib.sha256(f"{RESULTS}{code}".encode())
    graphs = []
    for name in names:
        description = read_description(name, folder).in_precision(precision)
        graphs.append(description.graph)
        fields = dict(vars(description))
        del fields["name"], fields["int8"]  # in 8 bits its values are among the thresholds
        digest.update(json.dumps(fields, sort_keys=True).encode())
    sums = {
        file: value
        for file, value in _sums(folder).items()
        if file.partition(".")[0] in names and (file in graphs or ".int8." not in file)
    }
    digest.update((json.dumps(sums, indent=2) + "\n").encode())
    return digest.hexdigest()[:12]


def verified_bytes(file: str, folder: Path = MODELS) -> bytes:
    """Return the bytes of a file in `folder`, verified against the manifest.

    Raises:
        ModelFileError: the file is missing, not in the manifest, or has another SHA-256.
    """
    try:
        expected = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))[file]
        data = (folder / file).read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise ModelFileError(f"models/{file} can't be read: {error!r}") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise ModelFileError(f"models/{file} is not the file named in models/{MANIFEST}")
    return data


def verified_graph(description: ModelDescription, folder: Path = MODELS) -> tuple[bytes, bytes]:
    """Return the bytes of a network's ONNX graph and of the weights that it points into.

    Only a graph in float32 points into the weights.

    Raises:
        ModelFileError: as for `verified_bytes`, or the graph was made for another layout of the
            weights.
    """
    weights = verified_bytes(description.weights, folder)
    graph = verified_bytes(description.graph, folder)
    if weights_layout(weights).encode() not in graph:
        raise ModelFileError(f"models/{description.weights} does not fit the network")
    return graph, weights


def weights_layout(data: bytes) -> str:
    """Return the SHA-256 of a safetensors file's header.

    A graph's offsets into the file are right for this header only.
    """
    return hashlib.sha256(weights_header(data)).hexdigest()


def weights_header(data: bytes) -> bytes:
    """Return the header of a safetensors file: JSON with each tensor's name, type, shape, offsets.

    The tensors' data follow the header. Offsets count from the header's end.
    """
    length = int.from_bytes(data[:8], "little")
    return data[8 : 8 + length]


def normalise(pixels: NDArray[np.uint8], description: ModelDescription) -> NDArray[np.float32]:
    """Convert (h, w, 3) uint8 RGB to a network's (1, 3, h, w) float32 input."""
    batch = np.empty((1, 3, *pixels.shape[:2]), np.float32)
    for plane, channel in zip(batch[0], cv2.split(pixels), strict=True):
        np.subtract(channel, description.input["mean"], out=plane, dtype=np.float32)
    batch /= description.input["std"]
    return batch
