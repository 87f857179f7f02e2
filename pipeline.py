"""Run the stages on a photo: find the parts, then the car type, then the polygons.

The type comes after the parts because the classifier needs the box around the parts. Damage is
found only if it is asked for, in the photo that was turned upright by the parts. All threads
share one `Pipeline`. This module does not depend on Flask, and reads only the model files.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from analysis.damage_segments import DamageMap, DamageSegmenter
from analysis.photo_turn import Orientation, classify, turn_upright
from car_classification import TypeClassifier
from geometry.rings import exteriors, retrace, trace
from img_to_segments import CoarseSegmentation, PartSegmenter, Segmentation
from photo_result import Analysis, Stage
from poligons_from_seg import Outline, label_map_to_outlines, rings_to_outlines
from segment_interface import Photo
from settings import (
    DEFAULT_PRECISION,
    PREFIX,
    Precision,
    Settings,
    SettingsError,
    network_threads,
    usable_cores,
)
from vision.labels import name_of
from vision.model_files import MODELS, ModelFileError, damage_version, models_version
from vision.part_rules import has_trunk, label_changes
from vision.runtimes.choose import RuntimeConfig, RuntimeMissingError, RuntimeSetting, choose
from vision.specks import remove_specks
from vision.upsample import map_scale

log = logging.getLogger("carseg.pipeline")

MODELS_FAILED = "The service could not load its models; its log says why."
DAMAGE_FAILED = "The service could not load its damage network; its log says why."
MODELS_LOADING = "The models are still being loaded."


class ModelsNotLoadedError(Exception):
    """Error for models that could not be loaded. The message may be shown to clients."""


class Analyser(Protocol):
    """The interface through which jobs use a `Pipeline`.

    Attributes:
        version: of the models and the code that make results, see
            `vision.model_files.models_version`; "" if it can't be read.
        damage_version: of the damage network, see `vision.model_files.damage_version`; "" if it
            can't be read.
        problem: one sentence on why no photo can be analysed now; None if one can.
    """

    version: str
    damage_version: str

    @property
    def problem(self) -> str | None: ...

    def analyse(
        self, photo: Photo, on_stage: Callable[[Stage], None] = ..., *, damage: bool = False
    ) -> Analysis:
        """See `Pipeline.analyse`."""
        ...


class Pipeline:
    """The models, loaded once in the background, and the stages that use them.

    Attributes:
        runtime: the runtime of the networks.
        version, damage_version: see `Analyser`.
    """

    def __init__(
        self,
        threads: int = 1,
        folder: Path = MODELS,
        runtime: RuntimeSetting = "auto",
        calls: int = 1,
        precision: Precision = DEFAULT_PRECISION,
        *,
        damage: bool = False,
    ) -> None:
        """Start to load the models in the background.

        Args:
            threads: cores that one call may use. torch and OpenCV apply it to the whole process.
            folder: holds the models.
            runtime: name of the runtime, or `auto`.
            calls: most photos that are analysed concurrently.
            precision: of the networks, see `vision.runtimes.choose.RuntimeConfig`.
            damage: load the damage network now, too, not only when a photo needs it.

        Raises:
            RuntimeMissingError: the runtime is not installed.
        """
        cv2.setNumThreads(threads)
        self.runtime = choose(runtime, threads, calls, precision)
        self.version = _version_or_none(partial(models_version, precision=precision), folder)
        of_damage = partial(damage_version, precision=precision)
        self.damage_version = _version_or_none(of_damage, folder)
        self._damage = _DamageNetwork(folder, replace(self.runtime, lean=True))
        self._models: Future[tuple[PartSegmenter, TypeClassifier]] = Future()
        threading.Thread(target=self._load, args=(folder, damage), name="load-models").start()

    def _load(self, folder: Path, damage: bool) -> None:
        try:
            if damage:
                self._damage.load()
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
    def problem(self) -> str | None:
        """See `Analyser`: the models are still being loaded, or could not be loaded."""
        if not self._models.done():
            return MODELS_LOADING
        return MODELS_FAILED if self._models.exception() is not None else None

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
        on_stage: Callable[[Stage], None] = lambda stage: None,
        *,
        damage: bool = False,
    ) -> Analysis:
        """Find the parts and the type of the car, and its damage if asked.

        The call waits for the models if they are still loading.

        Args:
            photo: a photo, or all its pixels, (H, W, 3) uint8, upright by its EXIF orientation.
            on_stage: called with each stage when it begins.
            damage: examine the photo for damage, too.

        Raises:
            ModelsNotLoadedError: the models could not be loaded.
        """
        segmenter, classifier = self.wait()
        if not isinstance(photo, Photo):
            photo = Photo.of(photo)
        active = self.runtime.active_calls
        with active.track():
            on_stage("parts")
            cells = segmenter.cells(photo.pixels)
            on_stage("type")
            if cells.confidences and active.count < self.runtime.threads:  # a core is free
                posted, outlined = self._analyse_alone(segmenter, classifier, photo, cells)
            else:
                posted, outlined = self._analyse_shared(classifier, photo, cells)
            upright = turn_upright(segmenter, classifier, photo, posted)
            sees_car = classifier.sees_car(upright.view, upright.cells.basic)
            car_seen = sees_car or classifier.sees_close_up(photo.pixels)
            found = None
            if damage:
                on_stage("damage")
                parts = upright.cells if sees_car else None
                found = self._damage.find(photo, upright.quarters, parts, car_seen=car_seen)
                car_seen = car_seen or bool(found.pieces)
            if not sees_car:
                scale = map_scale(*photo.size)
                nothing = np.zeros((photo.height // scale, photo.width // scale), np.uint8)
                return Analysis(None, nothing, {}, {}, car_seen=car_seen, damage=found, scale=scale)
            on_stage("polygons")
            if outlined is None or upright is not posted:
                cells = upright.cells.turned(upright.quarters)
                outlined = _outline(segmenter, cells, photo.size)
            return replace(_finish(outlined, upright, classifier), damage=found)

    def _analyse_alone(
        self,
        segmenter: PartSegmenter,
        classifier: TypeClassifier,
        photo: Photo,
        cells: CoarseSegmentation,
    ) -> tuple[Orientation, _OutlinedParts | None]:
        """Classify the car in a second thread while this one outlines the parts."""
        with self.runtime.active_calls.track():  # the second thread
            classified = _run_in_thread(partial(classify, classifier, photo.pixels, cells))
            outlined = _outline(segmenter, cells, photo.size)
            return classified.result(), outlined

    def _analyse_shared(
        self, classifier: TypeClassifier, photo: Photo, cells: CoarseSegmentation
    ) -> tuple[Orientation, _OutlinedParts | None]:
        """Classify the car. The outlines come later: a photo without a car needs none."""
        return classify(classifier, photo.pixels, cells), None


def open_pipeline(settings: Settings, *, calls: int = 1, processes: int = 1) -> Pipeline:
    """Start to load the models that the settings ask for.

    ONNX Runtime and OpenVINO return the same bits for any number of threads, so processes share the
    cores. torch does not, so each process uses the same number of threads as a single one.

    Args:
        settings: settings of the service.
        calls: most photos that are analysed concurrently in this process.
        processes: number of processes that analyse photos on the same cores.

    Raises:
        SettingsError: the runtime is not installed.
    """
    threads = network_threads()
    try:
        if processes > 1 and choose(settings.runtime).name != "torch":
            threads = min(threads, usable_cores() // processes)
        return Pipeline(
            threads,
            runtime=settings.runtime,
            calls=calls,
            precision=settings.precision,
            damage=settings.damage == "always",
        )
    except RuntimeMissingError as error:
        raise SettingsError(f"{PREFIX}RUNTIME={settings.runtime}: {error}.") from None


class _DamageNetwork:
    """The damage network, which is loaded when it is first needed. Thread-safe.

    Args:
        folder: holds the models.
        runtime: of the network.
    """

    def __init__(self, folder: Path, runtime: RuntimeConfig) -> None:
        self._folder, self._runtime = folder, runtime
        self._lock = threading.Lock()
        self._segmenter: DamageSegmenter | None = None

    def load(self) -> DamageSegmenter:
        """Return the network. Raises ModelsNotLoadedError."""
        with self._lock:
            if self._segmenter is None:
                try:
                    self._segmenter = DamageSegmenter(folder=self._folder, runtime=self._runtime)
                except Exception:
                    log.exception("The damage network could not be loaded")
                    raise ModelsNotLoadedError(DAMAGE_FAILED) from None
            return self._segmenter

    def find(
        self,
        photo: Photo,
        quarters: int,
        parts: CoarseSegmentation | None,
        *,
        car_seen: bool,
    ) -> DamageMap:
        """Find the damage in a photo.

        Args:
            photo: the photo as it was posted.
            quarters: quarter turns clockwise that turn it upright.
            parts: of the car in the upright photo; None if no car is seen as a whole.
            car_seen: True if it shows a car or a piece of one. Without one, damage must be surer.

        Raises:
            ModelsNotLoadedError: the network could not be loaded.
        """
        segmenter = self.load()
        cells = segmenter.cells(np.ascontiguousarray(np.rot90(photo.pixels, -quarters)))
        if not car_seen:
            cells = cells.surer(segmenter.description.thresholds.get("no_car_confidence", 0.0))
        if parts is not None:
            cells = cells.on_car(parts)
        scale = map_scale(*photo.size)
        return cells.turned(quarters).enlarge(photo.height // scale, photo.width // scale)


def _version_or_none(version: Callable[[Path], str], folder: Path) -> str:
    """Return a version of the models in a folder; "" if it can't be read.

    Then loading the models fails, too, and logs the reason.
    """
    try:
        return version(folder)
    except ModelFileError:
        return ""


@dataclass(frozen=True)
class _OutlinedParts:
    """The parts with their outlines; the lid is still a tailgate.

    Attributes:
        segmentation: with a label map of the photo, see `Analysis.labels`.
        outlines: of each label.
        scale: see `Analysis`.
    """

    segmentation: Segmentation
    outlines: dict[int, Outline]
    scale: int


def _run_in_thread(task: Callable[[], Orientation]) -> Future[Orientation]:
    """Run a task in a new thread."""
    found: Future[Orientation] = Future()

    def run() -> None:
        try:
            found.set_result(task())
        except BaseException as error:  # passed on to the caller
            found.set_exception(error)

    threading.Thread(target=run, name="type", daemon=True).start()
    return found


def _outline(
    segmenter: PartSegmenter, cells: CoarseSegmentation, size: tuple[int, int]
) -> _OutlinedParts:
    """Enlarge the parts for a photo of a size (height, width), and find their outlines."""
    scale = map_scale(*size)
    segmentation = segmenter.enlarge(cells, size[0] // scale, size[1] // scale)
    labels = segmentation.labels
    rings = trace(labels)
    thresholds = segmenter.description.thresholds
    least = thresholds["piece"] * (labels.size / cells.labels.size)  # pixels of the map
    changed = remove_specks(labels, exteriors(rings), least, thresholds["island"])
    if changed:
        rings = retrace(rings, labels, changed)
    outlines = rings_to_outlines(rings, labels.shape, scale=scale)
    return _OutlinedParts(segmentation, outlines, scale)


def _finish(outlined: _OutlinedParts, upright: Orientation, classifier: TypeClassifier) -> Analysis:
    """Apply the car type to the parts: name the lid, and the panels behind two doors."""
    view, cells = upright.view, upright.cells
    assert view is not None  # noqa: S101 - without a view there is no car
    car_type = classifier.type_of(view, cells.basic)
    known = car_type is not None
    changes = label_changes(
        trunk=has_trunk(view.scores) if known else cells.trunk_share > 0.5,
        two_doors=known and classifier.has_two_doors(view),
    )
    labels, outlines = outlined.segmentation.labels, dict(outlined.outlines)
    confidences = dict(outlined.segmentation.confidences)
    for old, new in changes.items():
        if old not in outlines:
            continue
        x, y, width, height = (side // outlined.scale for side in outlines[old].bbox)
        window = labels[y : y + height, x : x + width]
        window[window == old] = new
        outline, confidence = outlines.pop(old), confidences.pop(name_of(old))
        merged = new in outlines
        outlines[new] = outline
        confidences.setdefault(name_of(new), confidence)
        if merged:  # a piece of the quarter panel had that label before
            outlines = label_map_to_outlines(labels, scale=outlined.scale)
    return Analysis(
        car_type,
        labels,
        confidences,
        outlines,
        90 * upright.quarters,
        cells.other_cars,
        scale=outlined.scale,
    )
