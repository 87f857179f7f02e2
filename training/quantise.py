"""Make the networks in 8 bits from those in float32: `python -m training.quantise --data DATA`.

For each network it writes `<name>.int8.onnx`, and the thresholds `int8` of its description. It
needs no labels and no training. Ranges and weights follow from photos of the training part of the
split. Thresholds are fitted on more of these photos, so that confidences equal those in float32.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from car_classification import TypeClassifier
from img_to_segments import PartSegmenter
from training.agreement import fit_confidences, fit_types
from training.corrections import DataError
from training.export import read_fields, write_fields, write_file
from training.float_graph import make_float_graph
from training.int8_graph import Floats, Recipe, find_ranges, quantised
from training.rounding import dense_layers, improve, second_moments
from training.validation import (
    ValidationPhoto,
    list_annotated_photos,
    list_car_photos,
    list_street_photos,
    some_of,
)
from vision.model_files import DAMAGE, MODELS, verified_bytes
from vision.runtimes.choose import RuntimeConfig

# Nodes that stay in float32. The first layers lose most in dark photos and close-ups.
_START = ("/encoder/conv_stem", "/encoder/bn1", "/encoder/blocks.0")
RECIPES = {
    "parts": Recipe(floats=("/context", "/head/Add", *_START)),
    "types": Recipe(floats=("/conv_stem",)),
}
DAMAGE_RECIPE = RECIPES["parts"]  # the same kind of network, see `training.quantise_damage`
PHOTOS = 16  # of each of three sources, for ranges and weights
FITTED = 60  # of each source, for thresholds

_FLOAT = RuntimeConfig("onnx")


def some_photos(data: Path, cache: Path, count: int, seed: int) -> list[ValidationPhoto]:
    """Return photos of the training part: `count` of each source, which take turns.

    Args:
        data: folder of the data sets.
        cache: folder of the label maps.
        count: most photos of a source.
        seed: other seeds choose other photos.

    Raises:
        DataError: the data can't be used.
    """
    sources = (
        list_annotated_photos(data, cache, "train"),
        list_car_photos(data, "train"),
        list_street_photos(data, "train"),
    )
    chosen = [some_of(source, count, seed) for source in sources]
    return [source[turn] for turn in range(count) for source in chosen if turn < len(source)]


def inputs_of(photos: Sequence[ValidationPhoto], folder: Path) -> dict[str, list[Floats]]:
    """Return the inputs that the float32 networks get for photos, by network.

    Photos without parts count for the type network only if none has parts.
    """
    segment = PartSegmenter(folder=folder, runtime=_FLOAT)
    classify = TypeClassifier(folder=folder, runtime=_FLOAT)
    found: dict[str, list[Floats]] = {"parts": [], "types": []}
    whole: list[Floats] = []
    for photo in tqdm(photos, "photos", mininterval=5):
        rgb = photo.read().pixels
        found["parts"].append(segment.batch(rgb)[0])
        height, width = rgb.shape[:2]
        cells = segment.cells(rgb).basic
        if cells.confidences:
            found["types"].append(classify.batch(rgb, cells.box(height, width)))
        else:
            whole.append(classify.batch(rgb, (0.0, 0.0, width, height)))
    found["types"] = found["types"] or whole
    return found


def quantise(name: str, folder: Path, batches: Sequence[Floats]) -> None:
    """Write the graph in 8 bits of one network, with the thresholds of that in float32.

    Args:
        name: of the network's description.
        folder: of the models.
        batches: inputs of the network.

    Raises:
        ModelFileError: the network in float32 can't be used.
    """
    recipe = (RECIPES | {DAMAGE: DAMAGE_RECIPE})[name]
    description = _FLOAT.describe(name, folder)
    graph = make_float_graph(description, folder)
    layers = dense_layers(graph, recipe.floats)
    made = quantised(graph, find_ranges(graph, batches), recipe)
    improve(made, layers, second_moments(graph, layers, batches))
    weights = hashlib.sha256(verified_bytes(description.weights, folder)).hexdigest()
    int8 = {"weights_sha256": weights, "thresholds": {}}
    write_fields(read_fields(name, folder) | {"int8": int8}, name, folder)
    file = _FLOAT.describe(name, folder).in_precision("int8").graph
    write_file(made.SerializeToString(), file, folder)


def fit_thresholds(folder: Path, photos: Sequence[ValidationPhoto]) -> dict[str, float]:
    """Fit the thresholds in 8 bits to the answers in float32, and write them.

    Returns:
        Figures to print: how well the networks agree.
    """
    figures: dict[str, float] = {}
    for name, fit in (("parts", fit_confidences), ("types", fit_types)):
        fitted, found = fit(folder, photos)
        fields: dict[str, Any] = read_fields(name, folder)
        fields["int8"]["thresholds"] = {key: round(value, 4) for key, value in fitted.items()}
        write_fields(fields, name, folder)
        figures |= found
    return figures


def quantise_all(
    data: Path, folder: Path, cache: Path, photos: int = PHOTOS, fitted: int = FITTED
) -> dict[str, float]:
    """Make all networks in 8 bits, and return figures to print.

    Args:
        data: folder of the data sets.
        folder: of the models.
        cache: folder of the label maps.
        photos: see `PHOTOS`.
        fitted: see `FITTED`.

    Raises:
        DataError: the data can't be used.
        ModelFileError: a network in float32 can't be used.
    """
    batches = inputs_of(some_photos(data, cache, photos, seed=1), folder)
    for name in RECIPES:
        quantise(name, folder, batches[name])
    return fit_thresholds(folder, some_photos(data, cache, fitted, seed=2))


def main() -> None:
    """Make the networks, and print figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS)
    arguments = parser.parse_args()
    try:
        figures = quantise_all(arguments.data, arguments.models, Path("runs/cache"))
    except DataError as error:
        sys.exit(str(error))
    for name, value in figures.items():
        print(f"{name:24s} {value:.4f}")


if __name__ == "__main__":
    main()
