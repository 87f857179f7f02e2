"""The stages in order, for one picture: parts, then car type, then polygons.

The type comes after the parts because the classifier looks at the car's box, which the parts give.
Knows no Flask and no disk but the model files; one `Pipeline` is shared by all threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from car_classification import CarType, TypeClassifier
from img_to_segments import PART_NAMES, PartSegmenter, Segmentation
from model_files import MODELS, ModelError, models_version
from poligons_from_seg import (
    DEFAULT_TOLERANCE,
    Outline,
    Polygon,
    Topology,
    label_map_to_outlines,
)
from rear import name_rear
from runtimes import Wish, choose
from segment_interface import Photo

log = logging.getLogger(__name__)

Stage = Literal["parts", "type", "polygons"]  # in the order in which they come

MODELS_FAILED = "The service could not load its models; its log says why."


class ModelsError(Exception):
    """The models could not be loaded; the message is safe to show."""


@dataclass(frozen=True)
class Analysis:
    """What the networks say about one picture.

    Attributes:
        type: the body type, or None where no car was found or its type can't be told.
        labels: (H, W) uint8 label map at full size; 0 background, 1..18 as in PART_NAMES.
        confidences: 0..1 for each part that is present.
        outlines: those of the labels with the default tolerance, where they are known already.
        rotation: degrees clockwise, 0, 90, 180 or 270, by which the photo would stand upright.
        other_cars: there are more cars of similar size, whose parts are left out.
    """

    type: CarType | None
    labels: NDArray[np.uint8]
    confidences: dict[str, float]
    outlines: dict[int, Outline] | None = None
    rotation: int = 0
    other_cars: bool = False

    def parts(self) -> list[Part]:
        """The parts with their polygons, as `outline` gives them by default."""
        if self.outlines is None:
            return outline(self.labels, self.confidences)
        return _parts(self.outlines, self.confidences)


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
    """What the jobs need of a `Pipeline`.

    Attributes:
        version: names the models and the code that make results, see `model_files.models_version`;
            "" where there are no models.
    """

    version: str

    def analyse(self, photo: Photo, at: Callable[[Stage], None] = ...) -> Analysis:
        """See `Pipeline.analyse`."""
        ...


class Pipeline:
    """The models, loaded once in the background, and the way through them.

    Attributes:
        runtime: what runs the networks.
        version: see `Analyser`.
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
        try:
            self.version = models_version(folder)
        except ModelError:  # to load them fails, too, and tells why
            self.version = ""
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
        self,
        photo: Photo | NDArray[np.uint8],
        at: Callable[[Stage], None] = lambda stage: None,
    ) -> Analysis:
        """Find the parts and the type of the car. Waits for the models where they still load.

        Args:
            photo: a photo, or all its pixels, (H, W, 3) uint8, upright.
            at: called with each stage when it begins.

        Raises:
            ModelsError: the models could not be loaded.
        """
        segment, classify = self.wait()
        if not isinstance(photo, Photo):
            photo = Photo.of(photo)
        with self.runtime.crowd as crowd:
            at("parts")
            cells = segment.cells(photo.pixels)
            if not cells.confidences:
                return _no_car(photo)
            at("type")
            box = cells.box(*photo.pixels.shape[:2])
            look = partial(classify, photo.pixels, box, cells.probabilities)
            if crowd.size < self.runtime.threads:  # a core is free: outlines at the same time
                with crowd:
                    waiting = _beside(look)
                    segmentation = segment.enlarge(cells, *photo.size)
                    outlines = label_map_to_outlines(segmentation.labels)
                    car_type = waiting.result()
                at("polygons")
            else:
                car_type, outlines = look(), None
                at("polygons")
                segmentation = segment.enlarge(cells, *photo.size)
            if car_type is None or not segmentation.confidences:
                return _no_car(photo)  # the second look says that the parts were none
            return _put_together(segmentation, car_type, outlines)


def _no_car(photo: Photo) -> Analysis:
    return Analysis(None, np.zeros(photo.size, np.uint8), {})


def _beside(look: Callable[[], CarType | None]) -> Future[CarType | None]:
    """Run something in a thread of its own."""
    found: Future[CarType | None] = Future()

    def run() -> None:
        try:
            found.set_result(look())
        except BaseException as error:  # whatever it is, whoever waits gets it
            found.set_exception(error)

    threading.Thread(target=run, name="type", daemon=True).start()
    return found


def _put_together(
    segmentation: Segmentation, car_type: CarType, outlines: dict[int, Outline] | None
) -> Analysis:
    """Name the rear part by the type, and outline what is not outlined yet."""
    named = name_rear(segmentation, car_type.scores)
    if outlines is None or named.labels is not segmentation.labels:
        outlines = label_map_to_outlines(named.labels)
    return Analysis(car_type, named.labels, named.confidences, outlines)


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
        tolerance: as in `label_map_to_outlines`, None for its default.
        max_vertices, topology: as there.
    """
    outlines = label_map_to_outlines(
        labels,
        tolerance=DEFAULT_TOLERANCE if tolerance is None else tolerance,
        max_vertices=max_vertices,
        topology=topology,
    )
    return _parts(outlines, confidences)


def _parts(outlines: Mapping[int, Outline], confidences: Mapping[str, float]) -> list[Part]:
    """Outlines with names and confidences, in the order of PART_NAMES."""
    parts = []
    for label, name in enumerate(PART_NAMES, start=1):
        if name not in confidences or label not in outlines:
            continue
        found = outlines[label]
        confidence = round(confidences[name], 4)
        parts.append(Part(name, confidence, found.area, found.bbox, found.polygons))
    return parts
