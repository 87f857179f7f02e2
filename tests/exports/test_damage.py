"""Test damage in all formats: drawn on the difficult scene, and read back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
import shapely
import xmlschema
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from analysis.damage_segments import DamageMap, Piece
from exports import FORMATS, export
from exports.annotation import ImageAnnotation, annotate, kept_damage_kinds
from exports.csv_table import COLUMNS, DAMAGE_COLUMNS
from exports.labelstudio import DAMAGE_LABELING_CONFIG, LABELING_CONFIG
from exports.palette import DAMAGE_COLOURS, HATCHINGS
from exports.pictures import damage_png, overlay_png
from exports.yolo import CLASSES, data_file, shows_damage
from options import Options
from photo_result import Analysis, Result
from poligons_from_seg import label_map_to_outlines, rasterize
from vision.labels import DAMAGE_KINDS, PART_NAMES, label_of, name_of

pytest_plugins = ["tests.exports.scenes"]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HASH = "ab" * 32
HEIGHT, WIDTH = 240, 330  # of the drawn scene
SCHEMA = Path(__file__).parent / "cvat_images_1_1.xsd"
PIECES = [Piece("scratch", 0.9, 5), Piece("dent", 0.5, 9), Piece("dent", 0.2, 5)]


def drawn_damage() -> NDArray[np.uint8]:
    """Return a scratch across two parts, a dent with a hole on one, and a dent on none."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.line(labels, (100, 150), (200, 190), 1, 7)
    cv2.circle(labels, (40, 120), 25, 2, -1)
    cv2.circle(labels, (40, 120), 8, 0, -1)
    labels[5:20, 250:300] = 3
    return labels


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


@pytest.fixture(scope="module")
def damaged(drawn: Result) -> Result:
    parts = drawn.labels()
    names = [name_of(value) for value in np.unique(parts[parts > 0]).tolist()]
    confidences = dict.fromkeys(names, 0.9)
    found = DamageMap(drawn_damage(), PIECES)
    outlines = label_map_to_outlines(parts)
    return Result.of(Analysis(None, parts, confidences, outlines, damage=found), "drawn", "1a2b")


@pytest.fixture
def shown(damaged: Result) -> ImageAnnotation:
    return annotate(HASH, damaged, Options(min_confidence=0, file_name="car & co.png"))


def read(document: bytes, folder: Path) -> Any:
    path = folder / "coco.json"
    path.write_bytes(document)
    return COCO(path)


def documents(result: Result, options: Options) -> dict[str, bytes]:
    return {name: export(HASH, result, chosen, options) for name, chosen in FORMATS.items()}


def test_result_is_packed_with_damage(damaged: Result) -> None:
    again = Result.unpack(damaged.pack())
    assert again == damaged
    assert np.array_equal(again.damage_labels(), drawn_damage())


def test_damage_and_parts_overlap(damaged: Result) -> None:
    assert damaged.damages is not None
    parts, drawn = damaged.labels(), drawn_damage()
    for damage, piece in zip(damaged.damages, PIECES, strict=True):
        mask = drawn == damage.number
        assert (damage.kind, damage.confidence) == (piece.kind, piece.confidence)
        assert damage.area == np.count_nonzero(mask)
        assert damage.bbox == cv2.boundingRect(mask.view(np.uint8))
        common = {}
        for name in PART_NAMES:
            part = parts == label_of(name)
            both = np.count_nonzero(part & mask)
            if both and max(both / mask.sum(), both / part.sum()) >= 0.1:
                common[name] = (both, round(both / part.sum(), 4))
        order = sorted(common, key=lambda name: -common[name][0])
        assert [share.name for share in damage.parts] == order
        assert [share.share for share in damage.parts] == [common[name][1] for name in order]
    scratch, dent, elsewhere = damaged.damages
    assert len(scratch.parts) == 2
    assert [share.name for share in dent.parts] == ["hood"]
    assert elsewhere.parts == []


def test_every_format_is_as_before_without_damage(damaged: Result) -> None:
    plain = documents(damaged, Options(damage=False))
    examined = documents(damaged, Options())
    for name, document in plain.items():
        assert not any(kind.encode() in document for kind in ("damage", "scratch", "cracked"))
        assert examined[name] != document


