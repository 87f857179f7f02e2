"""Separate the parts of the largest car from the parts of other cars.

The part network labels the parts of any car. A car has each part once, except its wheels. So a part
that occurs in two separate places belongs to two cars.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.labels import PART_NAMES, WHEEL, label_of

# Largest gap between parts that count as touching, as a share of the diagonal around all parts.
_GAP = 0.03
_ALIKE = 0.02  # a second piece counts from this share of the first one's area
# Touching parts may still belong to two cars. A car has one of each of these parts, in one piece.
_WHOLE = tuple(
    label_of(name)
    for name in (
        "hood", "front_glass", "back_glass", "front_bumper", "back_bumper", "tailgate",
        "front_left_light", "front_right_light", "back_left_light", "back_right_light",
    )
)  # fmt: skip
_SECOND = 0.15  # a second piece counts from this share of the first piece's area
_SECOND_CELLS = 12  # and from this many cells
_CAR = 0.05  # a smaller second piece is a stray one: single parts near it stay
_CLUSTER = 3  # different parts from which a group near a stray piece goes with it
_SIMILAR = 0.15  # other cars are mentioned from this share of the largest car's area


@dataclass(frozen=True)
class LargestCar:
    """The parts of the largest car.

    Attributes:
        labels: (h, w) uint8 label map without the parts of other cars.
        elsewhere: (h, w) bool, True for cells nearer to parts of other cars.
        has_rivals: True if other cars are of similar size.
    """

    labels: NDArray[np.uint8]
    elsewhere: NDArray[np.bool_]
    has_rivals: bool


def largest_car(labels: NDArray[np.uint8]) -> LargestCar:
    """Keep the parts of the largest car.

    Args:
        labels: (h, w) uint8 label map at the network's resolution.
    """
    alone = LargestCar(labels, np.zeros(labels.shape, np.bool_), False)
    if not labels.any():
        return alone
    groups, count = _groups(labels)
    areas = _areas_by_label(labels, groups, count)
    main = int(areas.sum(1).argmax())
    once = np.arange(areas.shape[1]) != WHEEL
    twice = (areas > _ALIKE * areas[main]) & (areas[main] > 0) & once
    others = [group for group in range(count) if group != main and twice[group].any()]
    share = areas.sum(1) / areas[main].sum()
    if not others:
        return replace(alone, has_rivals=_touches_another(labels))
    cars = [group for group in others if share[group] > _CAR]
    clusters = {group for group in range(count) if np.count_nonzero(areas[group]) >= _CLUSTER}
    near = _parts_near(groups, main, cars) | (_parts_near(groups, main, others) & clusters)
    drop = sorted(near.union(others))
    dropped = np.isin(groups, drop)
    kept = np.where(dropped, np.uint8(0), labels)
    elsewhere = _distances(dropped) < _distances(kept > 0)
    return LargestCar(kept, elsewhere, bool(share[drop].sum() > _SIMILAR))


def _parts_near(groups: NDArray[np.int32], main: int, others: list[int]) -> set[int]:
    """Return the groups that are nearer to other cars than to the largest car.

    Args:
        groups: (h, w) number of the group of each cell, -1 for the background.
        main: group of the largest car.
        others: groups of other cars.
    """
    if not others:
        return set()
    nearer = _distances(groups == main) > _distances(np.isin(groups, others))
    return set(np.unique(groups[nearer & (groups >= 0)]).tolist()) - {main}


def _touches_another(labels: NDArray[np.uint8]) -> bool:
    """Return True if at least two parts that a car has once are in two large, separate pieces."""
    _, _, width, height = cv2.boundingRect(labels)
    gap = max(2.0, _GAP * float(np.hypot(width, height)))
    present = np.bincount(labels.ravel(), minlength=1 + len(PART_NAMES)) > 0
    return sum(_is_twice(labels == label, gap) for label in _WHOLE if present[label]) >= 2


def _is_twice(mask: NDArray[np.bool_], gap: float) -> bool:
    """Return True if a part has a second large piece that is not just cut off by a pole."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    mask = np.ascontiguousarray(mask[y : y + height, x : x + width])
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if len(areas) < 2:
        return False
    second, first = np.argsort(areas)[-2:]
    if areas[second] < max(_SECOND_CELLS, _SECOND * areas[first]):
        return False
    return bool(_distances(pieces == first + 1)[pieces == second + 1].min() > gap)


def _groups(labels: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
    """Find the groups of parts that touch.

    Returns:
        (h, w) int32 number of the group of each cell, -1 for the background; and the number of
        groups.
    """
    _, _, width, height = cv2.boundingRect(labels)
    radius = max(1, round(_GAP * float(np.hypot(width, height)) / 2))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = np.pad((labels > 0).view(np.uint8), radius)
    count, groups = cv2.connectedComponents(cv2.dilate(padded, disc), connectivity=8)
    inner = groups[radius:-radius, radius:-radius]
    return np.where(labels > 0, inner - 1, -1).astype(np.int32), count - 1


def _areas_by_label(
    labels: NDArray[np.uint8], groups: NDArray[np.int32], count: int
) -> NDArray[np.int64]:
    """Count the cells of each label in each group.

    Returns:
        (groups, 1 + parts) int64.
    """
    width = 1 + len(PART_NAMES)
    inside = labels > 0
    places = groups[inside] * width + labels[inside]
    return np.bincount(places, minlength=count * width).reshape(count, width)


def _distances(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance from each cell to a mask, in cells."""
    return cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 3).astype(np.float32)
