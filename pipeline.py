"""Run the stages on a photo: find the parts, then the car type, then the polygons.

The type comes after the parts because the classifier needs the box around the parts. All threads
share one `Pipeline`. This module does not depend on Flask, and reads only the model files.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from car_classification import TypeClassifier
from img_to_segments import CoarseSegmentation, PartSegmenter, Segmentation
from photo_result import Analysis, Stage
from photo_turn import QUARTERS, Look, best_look
from poligons_from_seg import Outline, label_map_to_outlines
from segment_interface import Photo
from vision.labels import name_of
from vision.model_files import MODELS, ModelFileError, models_version
from vision.part_rules import has_trunk, label_changes
from vision.runtimes.choose import RuntimeSetting, choose
from vision.specks import remove_specks

log = logging.getLogger("carseg.pipeline")

MODELS_FAILED = "The service could not load its models; its log says why."


class ModelsNotLoadedError(Exception):
    """Error for models that could not be loaded. The message may be shown to clients."""


class Analyser(Protocol):
    """The interface through which jobs use a `Pipeline`.

    Attributes:
        version: of the models and the code that make results, see
            `vision.model_files.models_version`; "" if it can't be read.
    """

    version: str

    def analyse(self, photo: Photo, at: Callable[[Stage], None] = ...) -> Analysis:
        """See `Pipeline.analyse`."""
        ...


class Pipeline:
    """The models, loaded once in the background, and the stages that use them.

    Attributes:
        runtime: the runtime of the networks.
        version: see `Analyser`.
    """

    def __init__(
        self,
        threads: int = 1,
        folder: Path = MODELS,
        runtime: RuntimeSetting = "auto",
        calls: int = 1,
    ) -> None:
        """Start to load the models in the background.

        Args:
            threads: cores that one call may use. torch and OpenCV apply it to the whole process.
            folder: holds the models.
            runtime: name of the runtime, or `auto`.
            calls: most photos that are analysed concurrently.

        Raises:
            RuntimeMissingError: the runtime is not installed.
        """
        cv2.setNumThreads(threads)
        self.runtime = choose(runtime, threads, calls)
        try:
            self.version = models_version(folder)
        except ModelFileError:  # loading the models fails, too, and logs the reason
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
        """Return True if the models are loaded."""
        return self._models.done() and self._models.exception() is None

    @property
    def failed(self) -> bool:
        """Return True if the models could not be loaded."""
        return self._models.done() and self._models.exception() is not None

    def wait(self) -> tuple[PartSegmenter, TypeClassifier]:
        """Wait until the models are loaded, and return them.

        Raises:
            ModelsNotLoadedError: the models could not be loaded.
        """
        try:
            return self._models.result()
        except Exception:
            raise ModelsNotLoadedError(MODELS_FAILED) from None

    def analyse(
        self,
        photo: Photo | NDArray[np.uint8],
        at: Callable[[Stage], None] = lambda stage: None,
    ) -> Analysis:
        """Find the parts and the type of the car.

        The call waits for the models if they are still loading.

        Args:
            photo: a photo, or all its pixels, (H, W, 3) uint8, upright by its EXIF orientation.
            at: called with each stage when it begins.

        Raises:
            ModelsNotLoadedError: the models could not be loaded.
        """
        segment, classify = self.wait()
        if not isinstance(photo, Photo):
            photo = Photo.of(photo)
        with self.runtime.crowd as crowd:
            at("parts")
            cells = segment.cells(photo.pixels)
            drawing = None
            if cells.confidences and crowd.size < self.runtime.threads:
                at("type")
                with crowd:  # a core is free: find the outlines concurrently
                    waiting = _run_in_thread(partial(_look, classify, photo.pixels, cells))
                    drawing = _draw(segment, cells, photo.size)
                    look = waiting.result()
            else:
                if cells.confidences:
                    at("type")
                look = _look(classify, photo.pixels, cells)
            if look.is_doubtful:
                best = best_look(look, [_turn(segment, classify, photo, q) for q in QUARTERS])
                if best is not look:
                    look, drawing = best, None
            if not classify.sees_car(look.view, look.cells):
                car_seen = classify.sees_close_up(photo.pixels)
                return Analysis(None, np.zeros(photo.size, np.uint8), {}, car_seen=car_seen)
            at("polygons")
            drawing = drawing or _draw(segment, look.cells.turned(look.quarters), photo.size)
            return _finish(drawing, look, classify)


@dataclass(frozen=True)
class _Drawing:
    """The parts at the photo's size, with their outlines; the lid is still a tailgate."""

    segmentation: Segmentation
    outlines: dict[int, Outline]


