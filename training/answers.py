"""Ask the service about the validation photos; all that calls the pipeline is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from img_to_segments import PART_NAMES
from photo_result import NO_CAR, Analysis, Part, Result
from pipeline import Pipeline
from poligons_from_seg import rasterize
from segment_interface import Photo, decode_photo
from training.corrections import read_corrections
from training.parts_data import Annotation, read_coco, read_labels, widen
from training.validation import MAX_PIXELS, ValidationPhoto

Task = TypeVar("Task")
Done = TypeVar("Done")

TURNS = (90, 180, 270)  # degrees clockwise
SIZES = tuple(round(side) for side in np.linspace(400, 2000, 10))  # longest sides, in pixels
MARGIN = 1.6  # width and height of a close-up against those of its part
QUALITY = 90  # of the JPEGs in which photos are sent at other sizes


@dataclass(frozen=True)
class Answer:
    """The answer that a client gets for one photo.

    Attributes:
        photo: the photo and its truth.
        scores: probability by type; None where no type is given.
        confidences: of all parts, also of those that are not delivered by default.
        delivered: names of the parts that are delivered by default.
        rotation: degrees clockwise by which the photo would stand upright.
        message: of the answer.
    """

    photo: ValidationPhoto
    scores: dict[str, float] | None
    confidences: dict[str, float]
    delivered: frozenset[str]
    rotation: int
    message: str

    @property
    def type(self) -> str | None:
        """The type that is given."""
        return None if self.scores is None else max(self.scores, key=self.scores.__getitem__)

    @property
    def is_empty(self) -> bool:
        """Return True if the message says that there is no car."""
        return self.message == NO_CAR


@dataclass(frozen=True)
class PartsAnswer:
    """The answer for one annotated photo, with masks.

    Attributes:
        photo: the photo and its truth.
        parts: all parts, also those that are not delivered by default.
        delivered: those that are.
        confidences: of all parts, not rounded.
        guess: label map (H, W) uint8 that the polygons of these make.
        truth: label map (H, W) uint8, 255 is ignored.
    """

    photo: ValidationPhoto
    parts: list[Part]
    delivered: list[Part]
    confidences: dict[str, float]
    guess: NDArray[np.uint8]
    truth: NDArray[np.uint8]


@dataclass(frozen=True)
class TurnedAnswer:
    """The answers for one photo that is turned by some degrees, beside those for it upright.

    Attributes:
        photo: the photo.
        turn: degrees clockwise by which it is turned.
        rotation: degrees clockwise by which it would stand upright, as the service says.
        found: parts that are delivered for the upright photo.
        kept: those of them that are delivered for the turned one in the same place (IoU > 0.5).
    """

    photo: ValidationPhoto
    turn: int
    rotation: int
    found: int
    kept: int


@dataclass(frozen=True)
class CloseUp:
    """A cutout around one annotated part: x0, y0, x1, y1 in pixels of the widened photo."""

    photo: ValidationPhoto
    part: str
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class CloseUpAnswer:
    """The answer for a close-up.

    Attributes:
        close_up: the cutout.
        named: its part, of either side, is delivered.
        typed: a type is given.
    """

    close_up: CloseUp
    named: bool
    typed: bool


@dataclass(frozen=True)
class SizesAnswer:
    """The answers for one photo at each of SIZES: its types, and whether no car is found."""

    photo: ValidationPhoto
    types: list[str | None]
    is_empty: list[bool]


class Service:
    """The service's pipeline, asked about several photos at the same time.

    Args:
        pipeline: the pipeline.
        calls: photos that it works on at the same time.
    """

    def __init__(self, pipeline: Pipeline, calls: int = 1) -> None:
        self._pipeline, self._calls = pipeline, calls

    def ask(self, photo: Photo | NDArray[np.uint8]) -> Result:
        """Return the result for one photo."""
        return self._result(self._pipeline.analyse(photo))

    def _result(self, analysis: Analysis) -> Result:
        return Result.of(analysis, self._pipeline.version)

    def map(self, work: Callable[[Task], Done], tasks: Sequence[Task], name: str) -> list[Done]:
        """Do all tasks; returns what they give, in their order."""
        with ThreadPoolExecutor(self._calls) as pool:
            done = pool.map(work, tasks)
            return list(tqdm(done, name, len(tasks), mininterval=5))

    def answers(self, photos: Sequence[ValidationPhoto], name: str) -> list[Answer]:
        """Return the answers for photos as they are posted."""
        return self.map(lambda photo: _answer(photo, self.ask(photo.read())), photos, name)

    def parts_answers(self, photos: Sequence[ValidationPhoto]) -> list[PartsAnswer]:
        """Return the answers for annotated photos, with masks."""
        return self.map(self._with_masks, photos, "parts")

    def turned_answers(self, photos: Sequence[ValidationPhoto]) -> list[TurnedAnswer]:
        """Return the answers for annotated photos in each of TURNS."""
        answers = self.map(self._turned, photos, "turned")
        return [answer for of_one in answers for answer in of_one]

    def close_up_answers(self, close_ups: Sequence[CloseUp]) -> list[CloseUpAnswer]:
        """Return the answers for close-ups."""
        return self.map(self._close_up, close_ups, "close-ups")

    def sizes_answers(self, photos: Sequence[ValidationPhoto]) -> list[SizesAnswer]:
        """Return the answers for photos at each of SIZES, sent as JPEGs."""
        return self.map(self._sizes, photos, "sizes")

    def _with_masks(self, photo: ValidationPhoto) -> PartsAnswer:
        rgb = photo.pixels()
        truth = read_labels(photo.labels, (0, 0))
        if photo.squashed:
            truth = widen(truth, cv2.INTER_NEAREST)
        analysis = self._pipeline.analyse(rgb)
        result = self._result(analysis)
        delivered = result.sure_parts()
        guess = drawn(delivered, *truth.shape)
        return PartsAnswer(photo, result.parts, delivered, analysis.confidences, guess, truth)

    def _turned(self, photo: ValidationPhoto) -> list[TurnedAnswer]:
        rgb = photo.pixels()
        upright = _masks(self.ask(rgb), 0)
        answers = []
        for turn in TURNS:
            result = self.ask(turned(rgb, turn))
            masks = _masks(result, -turn)
            kept = sum(
                _iou(mask, masks[name]) > 0.5 for name, mask in upright.items() if name in masks
            )
            answers.append(TurnedAnswer(photo, turn, result.rotation, len(upright), kept))
        return answers

    def _close_up(self, close_up: CloseUp) -> CloseUpAnswer:
        x0, y0, x1, y1 = close_up.box
        result = self.ask(np.ascontiguousarray(close_up.photo.pixels()[y0:y1, x0:x1]))
        given = {without_side(part.name) for part in result.sure_parts()}
        named = without_side(close_up.part) in given
        return CloseUpAnswer(close_up, named, result.type is not None)

    def _sizes(self, photo: ValidationPhoto) -> SizesAnswer:
        rgb = photo.pixels()
        answers = [
            _answer(photo, self.ask(decode_photo(jpeg(resized(rgb, side)), MAX_PIXELS)))
            for side in SIZES
        ]
        return SizesAnswer(photo, [a.type for a in answers], [a.is_empty for a in answers])


def _answer(photo: ValidationPhoto, result: Result) -> Answer:
    return Answer(
        photo,
        None if result.type is None else result.type.scores,
        {part.name: part.confidence for part in result.parts},
        frozenset(part.name for part in result.sure_parts()),
        result.rotation,
        result.message(),
    )


def drawn(parts: Iterable[Part], height: int, width: int) -> NDArray[np.uint8]:
    """Draw the polygons of parts into a label map (height, width)."""
    labels = np.zeros((height, width), np.uint8)
    for part in parts:
        labels[rasterize(part.polygons, height, width)] = PART_NAMES.index(part.name) + 1
    return labels


def turned(image: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """Turn a picture (H, W, ...) clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, -degrees // 90))