def test_photo_without_damage_is_examined(damaged: Result) -> None:
    options = Options(min_confidence=0.95)
    document = json.loads(export(HASH, damaged, FORMATS["json"], options))
    assert document["damages"] == []
    assert document["message"].endswith("No damage was found.")


def test_json(shown: ImageAnnotation) -> None:
    document = json.loads(FORMATS["json"].write(shown))
    assert [damage["kind"] for damage in document["damages"]] == ["scratch", "dent", "dent"]
    damaged = {part["name"]: part["damaged"] for part in document["parts"]}
    assert damaged["hood"][-1] == "dent"
    assert damaged["wheel"] == []
    assert document["damage_version"] == "1a2b"
    for damage in document["damages"]:
        for part in damage["parts"]:
            assert damage["kind"] in damaged[part["name"]]


@pytest.mark.parametrize("name", ["coco", "coco-rle"])
def test_coco(shown: ImageAnnotation, tmp_path: Path, name: str) -> None:
    dataset = read(FORMATS[name].write(shown), tmp_path)
    parts = [category for category in dataset.cats.values() if category["supercategory"] == "car"]
    assert [(entry["id"], entry["name"]) for entry in parts] == list(enumerate(PART_NAMES, 1))
    kinds = [entry for entry in dataset.cats.values() if entry["supercategory"] == "damage"]
    assert [(entry["id"], entry["name"]) for entry in kinds] == list(enumerate(DAMAGE_KINDS, 26))
    found = list(dataset.anns.values())
    assert len(found) == len(shown.parts) + len(PIECES)
    for damage, annotation in zip(shown.damages or (), found[len(shown.parts) :], strict=True):
        assert dataset.cats[annotation["category_id"]]["name"] == damage.kind
        mask = dataset.annToMask(annotation).astype(bool)
        exact = drawn_damage() == damage.number
        assert iou(mask, exact) > (0.9 if name == "coco" else 0.9999)
        assert [part["name"] for part in annotation["parts"]] == [p.name for p in damage.parts]


def test_merged_coco(shown: ImageAnnotation, damaged: Result, tmp_path: Path) -> None:
    merge = FORMATS["coco"].merge
    assert merge is not None
    plain = export(HASH, damaged, FORMATS["coco"], Options(damage=False))
    dataset = read(merge([plain, FORMATS["coco"].write(shown), plain]), tmp_path)
    assert len(dataset.cats) == len(PART_NAMES) + len(DAMAGE_KINDS)
    assert len(dataset.anns) == 3 * len(shown.parts) + len(PIECES)
    names = {dataset.cats[entry["category_id"]]["name"] for entry in dataset.imgToAnns[1]}
    assert names == {part.name for part in shown.parts}


def test_yolo(shown: ImageAnnotation) -> None:
    document = FORMATS["yolo"].write(shown)
    rows = [row.split() for row in document.decode().splitlines()]
    damages = [row for row in rows if int(row[0]) >= 25]
    assert [CLASSES[int(row[0])] for row in damages] == ["scratch", "dent", "dent"]
    assert shows_damage(document)
    assert not shows_damage(document[: document.index(b"\n25 ") + 1])
    for row, damage in zip(damages, shown.damages or (), strict=True):
        points = np.array(row[1:], float).reshape(-1, 2) * (WIDTH, HEIGHT)
        ring = shapely.Polygon(points)
        piece = shapely.Polygon(damage.polygons[0].exterior, damage.polygons[0].holes)
        assert ring.area == pytest.approx(piece.area, rel=1e-3)
    names = data_file(damage=True).decode()
    assert names.startswith(data_file().decode())
    assert names.endswith("  32: airbag\n")


