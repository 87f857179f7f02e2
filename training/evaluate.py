"""Figures of the models in `models/`: `python -m training.evaluate --data DATA`.

Everything goes through the service's own code: `Pipeline.analyse` and the polygons that a client
gets, drawn back into masks. The photos are the validation split, which no training has seen.
With `--report FOLDER` tables, plots and the worst cases are written there (`training.report`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from pipeline import Pipeline
from training.answers import Answer, answers, drawn, street_answers, type_answers, widen
from training.figures import part_figures, type_figures


def evaluate(
    pipeline: Pipeline,
    data: Path,
    only: str | None = None,
    report: Path | None = None,
    cache: Path = Path("runs/cache"),
) -> dict[str, float]:
    """All figures of the models behind `pipeline` on the validation photos.

    Args:
        pipeline: the service's.
        data: folder of the data sets.
        only: "parts" or "types" for one of the two.
        report: folder for tables, plots and worst cases, or None.
        cache: folder of the label maps and the split.
    """
    figures: dict[str, float] = {}
    if only != "types":
        parts = list(answers(pipeline, data, cache))
        figures |= part_figures(parts)
    if only != "parts":
        types = list(type_answers(pipeline, data))
        figures |= type_figures(types)
        street = list(street_answers(pipeline, data, cache))
        if street:
            figures["street_accuracy"] = float(np.mean([a.guess == a.label for a in street]))
    if report is not None:
        from training import report as writer  # matplotlib, which takes a while to load

        if only != "types":
            writer.write_parts(parts, report)
        if only != "parts":
            writer.write_types(types, report)
        write_json(figures, report / "figures.json")
    return figures


def write_json(figures: dict[str, float], path: Path) -> None:
    """Write figures as a JSON object."""
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Print the figures, and write them as JSON and as a report where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=("parts", "types"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--report", type=Path, help="folder for tables, plots and worst cases")
    arguments = parser.parse_args()
    pipeline = Pipeline(threads=arguments.threads)
    figures = evaluate(pipeline, arguments.data, arguments.only, arguments.report)
    for name, value in figures.items():
        print(f"{name:24s} {value:.4f}")
    if arguments.json:
        write_json(figures, arguments.json)


if __name__ == "__main__":
    main()

__all__ = ["Answer", "answers", "drawn", "evaluate", "widen", "write_json"]