def resized(rgb: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Scale a photo (H, W, 3) so that its longest side has so many pixels."""
    height, width = rgb.shape[:2]
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(rgb, size, interpolation=method).astype(np.uint8)


def jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode a photo (H, W, 3) as users send it."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()


def without_side(part: str) -> str:
    """Return a part's name without left or right.

    Example:
        >>> without_side("back_left_door"), without_side("left_mirror"), without_side("hood")
        ('back_door', 'mirror', 'hood')
    """
    return "_".join(word for word in part.split("_") if word not in ("left", "right"))


def list_close_ups(
    data: Path, photos: Sequence[ValidationPhoto], most: int, smallest: int = 16
) -> list[CloseUp]:
    """Return a close-up of each annotated part of annotated photos, at most `most` per part.

    Wheels are shown one by one, also where one annotation outlines several.

    Args:
        data: folder of the data sets.
        photos: annotated ones.
        most: close-ups of a part; which ones is drawn, always the same.
        smallest: shortest side of a close-up, in pixels; smaller ones are left out.
    """
    folder = data / "car_parts"
    corrections = read_corrections(folder / "corrections.json")
    annotated = read_coco(folder / "annotations.json", corrections)
    by_file = {photo.path.name: photo for photo in photos}
    found: dict[str, list[CloseUp]] = {}
    for each in annotated:
        photo = by_file.get(each.file)
        for annotation in _single(each.annotations) if photo else []:
            assert photo is not None
            box = close_up_box(annotation, each.height, each.width, photo.squashed)
            if not annotation.ignored and min(box[2] - box[0], box[3] - box[1]) >= smallest:
                close_up = CloseUp(photo, annotation.name, box)
                found.setdefault(annotation.name, []).append(close_up)
    chosen = []
    for name in sorted(found):
        order = np.random.default_rng(0).permutation(len(found[name]))[:most]
        chosen += [found[name][index] for index in order.tolist()]
    return chosen


def close_up_box(
    annotation: Annotation, height: int, width: int, squashed: bool
) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of a part's box, MARGIN times as large, within the (widened) photo."""
    stretch = round(width * 4 / 3) / width if squashed else 1.0
    x0, y0, x1, y1 = annotation.box()
    x0, x1, width = x0 * stretch, x1 * stretch, round(width * stretch)
    across, down = (MARGIN - 1) / 2 * (x1 - x0), (MARGIN - 1) / 2 * (y1 - y0)
    return (
        max(0, round(x0 - across)),
        max(0, round(y0 - down)),
        min(width, round(x1 + across)),
        min(height, round(y1 + down)),
    )


def _single(annotations: Iterable[Annotation]) -> Iterator[Annotation]:
    """Annotations with a single wheel each."""
    for annotation in annotations:
        if annotation.name == "wheel":
            for polygon in annotation.polygons:
                yield replace(annotation, polygons=[polygon])
        else:
            yield annotation


def _masks(result: Result, turn: int) -> dict[str, NDArray[np.bool_]]:
    """Masks of the parts that are delivered by default, turned clockwise by `turn` degrees."""
    labels = turned(result.labels(), turn)
    return {part.name: labels == PART_NAMES.index(part.name) + 1 for part in result.sure_parts()}


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / union if union else 0.0
