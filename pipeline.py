"""The stages in order, for one picture: parts, then car type, then polygons.

The type comes after the parts because the classifier looks at the car's box, which the parts give.
Knows no Flask and no disk but the model files; one `Pipeline` is shared by all threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from car_classification import CarType, TypeClassifier
from img_to_segments import PART_NAMES, PartSegmenter
from model_files import MODELS
from poligons_from_seg import DEFAULT_TOLERANCE, Polygon, Topology, label_map_to_polygons
from rear import name_rear
from runtimes import Wish, choose

log = logging.getLogger(__name__)

Stage = Literal["parts", "type", "polygons"]  # in the order in which they come

NO_CAR = "No car was found in this photo."
MODELS_FAILED = "The service could not load its models; its log says why."


class ModelsError(Exception):
    """The models could not be loaded; the message is safe to show."""


@dataclass(frozen=True)
class Analysis:
    """What the networks say about one picture.

    Attributes:
        type: the body type, or None where no car was found.
        labels: (H, W) uint8 label map at full size; 0 background, 1..18 as in PART_NAMES.
        confidences: 0..1 for each part that is present.
        message: one sentence for people.
    """

    type: CarType | None
    labels: NDArray[np.uint8]
    confidences: dict[str, float]
    message: str


@dataclass(frozen=True)
class Part:
    """One part of the car.

    Attributes:
        name: one of PART_NAMES.
        confidence: 0..1.
        area: number of pixels of its mask.
        bbox: (x, y, width, height) of its mask in pixels.
        polygons: one per visible piece, largest first.
    """

    name: str
    confidence: float
    area: int
    bbox: tuple[int, int, int, int]
    polygons: list[Polygon]


class Analyser(Protocol):
    """What the jobs need of a `Pipeline`."""

    def analyse(self, rgb: NDArray[np.uint8], at: Callable[[Stage], None] = ...) -> Analysis:
        """See `Pipeline.analyse`."""
        ...


class Pipeline:
    """The models, loaded once in the background, and the way through them.

    Attributes:
        runtime: what runs the networks.
    """

    def __init__(
        self,
        threads: int = 1,
        folder: Path = MODELS,
        runtime: Wish = "auto",
        calls: int = 1,
    ) -> None:
        """Start to load.

        Args:
            threads: cores that one call may use. It is a setting of the whole process, because
                torch and OpenCV have only one.
            folder: holds the models.
            runtime: what shall run the networks.
            calls: how many photos are worked on at the same time at most.

        Raises:
            RuntimeMissingError: it is not installed.
        """
        cv2.setNumThreads(threads)
        self.runtime = choose(runtime, threads, calls)
        self._models: Future[tuple[PartSegmenter, TypeClassifier]] = Future()
        threading.Thread(target=self._load, args=(folder,), name="load-models").start()

    def _load(self, folder: Path) -> None:
        try:
            models = (
                PartSegmenter(folder=folder, runtime=self.runtime),
                TypeClassifier(folder=folder, runtime=self.runtime),
            )
            self._models.set_result(models)
        except Exception as error:
            log.exception("The models could not be loaded")
            self._models.set_exception(error)
        else:
            log.info("Models are loaded, in %s", self.runtime.name)

    @property
    def loaded(self) -> bool:
        """Whether the models can be used."""
        return self._models.done() and self._models.exception() is None

    @property
    def failed(self) -> bool:
        """Whether the models could not be loaded."""
        return self._models.done() and self._models.exception() is not None

    def wait(self) -> tuple[PartSegmenter, TypeClassifier]:
        """Wait until the models are loaded, and give them. Raises ModelsError."""
        try:
            return self._models.result()
        except Exception:
            raise ModelsError(MODELS_FAILED) from None

    def analyse(
        self, rgb: NDArray[np.uint8], at: Callable[[Stage], None] = lambda stage: None
    ) -> Analysis:
        """Find the parts and the type of the car. Waits for the models where they still load.

        Args:
            rgb: (H, W, 3) uint8, upright.
            at: called with each stage when it begins.

        Raises:
            ModelsError: the models could not be loaded.
        """
        segment, classify = self.wait()
        at("parts")
        segmentation = segment(rgb)
        if not segmentation.confidences:
            return Analysis(None, segmentation.labels, {}, NO_CAR)
        at("type")
        car_type = classify(rgb, _box(segmentation.labels > 0))
        if car_type is None:  # the second look says that the parts were none
            return Analysis(None, np.zeros_like(segmentation.labels), {}, NO_CAR)
        segmentation = name_rear(segmentation, car_type.scores)
        count = len(segmentation.confidences)
        message = "1 part was found." if count == 1 else f"{count} parts were found."
        return Analysis(car_type, segmentation.labels, segmentation.confidences, message)


def outline(
    labels: NDArray[np.uint8],
    confidences: dict[str, float],
    *,
    tolerance: float | None = None,
    max_vertices: int | None = None,
    topology: Topology = "independent",
) -> list[Part]:
    """The parts of a label map with their polygons, in the order of PART_NAMES.

    Args:
        labels: (H, W) uint8 label map.
        confidences: 0..1 for each part that is present.
        tolerance: as in `label_map_to_polygons`, None for its default.
        max_vertices, topology: as there.
    """
    polygons = label_map_to_polygons(
        labels,
        tolerance=DEFAULT_TOLERANCE if tolerance is None else tolerance,
        max_vertices=max_vertices,
        topology=topology,
    )
    parts = []
    for label, name in enumerate(PART_NAMES, start=1):
        if name not in confidences or not polygons.get(label):
            continue
        mask = labels == label
        x0, y0, x1, y1 = _box(mask)
        parts.append(
            Part(
                name=name,
                confidence=round(confidences[name], 4),
                area=int(np.count_nonzero(mask)),
                bbox=(x0, y0, x1 - x0, y1 - y0),
                polygons=polygons[label],
            )
        )
    return parts


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) around the True pixels of a mask that has some; x1 and y1 exclusive."""
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
