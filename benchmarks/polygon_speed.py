"""Measure the time of the polygons relative to the network, in one run on one machine.

    python -m benchmarks.polygon_speed [PHOTO ...] [--threads N] [--rounds N]

Photos (sample/car.png if none is given) are scaled to 1920x1080. Network and polygons take turns,
so that both see the same state of the machine. The figures are medians over the rounds; the result
is their ratio. Polygons always run on one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from img_to_segments import PartSegmenter
from poligons_from_seg import label_map_to_polygons

HERE = Path(__file__).parent


def milliseconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", type=Path, default=[HERE.parent / "sample/car.png"])
    parser.add_argument("--threads", type=int, default=1, help="cores for the network")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    segment = PartSegmenter()
    print("photo: parts, polygons, vertices; network ms, polygons ms (ratio), shared ms (ratio)")
    for path in options.photos:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            sys.exit(f"{path} is not a picture that can be read.")
        rgb = np.asarray(cv2.resize(picture, (1920, 1080), interpolation=cv2.INTER_AREA), np.uint8)
        labels = segment(rgb).labels
        tasks: list[Callable[[], object]] = [
            partial(segment.logits, rgb),
            partial(label_map_to_polygons, labels),
            partial(label_map_to_polygons, labels, topology="shared"),
        ]
        times = [[milliseconds(task) for task in tasks] for _ in range(options.rounds)]
        network, apart, shared = np.median(times, axis=0).tolist()
        found = label_map_to_polygons(labels)
        polygons = [polygon for pieces in found.values() for polygon in pieces]
        vertices = sum(len(ring) for p in polygons for ring in (p.exterior, *p.holes))
        print(
            f"{path.name}: {len(found)} parts, {len(polygons)} polygons, {vertices} vertices; "
            f"{network:.1f}, {apart:.1f} ({apart / network:.3f}), "
            f"{shared:.1f} ({shared / network:.3f})"
        )


if __name__ == "__main__":
    main()