def test_csv(shown: ImageAnnotation, damaged: Result) -> None:
    merge = FORMATS["csv"].merge
    assert merge is not None
    plain = export(HASH, damaged, FORMATS["csv"], Options(damage=False))
    merged = merge([plain, FORMATS["csv"].write(shown)])
    rows = list(csv.DictReader(StringIO(merged.decode())))
    assert list(rows[0]) == [*COLUMNS, *DAMAGE_COLUMNS]
    assert len(rows) == 2 * len(shown.parts) + len(PIECES)
    assert all(None not in row and None not in row.values() for row in rows)
    for row, damage in zip(rows[-len(PIECES) :], shown.damages or (), strict=True):
        assert (row["damage"], row["area"]) == (damage.kind, str(damage.area))
        on = damage.parts[0] if damage.parts else None
        expected = (on.name, str(on.share)) if on else ("", "")
        assert (row["part"], row["part_share"]) == expected
    assert merge([plain, plain]).startswith(",".join(COLUMNS).encode() + b"\r\n")


def test_cvat(shown: ImageAnnotation, damaged: Result) -> None:
    merge = FORMATS["cvat"].merge
    assert merge is not None
    plain = export(HASH, damaged, FORMATS["cvat"], Options(damage=False))
    document = merge([plain, FORMATS["cvat"].write(shown)])
    xmlschema.XMLSchema(SCHEMA).validate(document.decode())
    root = ET.fromstring(document)
    assert [label.findtext("name") for label in root.iter("label")] == [*PART_NAMES, *DAMAGE_KINDS]
    first, second = root.findall("image")
    shapes = [shape for shape in second if shape.get("label") in DAMAGE_KINDS]
    assert [shape.get("label") for shape in shapes] == ["scratch", "dent", "dent"]
    assert [shape.get("group_id") for shape in shapes] == ["101", "102", "103"]
    assert [shape.get("z_order") for shape in shapes] == ["1"] * 3
    assert len(second) == len(first) + 3


def test_labelme(shown: ImageAnnotation) -> None:
    shapes = json.loads(FORMATS["labelme"].write(shown))["shapes"]
    last = [(shape["label"], shape["group_id"]) for shape in shapes[-3:]]
    assert last == [("scratch", 101), ("dent", 102), ("dent", 103)]


def test_labelstudio(shown: ImageAnnotation) -> None:
    ((task,)) = json.loads(FORMATS["labelstudio"].write(shown))
    (prediction,) = task["predictions"]
    config = ET.fromstring(DAMAGE_LABELING_CONFIG)
    labels = {
        control.get("name"): {label.get("value") for label in control}
        for control in config.iter("PolygonLabels")
    }
    assert labels == {"label": set(PART_NAMES), "damage": set(DAMAGE_KINDS)}
    assert DAMAGE_LABELING_CONFIG.startswith(LABELING_CONFIG.removesuffix("</View>\n"))
    regions = prediction["result"]
    assert len({region["id"] for region in regions}) == len(regions)
    for region in regions:
        assert set(region["value"]["polygonlabels"]) <= labels[region["from_name"]]
    assert sum(region["from_name"] == "damage" for region in regions) == 3


def test_geojson(shown: ImageAnnotation) -> None:
    document = json.loads(FORMATS["geojson"].write(shown))
    assert document["photo"]["damage_version"] == "1a2b"
    features = {feature["id"]: feature for feature in document["features"]}
    dent = features["damage-2"]
    assert dent["properties"]["damage"] == "dent"
    assert [part["name"] for part in dent["properties"]["parts"]] == ["hood"]
    assert "dent" in features["hood"]["properties"]["damaged"]
    shape = shapely.geometry.shape(dent["geometry"])
    assert shape.is_valid
    assert shape.area == pytest.approx(np.count_nonzero(drawn_damage() == 2), rel=0.05)


def test_svg(shown: ImageAnnotation) -> None:
    root = ET.fromstring(FORMATS["svg"].write(shown))
    space = "{http://www.w3.org/2000/svg}"
    layers = [layer for layer in root.iter(f"{space}g") if layer.get("class") == "damage"]
    assert [layer.get("id") for layer in layers] == ["damage-1", "damage-2", "damage-3"]
    titles = [layer.findtext(f"{space}title") for layer in layers]
    assert titles[1] == "dent, 50%, on hood"
    assert titles[2] == "dent, 20%"
    patterns = {f"url(#{pattern.get('id')})" for pattern in root.iter(f"{space}pattern")}
    used = {path.get("fill") for layer in layers for path in layer.iter(f"{space}path")}
    assert patterns == used - {"none"}


