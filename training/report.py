"""Write a report on the models into a folder: tables, plots, worst cases."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from car_classification import TYPE_NAMES
from img_to_segments import PART_NAMES
from training.answers import Answer, PartsAnswer
from training.calibration import Verdicts, calibration_error, reliability
from training.contact_sheet import worst_parts, worst_types
from training.figures import (
    confusions,
    part_estimates,
    part_verdicts,
    type_confusion,
    type_verdicts,
)
from training.intervals import Estimate
from training.plots import draw_confusion, draw_reliability


def write_parts(found: Sequence[PartsAnswer], out: Path) -> None:
    """Write `parts.md`, the confusion of pixels, the reliability plot and `worst_parts.jpg`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "parts.md").write_text(as_markdown(part_estimates(found)), encoding="utf-8")
    _confusion(confusions(found).sum(0), ("background", *PART_NAMES), out / "parts_confusion")
    _reliability(part_verdicts(found), "parts", out)
    worst_parts(found, out / "worst_parts.jpg")


def write_types(found: Sequence[Answer], out: Path) -> None:
    """Write the confusion of types, the reliability plot and `worst_types.jpg`."""
    out.mkdir(parents=True, exist_ok=True)
    names = (*TYPE_NAMES, "none")
    confusion = np.pad(type_confusion(found), ((0, 1), (0, 0)))  # an empty row: all have a type
    _confusion(confusion, names, out / "types_confusion")
    _reliability(type_verdicts(found), "types", out)
    worst_types(found, out / "worst_types.jpg")


def as_markdown(estimates: dict[str, Estimate]) -> str:
    """Return a table with a row per part, the lowest IoU first, and 95 % intervals in brackets."""
    lines = ["| part | IoU | AP | AP50 |", "|---|---|---|---|"]
    for name in sorted(PART_NAMES, key=lambda name: estimates[f"iou_{name}"].value):
        row = (estimates[f"{figure}_{name}"] for figure in ("iou", "ap", "ap50"))
        cells = (f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f})" for e in row)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _confusion(counts: NDArray[np.int64], labels: Sequence[str], out: Path) -> None:
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["true \\ given", *labels])
        writer.writerows([name, *row] for name, row in zip(labels, counts.tolist(), strict=True))
    draw_confusion(counts, labels, out.with_suffix(".png"))


def _reliability(verdicts: Verdicts, name: str, out: Path) -> None:
    bins = reliability(verdicts.confidence, verdicts.right)
    error = calibration_error(verdicts.confidence, verdicts.right)
    draw_reliability(bins, error, name, out / f"{name}_reliability.png")
