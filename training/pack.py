"""Pack the data for training: `python -m training.pack --data DATA --out runs/packs`.

A pack is a zip file of photos and label maps, with `rows.json`, the list of `Row`. Packs have at
most 40 MB each, so that they can be uploaded one by one to a machine with a GPU. The ImageNet
weights of the backbones are in the same folder. The training reads nothing else.

Calibration photos without part labels are not packed, since no network may learn from them.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from training.corrections import read_corrections
from training.damage_data import list_damaged
from training.imagenet import BACKBONES, save_imagenet
from training.parts_data import annotated_photos, read_labels
from training.split import Part, part_of
from training.type_data import list_annotated, list_empty, list_samples, read_table
from vision.labels import TYPE_NAMES

Kind = Literal["annotated", "car", "empty", "damaged"]
Box = tuple[float, float, float, float]

LIMIT = 40_000_000  # bytes of a pack
# Longest side in pixels. Scratches are thin, so photos with polygons of damage keep their size.
SIDES: dict[Kind, int] = {"annotated": 512, "car": 384, "empty": 384, "damaged": 448}
_SMALL = 16_000  # WebP files up to this size are packed as they are
_QUALITY = 58


@dataclass(frozen=True)
class Row:
    """A packed photo and the facts about it.

    Attributes:
        photo: name in the pack of the photo's file.
        kind: "annotated" (with a label map), "car", "empty" (no car), or "damaged" (with a label
            map of damage). Damaged photos for training are packed as those of a car, too.
        part: of the split.
        source: name of the data set.
        width, height: of the packed photo, in pixels.
        type: body type; None if it is unknown.
        doors: side doors, 2 or 4; None if uncertain.
        box: of the car (x0, y0, x1, y1) in pixels of the packed photo; None if unknown.
        close_up: true if so little of the car can be seen that no type can be told.
        labels: name in the pack of the label map, of the photo's size; None if there is none.
        missing: visible parts that the label map lacks.
        rare: true if the label map has a trunk or tailgate.
        damage: annotated kinds of damage.
    """

    photo: str
    kind: Kind
    part: Part
    source: str
    width: int = 0
    height: int = 0
    type: str | None = None
    doors: int | None = None
    box: Box | None = None
    close_up: bool = False
    labels: str | None = None
    missing: tuple[str, ...] = ()
    rare: bool = False
    damage: tuple[str, ...] = ()

    @property
    def squashed(self) -> bool:
        """True if the photo was squashed to a square."""
        return self.source == "car_parts"


@dataclass(frozen=True)
class Source:
    """A photo to pack: its row, without the size, and the files of photo and label map."""

    row: Row
    photo: Path
    labels: Path | None = None


def make_packs(data: Path, out: Path, cache: Path) -> list[Path]:
    """Write the packs of a data folder, and the ImageNet weights, to the folder `out`.

    Raises:
        DataError: the data cannot be used, see `parts_data.annotated_photos`.
    """
    out.mkdir(parents=True, exist_ok=True)
    for backbone in BACKBONES:
        save_imagenet(backbone, out)
    return write_packs(list_sources(data, cache), out)


def list_sources(data: Path, cache: Path) -> list[Source]:
    """Return all photos to pack, the annotated ones first."""
    return [
        *_annotated(data, cache),
        *_empty(data),
        *_cars(data),
        *_street(data),
        *_damaged(data),
        *_with_damage(data, cache),
    ]


def _annotated(data: Path, cache: Path) -> Iterator[Source]:
    corrections = read_corrections(data / "car_parts" / "corrections.json")
    parts: tuple[Part, ...] = ("train", "calibration", "val")
    for part in parts:
        boxes = {sample.path: sample.box for sample in list_annotated(data, part, cache)}
        for sample in annotated_photos(data, part, cache):
            facts = corrections.get(sample.image.name)
            row = Row(
                sample.image.name,
                "annotated",
                part,
                "car_parts",
                type=facts.type if facts else None,
                doors=facts.side_doors if facts else None,
                box=boxes.get(sample.image),
                labels=f"labels/{sample.image.stem}.png",
                missing=sample.missing,
                rare=sample.rare,
            )
            yield Source(row, sample.image, sample.labels)


def _empty(data: Path) -> Iterator[Source]:
    parts: tuple[Part, ...] = ("train", "val")
    for part in parts:
        for path in list_empty(data, part):
            yield Source(Row(path.name, "empty", part, path.parent.name), path)


def _cars(data: Path) -> Iterator[Source]:
    parts: tuple[Part, ...] = ("train", "val")
    for part in parts:
        for sample in list_samples(data, part):
            if sample.label < len(TYPE_NAMES):
                row = Row(
                    "/".join(sample.path.parts[-4:]),
                    "car",
                    part,
                    "car_types" if sample.box is None else "car_types_in_context",
                    type=TYPE_NAMES[sample.label],
                    doors=sample.doors,
                    box=sample.box,
                )
                yield Source(row, sample.path)


def _street(data: Path) -> Iterator[Source]:
    """Yield the street photos; those without a type are for training."""
    for line in read_table(data / "street" / "labels.csv"):
        path = data / "street" / "images" / line["file"]
        known = line["type"] or None
        part = part_of(path.stem, val=line["split"] == "val") if known else "train"
        row = Row(
            f"street/{path.name}",
            "car",
            part,
            "street",
            type=known,
            doors=int(line["side_doors"]) if line["side_doors"] else None,
            close_up=line["note"] == "closeup",
        )
        if part != "calibration":
            yield Source(row, path)


def _damaged(data: Path) -> Iterator[Source]:
    """Yield the photos of damaged cars that are for training; most of them are close-ups."""
    for photo in list_damaged(data):
        if photo.part != "val":
            # A photo of an airbag is taken inside of the car.
            close_up = "airbag" not in photo.kinds
            row = Row(f"damage/{photo.path.name}", "car", "train", "damage", close_up=close_up)
            yield Source(row, photo.path)


def _with_damage(data: Path, cache: Path) -> Iterator[Source]:
    """Yield the photos of damaged cars with their label maps of damage."""
    for photo in list_damaged(data):
        row = Row(
            f"damaged/{photo.path.name}",
            "damaged",
            photo.part,
            "damage",
            labels=f"damaged/{photo.path.stem}.png",
            damage=photo.kinds,
        )
        yield Source(row, photo.path, photo.write_labels(cache / "damage"))


def write_packs(sources: Iterable[Source], out: Path, limit: int = LIMIT) -> list[Path]:
    """Write photos into packs of at most `limit` bytes.

    Returns:
        The packs. Earlier packs in the folder are deleted.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("pack*.zip"):
        old.unlink()
    paths: list[Path] = []
    rows: list[Row] = []
    files: dict[str, bytes] = {}

    def close() -> None:
        paths.append(out / f"pack{len(paths)}.zip")
        _write_zip(paths[-1], rows, files)
        rows.clear()
        files.clear()

    with ThreadPoolExecutor() as pool:
        for row, content in pool.map(_read, sources):
            size = sum(len(data) for data in (*files.values(), *content.values()))
            if files and size + 500 * len(rows) > limit:
                close()
            rows.append(row)
            files.update(content)
    close()
    return paths


