"""AP and IoU are those of pycocotools, and those that one computes by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from img_to_segments import PART_NAMES
from photo_result import Part, outline
from poligons_from_seg import rasterize
from training.average_precision import (
    Judged,
    MaskPrecision,
    coco_documents,
    encode,
    index_documents,
)
from training.parts_metrics import PartScores
from vision.labels import label_of, name_of

HOOD, WHEEL = label_of("hood"), label_of("wheel")
Box = tuple[int, int, int, int]


def labels(**boxes: Box) -> NDArray[np.uint8]:
    """Return a label map 40 x 60 with rectangles x0, y0, x1, y1."""
    result = np.zeros((40, 60), np.uint8)
    for name, (x0, y0, x1, y1) in boxes.items():
        result[y0:y1, x0:x1] = label_of(name)
    return result


def parts(guess: NDArray[np.uint8], confidence: float) -> list[Part]:
    names = [name_of(label) for label in np.unique(guess[guess > 0])]
    return outline(guess, dict.fromkeys(names, confidence), tolerance=0)


def test_wrong_part_ranked_first_halves_precision() -> None:
    truth = labels(hood=(10, 10, 30, 30))
    elsewhere = labels(hood=(40, 5, 50, 15))
    precision = MaskPrecision([(parts(truth, 0.6), truth, ()), (parts(elsewhere, 0.9), truth, ())])
    ap, ap50 = precision.by_part()[HOOD - 1]
    # Of two hoods one is found, behind a wrong one: precision 1/2 up to recall 1/2, which is 51
    # of COCO's 101 recalls.
    assert ap == pytest.approx(51 / 101 / 2)
    assert ap50 == pytest.approx(51 / 101 / 2)


def test_part_counts_at_thresholds_that_its_iou_passes() -> None:
    truth = labels(hood=(10, 10, 30, 30))
    guess = labels(hood=(10, 10, 30, 24))  # IoU 0.7: passes 0.50, 0.55, 0.60, 0.65 and 0.70
    by_part = MaskPrecision([(parts(guess, 0.9), truth, ())]).by_part()
    assert by_part[HOOD - 1] == pytest.approx([0.5, 1.0])
    assert np.isnan(by_part[WHEEL - 1]).all()  # no photo shows one


def test_no_parts_found() -> None:
    truth = labels(hood=(10, 10, 30, 30))
    assert MaskPrecision([([], truth, ())]).by_part()[HOOD - 1].tolist() == [0.0, 0.0]


def test_unjudged_parts_are_left_out() -> None:
    truth = labels(hood=(10, 10, 30, 30))
    elsewhere = labels(hood=(40, 5, 50, 15))
    right, wrong = (parts(truth, 0.6), truth, ()), parts(elsewhere, 0.9)
    missing = MaskPrecision([right, (wrong, truth, ("hood",))]).by_part()
    assert missing[HOOD - 1] == pytest.approx([1, 1])  # the other photo says nothing about hoods
    ignored = truth.copy()
    ignored[0:11, 35:60] = 255  # six tenths of the wrong hood
    both = MaskPrecision([right, (wrong, ignored, ())]).by_part()[HOOD - 1]
    assert both == pytest.approx([51 / 101, 51 / 101])  # one of two, and nothing wrong before it
    ignored[6:11, 35:60] = 0  # one tenth: the rest of it is judged
    both = MaskPrecision([right, (wrong, ignored, ())]).by_part()[HOOD - 1]
    assert both == pytest.approx([51 / 101 / 2, 51 / 101 / 2])


def test_ignored_pixels_of_correct_part() -> None:
    truth = labels(hood=(10, 10, 30, 30))
    truth[10:30, 30:40] = 255
    guess = labels(hood=(10, 10, 40, 30))
    by_part = MaskPrecision([(parts(guess, 0.9), truth, ())]).by_part()
    assert by_part[HOOD - 1] == pytest.approx([1, 1])


def random_answers(count: int) -> list[Judged]:
    """Return slightly moved rectangles, some left out, with confidences of all sizes."""
    rng = np.random.default_rng(5)
    answers: list[Judged] = []
    for _ in range(count):
        true: dict[str, Box] = {}
        found: dict[str, Box] = {}
        for name in rng.choice(PART_NAMES, 4, replace=False):
            x, y = (int(value) for value in rng.integers(0, 25, 2))
            dx, dy = (int(value) for value in rng.integers(0, 5, 2))
            true[name] = (x, y, x + 15, y + 12)
            if rng.random() < 0.8:
                found[name] = (x + dx, y + dy, x + dx + 15, y + dy + 12)
        given = []
        for name, box in found.items():
            given += parts(labels(**{name: box}), round(float(rng.random()), 3))
        answers.append((given, labels(**true), ()))
    return answers


def test_mean_over_parts_equals_pycocotools() -> None:
    answers = random_answers(12)
    images, annotations, results = coco_documents(answers)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = index_documents(images, annotations)
        reference = COCOeval(truth, truth.loadRes(results), "segm")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    ap, ap50 = np.nanmean(MaskPrecision(answers).by_part(), axis=0)
    assert 0.02 < ap < ap50 < 1
    assert (ap, ap50) == pytest.approx(tuple(reference.stats[:2]), abs=1e-12)


def test_resampled_photos_count_by_weight() -> None:
    answers = random_answers(5)
    chosen = np.array([3, 0, 3, 4, 4])
    again = MaskPrecision([answers[i] for i in chosen]).by_part()
    np.testing.assert_allclose(MaskPrecision(answers).by_part(chosen), again, atol=1e-12)


def test_iou_equals_pycocotools() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 26, (30, 40), np.uint8)
    guess = np.where(rng.random((30, 40)) < 0.6, truth, rng.integers(0, 26, (30, 40))).astype(
        np.uint8
    )
    scores = PartScores()
    scores.add(guess, truth)
    figures = scores.figures()
    for label, name in enumerate(PART_NAMES, start=1):
        pair = [encode(guess == label)], [encode(truth == label)], [0]
        assert figures[f"iou_{name}"] == pytest.approx(coco_mask.iou(*pair)[0, 0]), name


def test_polygons_are_scored_as_they_are_drawn() -> None:
    guess = labels(hood=(10, 10, 30, 24), wheel=(35, 20, 50, 35))
    for part in parts(guess, 0.5):
        mask = guess == label_of(part.name)
        assert np.array_equal(rasterize(part.polygons, *guess.shape), mask)
