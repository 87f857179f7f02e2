"""Calibrate confidences, so that four in five answers with confidence 0.8 are right.

There are two maps. Both are monotone in the output of a network:

- parts: `sigmoid(slope * logit(confidence) + offset)` (Platt 1999, on the logit). The map has two
  parameters, because the validation photos show only a few dozen wrong parts. A curve with more
  knots (isotonic regression) would follow single photos.
- types: a weight for the log-probabilities of each network. With one network the weight is one over
  a temperature (Guo et al. 2017).

Both maps are fitted by maximum likelihood. Their gain is measured by cross-validation, on photos
that the fit did not see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from img_to_segments import CONFIDENCE_CLIP

FOLDS = 5
BINS = 10
MOST = 10.0  # limit of a weight; only a network without errors in the data would need a larger one

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Verdicts:
    """Confidences (n,) of answers, true (n,) for right ones, and the photo (n,) of each."""

    confidence: Array
    right: NDArray[np.bool_]
    photo: NDArray[np.int64]


@dataclass(frozen=True)
class Platt:
    """The map from a confidence to the share of right answers; `slope` is positive."""

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, confidence: Array) -> Array:
        """Map confidences of any shape."""
        result: Array = 1.0 / (1.0 + np.exp(-(self.slope * logit(confidence) + self.offset)))
        return result


def logit(confidence: Array) -> Array:
    """Return log(p / (1 - p)), with p at least CONFIDENCE_CLIP away from 0 and 1."""
    p = np.clip(confidence, CONFIDENCE_CLIP, 1.0 - CONFIDENCE_CLIP)
    result: Array = np.log(p / (1.0 - p))
    return result


def uncalibrated(confidence: Array, platt: Platt) -> Array:
    """Invert a map: return the confidences that it maps to these."""
    p = np.clip(confidence, 1e-15, 1.0 - 1e-15)
    z = (np.log(p) - np.log1p(-p) - platt.offset) / platt.slope
    result: Array = 1.0 / (1.0 + np.exp(-z))
    return result


def fit_platt(confidence: Array, right: NDArray[np.bool_]) -> Platt:
    """Return the map that maximises the likelihood of the verdicts.

    The targets of right and wrong answers are (n + 1) / (n + 2) and 1 / (m + 2), as Platt proposed.
    So the fit stays finite if the confidences separate right from wrong without error.
    """
    rights, wrongs = int(right.sum()), int((~right).sum())
    return fit_platt_to(confidence, np.where(right, (rights + 1) / (rights + 2), 1 / (wrongs + 2)))


def fit_platt_to(confidence: Array, target: Array) -> Platt:
    """Return the map of confidences (n,) that fits target probabilities (n,) best."""
    x, y = torch.from_numpy(logit(confidence)), torch.from_numpy(target)

    def loss(parameters: Tensor) -> Tensor:
        z = parameters[0].exp() * x + parameters[1]  # exp keeps the map monotone
        return torch.nn.functional.binary_cross_entropy_with_logits(z, y)

    log_slope, offset = _minimise(loss, [0.0, 0.0])
    return Platt(float(np.exp(log_slope)), offset)


def fit_weights(logits: Array, labels: NDArray[np.int64] | Array, counts: Array) -> Array:
    """Return the weights (k,) under which softmax(sum of weight x logits) fits the labels best.

    Args:
        logits: (k, n, classes) of k networks; log-probabilities work as well.
        labels: (n,) true classes, or (n, classes) target probabilities.
        counts: (n,) weight of each photo.
    """
    x, y, share = (torch.from_numpy(values) for values in (logits, labels, counts / counts.sum()))

    def loss(parameters: Tensor) -> Tensor:
        mixed = torch.einsum("k,knc->nc", parameters.exp(), x)  # exp keeps weights positive
        errors = torch.nn.functional.cross_entropy(mixed, y, reduction="none")
        return (errors * share).sum() + 1e-4 * (parameters**2).sum()

    return np.minimum(np.exp(_minimise(loss, [0.0] * len(logits))), MOST)


def _minimise(loss: Callable[[Tensor], Tensor], start: list[float]) -> list[float]:
    """Return the parameters that minimise a smooth loss (L-BFGS)."""
    parameters = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(parameters)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    result: list[float] = parameters.detach().tolist()
    return result


@dataclass(frozen=True)
class Bin:
    """The answers with confidences in one tenth: mean confidence, share right, their number."""

    confidence: float
    right: float
    count: int


def reliability(confidence: Array, right: NDArray[np.bool_]) -> list[Bin]:
    """Return the non-empty tenths from 0 to 1."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        Bin(float(confidence[held].mean()), float(right[held].mean()), int(held.sum()))
        for held in (place == number for number in np.unique(place))
    ]


def calibration_error(confidence: Array, right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: mean gap between confidence and share right."""
    bins = reliability(confidence, right)
    return sum(b.count * abs(b.confidence - b.right) for b in bins) / max(len(confidence), 1)


def folds_of(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a fold number (n,) for each answer; answers of one group share it."""
    names, members = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(0).permutation(len(names)) % FOLDS)[members]


def unseen_platt(verdicts: Verdicts) -> Array:
    """Map each confidence by a fit to the photos of the other folds."""
    folds, mapped = folds_of(verdicts.photo), verdicts.confidence.copy()
    for fold in range(FOLDS):
        out = folds == fold
        if out.any() and not out.all():
            platt = fit_platt(verdicts.confidence[~out], verdicts.right[~out])
            mapped[out] = platt(verdicts.confidence[out])
    return mapped


def unseen_weights(
    logits: Array, labels: NDArray[np.int64], counts: Array, groups: NDArray[np.int64]
) -> Array:
    """Return probabilities (n, classes) of each photo, by weights fitted to the other folds."""
    folds, result = folds_of(groups), softmax(logits.sum(0))
    for fold in range(FOLDS):
        out = folds == fold
        if out.any() and not out.all():
            weights = fit_weights(logits[:, ~out], labels[~out], counts[~out])
            result[out] = softmax(np.einsum("k,knc->nc", weights, logits[:, out]))
    return result


def softmax(logits: Array) -> Array:
    """Return probabilities over the last axis."""
    values = np.exp(logits - logits.max(-1, keepdims=True))
    result: Array = values / values.sum(-1, keepdims=True)
    return result