def _read(source: Source) -> tuple[Row, dict[str, bytes]]:
    """Return the row with the photo's packed size, and its files by name."""
    row = source.row
    data, size, scale = encode(source.photo, SIDES[row.kind])
    box = row.box
    if box is not None:
        box = (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale)
    files = {row.photo: data}
    if row.labels is not None and source.labels is not None:
        labels = read_labels(source.labels)
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
        files[row.labels] = cv2.imencode(".png", labels)[1].tobytes()
    return replace(row, width=size[0], height=size[1], box=box), files


def encode(path: Path, side: int) -> tuple[bytes, tuple[int, int], float]:
    """Encode a photo as WebP with a longest side of at most `side` pixels.

    Returns:
        The file, its (width, height), and its scale relative to the original.

    Raises:
        FileNotFoundError: the photo cannot be read.
    """
    data = path.read_bytes()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(path)
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if scale == 1.0 and (side > SIDES["car"] or (path.suffix == ".webp" and len(data) <= _SMALL)):
        return data, size, scale
    small: NDArray[np.uint8] = image.astype(np.uint8)
    if scale < 1.0:
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    encoded = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
    return encoded.tobytes(), size, scale


def _write_zip(path: Path, rows: list[Row], files: dict[str, bytes]) -> None:
    fresh = path.with_suffix(".new")
    with zipfile.ZipFile(fresh, "w") as pack:  # photos are compressed already
        for name, data in files.items():
            pack.writestr(name, data)
        pack.writestr("rows.json", json.dumps([asdict(row) for row in rows]))
    fresh.replace(path)


def main() -> None:
    """Read the command line and pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/packs"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    options = parser.parse_args()
    for path in make_packs(options.data, options.out, options.cache):
        print(path, f"{path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
