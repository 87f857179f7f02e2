"""Render the sample picture: a made-up car of no brand, and on request the exact mask of each part.

python render_car.py --out car.png
python render_car.py --azimuth -35 --paint 0.5 0.02 0.02 --masks masks/ --out red.png
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import bpy  # type: ignore[import-not-found,import-untyped,unused-ignore]
import bus
import damage
import numpy as np
import scene
import surroundings
from car_body import Shape
from car_panels import body_pieces
from car_parts import fittings
from numpy.typing import NDArray
from PIL import Image

PARTS = (
    "back_bumper", "back_glass", "back_left_door", "back_left_light", "back_right_door",
    "back_right_light", "front_bumper", "front_glass", "front_left_door", "front_left_light",
    "front_right_door", "front_right_light", "hood", "left_mirror", "right_mirror", "tailgate",
    "trunk", "wheel",
)  # fmt: skip
"""Label 1 to 18 of the label map; 0 is background."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--out", type=Path, default=Path(__file__).with_name("car.png"), help="PNG to write")
    add("--masks", type=Path, help="folder for one mask per visible part and labels.png")
    add("--size", type=int, nargs=2, default=(1200, 800), metavar=("W", "H"))
    add("--samples", type=int, default=40, help="light paths per pixel; 0 for masks alone")
    add("--cell", type=float, default=0.0125, help="edge of the body's triangles in metres")
    add("--style", choices=("sedan", "hatchback", "coupe", "bus"), default="sedan")
    add("--paint", type=float, nargs=3, default=(0.012, 0.045, 0.15), metavar=("R", "G", "B"))
    add(
        "--scale",
        type=float,
        nargs=3,
        default=(1.0, 1.0, 1.0),
        metavar=("L", "W", "H"),
        help="length, width and height of the body against the drawing",
    )
    add(
        "--more",
        type=float,
        nargs=5,
        action="append",
        default=[],
        metavar=("X", "Y", "R", "G", "B"),
        help="another such car: metres ahead and to the left of the first, and its paint",
    )
    add("--azimuth", type=float, default=38.0, help="0 sees the nose, 90 the car's left side")
    add("--distance", type=float, default=6.9)
    add("--height", type=float, default=1.45, help="of the camera")
    add("--focal", type=float, default=50.0, help="of the lens, mm for full frame")
    add(
        "--sun",
        type=float,
        nargs=2,
        default=(38.0, -24.0),
        metavar=("UP", "SIDE"),
        help="degrees above the horizon, and from behind the camera to its right",
    )
    add("--steer", type=float, default=0.0, help="degrees of the front wheels, to the left")
    add("--damage", action="store_true", help="a dent and scratches on the left side")
    add("--seed", type=int, default=1, help="of the surroundings")
    return parser.parse_args()


def write_masks(folder: Path, labels: NDArray[np.uint8]) -> None:
    """labels.png and one black and white PNG for each part in the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(folder / "labels.png")
    for index, name in enumerate(PARTS, start=1):
        if (labels == index).any():
            Image.fromarray(((labels == index) * 255).astype(np.uint8)).save(folder / f"{name}.png")


def main() -> None:
    options = arguments()
    view = scene.View(
        azimuth=options.azimuth,
        distance=options.distance,
        height=options.height,
        focal=options.focal,
        sun_elevation=options.sun[0],
        sun_azimuth=options.sun[1],
        seed=options.seed,
    )
    bpy.ops.wm.read_factory_settings(use_empty=True)
    shades = scene.materials(tuple(options.paint))
    if options.style == "bus":
        pieces = bus.pieces()
    else:
        shape = Shape(options.style)
        if options.damage:
            body = body_pieces(shape, options.cell, damage.dented(shape.body), damage.scratches())
        else:
            body = body_pieces(shape, options.cell)
        pieces = [*body, *fittings(shape, options.steer)]
    if tuple(options.scale) != (1.0, 1.0, 1.0):
        pieces = [piece.scaled(tuple(options.scale)) for piece in pieces]
    added = scene.add_pieces(pieces, shades)
    for x, y, *paint in options.more:
        other = {**shades, "paint": scene.material("paint", scene.car_paint(tuple(paint)))}
        added += scene.add_pieces([piece.moved((x, y, 0.0)) for piece in pieces], other)
    surroundings.build(view, shades)
    scene.sky(view)
    scene.camera(view, (0.5 * np.cos(np.radians(view.azimuth)), 0.0, 0.68))
    if options.samples:
        scene.render(options.out.resolve(), tuple(options.size), options.samples)
        # the pixels alone: Blender also writes the date and the render time into the file
        Image.fromarray(np.array(Image.open(options.out))).save(options.out, optimize=True)
    if options.masks:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "labels.png"
            scene.render_labels(path, tuple(options.size), added, PARTS)
            write_masks(options.masks, np.array(Image.open(path).convert("L")))


if __name__ == "__main__":
    main()
