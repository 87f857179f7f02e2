"""Ask the service about the validation photos. All calls of the pipeline are in this module."""

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

from photo_result import NO_CAR, Analysis, Part, Result
from pipeline import Pipeline
from poligons_from_seg import rasterize
from segment_interface import Photo, decode_photo
from training.corrections import read_corrections
from training.parts_data import Annotation, read_coco, read_labels, widen
from training.validation import MAX_PIXELS, ValidationPhoto
from vision.labels import label_of

Task = TypeVar("Task")
Done = TypeVar("Done")

TURNS = (90, 180, 270)  # degrees clockwise
SIZES = tuple(round(side) for side in np.linspace(400, 2000, 10))  # longest sides, in pixels
MARGIN = 1.6  # size of a close-up relative to its part's box
QUALITY = 90  # JPEG quality of photos that are sent at other sizes


@dataclass(frozen=True)
class Answer:
    """The answer that a client receives for one photo.

    Attributes:
        photo: the photo and its truth.
        scores: probability by type; None if the answer has no type.
        confidences: of all parts, including those that are not delivered by default.
        delivered: names of the parts that are delivered by default.
        rotation: degrees clockwise that turn the photo upright.
        message: text of the answer.
    """

    photo: ValidationPhoto
    scores: dict[str, float] | None
    confidences: dict[str, float]
    delivered: frozenset[str]
    rotation: int
    message: str

    @property
    def type(self) -> str | None:
        """The answer's type, or None."""
        return None if self.scores is None else max(self.scores, key=self.scores.__getitem__)

    @property
    def is_empty(self) -> bool:
        """Return True if the message says that there is no car."""
        return self.message.startswith(NO_CAR)


@dataclass(frozen=True)
class PartsAnswer:
    """The answer for one annotated photo, with masks.

    Attributes:
        photo: the photo and its truth.
        parts: all parts, including those that are not delivered by default.
        delivered: the parts that are delivered by default.
        confidences: of all parts, not rounded.
        guess: label map (H, W) uint8, drawn from the polygons of the delivered parts.
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
    """The answer for one photo turned by some degrees, compared with the upright photo.

    Attributes:
        photo: the photo.
        turn: degrees clockwise by which it is turned.
        rotation: degrees clockwise that turn it upright, according to the service.
        found: parts that are delivered for the upright photo.
        kept: members of `found` that are delivered in the same place (IoU > 0.5) for the turned
            photo.
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
        named: true if its part, of either side, is delivered.
        typed: true if the answer has a type.
    """

    close_up: CloseUp
    named: bool
    typed: bool


@dataclass(frozen=True)
class SizesAnswer:
    """The answers for one photo at each of SIZES: its types, and true for those without a car."""

    photo: ValidationPhoto
    types: list[str | None]
    is_empty: list[bool]


class Service:
    """The service's pipeline, asked about several photos concurrently.

    Args:
        pipeline: the pipeline.
        calls: number of photos that are processed concurrently.
    """

    def __init__(self, pipeline: Pipeline, calls: int = 1) -> None:
        self._pipeline, self._calls = pipeline, calls

    def ask(self, photo: Photo | NDArray[np.uint8], *, damage: bool = False) -> Result:
        """Return the result for one photo, with its damage if asked."""
        return self._result(self._pipeline.analyse(photo, damage=damage))

    def _result(self, analysis: Analysis) -> Result:
        return Result.of(analysis, self._pipeline.version)

    def map(self, work: Callable[[Task], Done], tasks: Sequence[Task], name: str) -> list[Done]:
        """Run all tasks and return their results, in order."""
        with ThreadPoolExecutor(self._calls) as pool:
            done = pool.map(work, tasks)
            return list(tqdm(done, name, len(tasks), mininterval=5))

    def answers(self, photos: Sequence[ValidationPhoto], name: str) -> list[Answer]:
        """Return the answers for the photos as uploaded."""
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
        assert photo.labels is not None  # annotated photos have them
        truth = read_labels(photo.labels)
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
        labels[rasterize(part.polygons, height, width)] = label_of(part.name)
    return labels


def turned(image: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """Turn a picture (H, W, ...) clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, -degrees // 90))


def resized(rgb: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Scale a photo (H, W, 3) to a longest side of `longest` pixels."""
    height, width = rgb.shape[:2]
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(rgb, size, interpolation=method).astype(np.uint8)


def jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode a photo (H, W, 3) as a JPEG, as users send it."""
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
    """Return close-ups of the annotated parts of photos, at most `most` per part name.

    Each wheel has its own close-up, even if one annotation outlines several wheels.

    Args:
        data: folder of the data sets.
        photos: annotated photos.
        most: limit per part name; the choice is random with a fixed seed.
        smallest: least length of a close-up's shorter side, in pixels.
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
    """Return x0, y0, x1, y1 of a part's box, scaled by MARGIN, within the (widened) photo."""
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
    """Split annotations of several wheels into one annotation per wheel."""
    for annotation in annotations:
        if annotation.name == "wheel":
            for polygon in annotation.polygons:
                yield replace(annotation, polygons=[polygon])
        else:
            yield annotation


def _masks(result: Result, turn: int) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of the parts delivered by default, turned clockwise by `turn` degrees."""
    labels = turned(result.labels(), turn)
    return {part.name: labels == label_of(part.name) for part in result.sure_parts()}


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / union if union else 0.0
