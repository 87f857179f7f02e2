"""The PNGs, read by Pillow."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from exports.annotation import ImageAnnotation
from exports.palette import BACKGROUND, PART_COLOURS
from exports.pictures import draw_names, draw_parts, label_map_png, mask_png, overlay_png

pytest_plugins = ["tests.exports.scenes"]


def test_label_map_has_labels_and_colours(scene: ImageAnnotation) -> None:
    labels = scene.labels()
    picture = Image.open(BytesIO(label_map_png(labels)))
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), labels)
    colours = np.array([BACKGROUND, *PART_COLOURS.values()])
    assert np.array_equal(np.asarray(picture.convert("RGB")), colours[labels])


def test_mask_is_black_and_white(scene: ImageAnnotation) -> None:
    mask = scene.labels() == scene.labels().max()
    picture = Image.open(BytesIO(mask_png(mask)))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), np.where(mask, 255, 0))


def test_overlay_is_transparent_outside_parts(scene: ImageAnnotation) -> None:
    picture = Image.open(BytesIO(overlay_png(scene)))
    pixels = np.asarray(picture)
    assert pixels.shape == (scene.height, scene.width, 4)
    assert set(np.unique(pixels[..., 3])) == {0, 128, 255}
    covered = pixels[..., 3] > 0
    assert np.count_nonzero(covered != (scene.labels() > 0)) < 0.08 * covered.sum()
    used = {tuple(colour) for colour in pixels[covered][:, :3].tolist()}
    assert used == {PART_COLOURS[part.name] for part in scene.parts}


def test_draw_parts_keeps_other_pixels(scene: ImageAnnotation) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (scene.height, scene.width, 3), np.uint8)
    parts = [
        (part.name, [[polygon.exterior, *polygon.holes] for polygon in part.polygons])
        for part in scene.parts
    ]
    pixels = draw_parts(photo, parts)
    changed = (pixels != photo).any(axis=2)
    assert np.count_nonzero(changed != (scene.labels() > 0)) < 0.08 * changed.sum()


def test_names_are_on_their_parts(scene: ImageAnnotation) -> None:
    photo = np.full((scene.height, scene.width, 3), 128, np.uint8)
    for part in scene.parts:
        polygons = [[polygon.exterior, *polygon.holes] for polygon in part.polygons]
        rows, columns = np.nonzero((draw_names(photo, [(part.name, polygons)]) != 128).any(axis=2))
        x, y, width, height = part.bbox
        assert columns.min() <= x + width
        assert columns.max() >= x
        assert rows.min() <= y + height
        assert rows.max() >= y


def test_picture_without_parts_keeps_its_pixels(scene: ImageAnnotation) -> None:
    photo = np.full((scene.height, scene.width, 3), 128, np.uint8)
    assert np.array_equal(draw_names(photo, [("hood", [])]), photo)
