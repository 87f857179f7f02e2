"""Draw the plot of `benchmarks.speed`: whole answers, load, and the roofline of both networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks.load import CLIENTS, Load
from benchmarks.roofline import Node, Roof, rate
from benchmarks.whole_answer import BASELINE

matplotlib.use("Agg")
from matplotlib import pyplot

_COLOURS = {"parts": "#1f77b4", "types": "#ff7f0e"}


def draw(
    answers: dict[str, float],
    load: Load,
    networks: dict[str, list[Node]],
    roof: Roof,
    path: Path,
) -> None:
    """Draw three panels side by side."""
    figure, (left, middle, right) = pyplot.subplots(
        1, 3, figsize=(15, 4.6), width_ratios=(5, 3, 5), layout="constrained"
    )
    _draw_answers(left, answers)
    _draw_load(middle, load)
    _draw_roofline(right, networks, roof)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_answers(axes: Any, answers: dict[str, float]) -> None:
    names = [name for name in answers if name.endswith(("JPEG", "PNG"))]
    ours = answers["our parts network"] + answers["our type network"]
    places = np.arange(len(names))
    colours = ["#1f77b4" if name.endswith("JPEG") else "#9ecae1" for name in names]
    axes.barh(places, [answers[name] for name in names], color=colours)
    axes.axvline(ours, color="#2ca02c", label="our two networks, bare")
    if BASELINE in answers:
        axes.axvline(answers[BASELINE], color="#d62728", label=BASELINE)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds")
    axes.set_title("A whole answer")
    axes.legend(loc="upper right")


def _draw_load(axes: Any, load: Load) -> None:
    rows = {
        "bare loop,\n1 x 2 threads": load.one_by_two,
        "bare loop,\n2 x 1 thread": load.two_by_one,
        f"service,\n{CLIENTS} clients": load.service,
    }
    axes.bar(list(rows), list(rows.values()), color=["#bbbbbb", "#bbbbbb", "#1f77b4"])
    axes.set_ylabel("photos per second")
    axes.set_title(f"Under load: p50 {load.median:.2f} s, p99 {load.p99:.2f} s")


def _draw_roofline(axes: Any, networks: dict[str, list[Node]], roof: Roof) -> None:
    intensity = np.geomspace(0.5, 500, 100)
    axes.loglog(intensity, np.minimum(roof.flops, intensity * roof.bandwidth) / 1e9, color="black")
    for name, found in networks.items():
        busy = [node for node in found if node.flop]
        axes.scatter(
            [node.flop / node.moved for node in busy],
            [node.flop / node.seconds / 1e9 for node in busy],
            s=[4 + 40 * node.seconds / max(each.seconds for each in busy) for node in busy],
            color=_COLOURS[name],
            alpha=0.7,
            label=f"{name}: {rate(found) / 1e9:.0f} GFLOP/s, {rate(found) / roof.flops:.0%}",
        )
    axes.set_xlabel("FLOP per byte that a node reads and writes at least")
    axes.set_ylabel("GFLOP/s")
    axes.set_title("Nodes of the networks (size: time) and the roof")
    axes.legend(loc="lower right")