def test_picture_of_kinds(damaged: Result) -> None:
    numbers = drawn_damage()
    kinds = np.array([0, 1, 2, 2], np.uint8)[numbers]
    assert np.array_equal(kept_damage_kinds(damaged, Options(min_confidence=0)), kinds)
    without_last = np.where(numbers == 3, 0, kinds)
    assert np.array_equal(kept_damage_kinds(damaged, Options()), without_last)
    picture = Image.open(BytesIO(damage_png(kinds)))
    assert np.array_equal(np.asarray(picture), kinds)
    colours = np.asarray(picture.convert("RGB"))
    assert tuple(colours[numbers == 1][0]) == DAMAGE_COLOURS["scratch"]


def test_overlay_shows_part_between_lines(damaged: Result) -> None:
    shown = annotate(HASH, damaged, Options(min_confidence=0))
    plain = annotate(HASH, damaged, Options(min_confidence=0, damage=False))
    hatched, parts = (
        np.asarray(Image.open(BytesIO(overlay_png(scene)))) for scene in (shown, plain)
    )
    changed = (hatched != parts).any(-1)
    near = cv2.dilate((drawn_damage() > 0).view(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert not (changed & ~near).any()
    inside = cv2.erode((drawn_damage() == 3).view(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert 0.05 < changed[inside].mean() < 0.6


@pytest.mark.parametrize(
    "change",
    [
        lambda: Options(min_confidence=0, tolerance=0),
        lambda: Options(min_confidence=0, max_vertices=5),
        lambda: Options(min_confidence=0, topology="shared"),
    ],
    ids=["tolerance", "max_vertices", "topology"],
)
def test_outlines_of_damage(damaged: Result, change: Callable[[], Options]) -> None:
    options = change()
    shown = annotate(HASH, damaged, options)
    for damage in shown.damages or ():
        exact = drawn_damage() == damage.number
        mask = rasterize(damage.polygons, HEIGHT, WIDTH)
        assert iou(mask, exact) > (0.9999 if options.tolerance == 0 else 0.8)
        rings: list[Any] = [ring for p in damage.polygons for ring in (p.exterior, *p.holes)]
        assert options.max_vertices is None or max(map(len, rings)) <= 5


def test_small_damage_is_left_out(damaged: Result) -> None:
    shown = annotate(HASH, damaged, Options(min_confidence=0, min_area=751))
    areas = np.bincount(drawn_damage().ravel())
    left = [number for number in (1, 2, 3) if areas[number] >= 751]
    assert [damage.number for damage in shown.damages or ()] == left
    assert 3 not in left
    assert not (shown.damage_labels() == 3).any()


def test_every_kind_has_a_colour_and_hatching() -> None:
    assert list(DAMAGE_COLOURS) == list(HATCHINGS) == list(DAMAGE_KINDS)
    assert len(set(DAMAGE_COLOURS.values())) == len(set(HATCHINGS.values())) == len(DAMAGE_KINDS)


def test_damage_in_squares(damaged: Result) -> None:
    parts = damaged.labels()
    names = [name_of(value) for value in np.unique(parts[parts > 0]).tolist()]
    outlines = label_map_to_outlines(parts, scale=2)
    found = DamageMap(drawn_damage(), PIECES)
    analysis = Analysis(None, parts, dict.fromkeys(names, 0.9), outlines, damage=found, scale=2)
    large = Result.of(analysis, "drawn", "1a2b")
    assert large.damages is not None
    assert damaged.damages is not None
    assert np.array_equal(large.damage_labels(), drawn_damage().repeat(2, 0).repeat(2, 1))
    for one, other in zip(large.damages, damaged.damages, strict=True):
        assert one.area == 4 * other.area
        assert one.bbox == tuple(2 * side for side in other.bbox)
        assert one.parts == other.parts
    exact = annotate(HASH, large, Options(min_confidence=0, tolerance=0)).damages
    assert exact is not None
    for damage in exact:
        drawn = rasterize(damage.polygons, large.height, large.width)
        assert np.array_equal(drawn, large.damage_labels() == damage.number)