def _look(
    classify: TypeClassifier,
    pixels: NDArray[np.uint8],
    cells: CoarseSegmentation,
    quarters: int = 0,
) -> Look:
    """Run the type networks on a photo and its parts.

    Args:
        classify: the type networks.
        pixels: (h, w, 3) uint8, the photo, turned clockwise by `quarters` quarter turns.
        cells: the parts in the turned photo.
        quarters: 0 to 3.
    """
    if not cells.confidences:
        return Look(quarters, cells, None)
    box = cells.box(*pixels.shape[:2])
    return Look(quarters, cells, classify(pixels, box, cells.probabilities))


def _turn(segment: PartSegmenter, classify: TypeClassifier, photo: Photo, quarters: int) -> Look:
    """Run the networks on a photo after some quarter turns clockwise."""
    pixels = np.ascontiguousarray(np.rot90(photo.pixels, -quarters))
    return _look(classify, pixels, segment.cells(pixels), quarters)


def _run_in_thread(task: Callable[[], Look]) -> Future[Look]:
    """Run a task in a new thread."""
    found: Future[Look] = Future()

    def run() -> None:
        try:
            found.set_result(task())
        except BaseException as error:  # passed on to the caller
            found.set_exception(error)

    threading.Thread(target=run, name="type", daemon=True).start()
    return found


def _draw(segment: PartSegmenter, cells: CoarseSegmentation, size: tuple[int, int]) -> _Drawing:
    """Enlarge the parts to the photo's size (height, width), and find their outlines."""
    segmentation = segment.enlarge(cells, *size)
    outlines = label_map_to_outlines(segmentation.labels)
    cell = size[0] * size[1] / cells.labels.size  # pixels of a cell
    thresholds = segment.description.thresholds
    least = thresholds["piece"] * cell
    pieces = {
        label: [polygon.exterior for polygon in outline.polygons]
        for label, outline in outlines.items()
    }
    if remove_specks(segmentation.labels, pieces, least, thresholds["island"]):
        outlines = label_map_to_outlines(segmentation.labels)
    return _Drawing(segmentation, outlines)


def _finish(drawing: _Drawing, look: Look, classify: TypeClassifier) -> Analysis:
    """Apply the car type to the parts: name the lid, and drop impossible doors."""
    assert look.view is not None  # noqa: S101 - a look without a view shows no car
    car_type = classify.type_of(look.view, look.cells)
    known = car_type is not None
    changes = label_changes(
        trunk=has_trunk(look.view.scores) if known else look.cells.trunk_share > 0.5,
        two_doors=known and classify.has_two_doors(look.view),
    )
    labels, outlines = drawing.segmentation.labels, dict(drawing.outlines)
    confidences = dict(drawing.segmentation.confidences)
    for old, new in changes.items():
        if old not in outlines:
            continue
        x, y, width, height = outlines[old].bbox
        window = labels[y : y + height, x : x + width]
        window[window == old] = new
        outline, confidence = outlines.pop(old), confidences.pop(name_of(old))
        if new:
            outlines[new], confidences[name_of(new)] = outline, confidence
    rotation = 90 * look.quarters
    return Analysis(car_type, labels, confidences, outlines, rotation, look.cells.other_cars)
