"""Plot figures: `python -m training.plots runs/parts/log.csv` draws a run's curves."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.calibration import Bin


def draw_curves(log: Path, out: Path) -> None:
    """Draw the loss by samples, and its running mean, from the `log.csv` of a training."""
    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    samples = [int(row["samples"]) for row in rows]
    losses = np.array([float(row["loss"]) for row in rows])
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(samples, losses, linewidth=0.5)
    width = max(1, len(losses) // 20)
    if len(losses) > width:
        mean = np.convolve(losses, np.ones(width) / width, "valid")
        axes.plot(samples[width - 1 :], mean)
    axes.set(xlabel="samples", ylabel="loss")
    _save(figure, out)


def draw_confusion(counts: NDArray[np.int64], labels: Sequence[str], out: Path) -> None:
    """Draw a confusion matrix: rows are the truth and sum to 1, columns are the answers."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.45 * len(labels)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            axes.text(
                column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8,
                color="white" if share > 0.5 else "black",
            )  # fmt: skip
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="given", ylabel="true", title="% of the true")
    _save(figure, out)


def draw_reliability(bins: Sequence[Bin], error: float, title: str, out: Path) -> None:
    """Draw the share of right answers against their confidence; the diagonal is ideal."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.plot([b.confidence for b in bins], [b.right for b in bins], marker="o")
    for b in bins:
        offset = (4, -10) if b.right > 0.5 else (4, 4)
        axes.annotate(str(b.count), (b.confidence, b.right), offset, textcoords="offset points")
    axes.set(
        xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share right",
        title=f"{title}: expected calibration error {error:.3f}",
    )  # fmt: skip
    _save(figure, out)


def _save(figure: Figure, out: Path) -> None:
    # A Figure without pyplot is drawn by Agg and needs no screen.
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)


def main() -> None:
    """Draw the curves of runs into the folders of their logs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, nargs="+", help="log.csv of a training")
    for log in parser.parse_args().logs:
        draw_curves(log, log.with_name("curves.png"))
        print(log.with_name("curves.png"))


if __name__ == "__main__":
    main()
