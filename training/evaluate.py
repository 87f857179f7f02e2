"""Measure the models in `models/`: `python -m training.evaluate --data DATA`.

The photos are the validation photos, whose labels no training has seen. All answers come from the
service's own code: `Pipeline.analyse`, and the polygons that a client receives, drawn back into
masks. The command prints a table. With `--report FOLDER` it also writes the table, plots and the
worst cases to that folder (`training.report`).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from pipeline import Pipeline
from settings import DEFAULT_PRECISION, Precision
from training.answers import Answer, PartsAnswer, Service, list_close_ups
from training.corrections import DataError
from training.damage_answers import damage_answers, list_undamaged
from training.damage_rows import damage_rows
from training.rows import (
    Rows,
    as_table,
    car_rows,
    close_up_rows,
    close_ups_table,
    empty_rows,
    mask_rows,
    sizes_rows,
    turned_rows,
    type_rows,
)
from training.validation import (
    Half,
    ValidationPhoto,
    in_half,
    list_annotated_photos,
    list_car_photos,
    list_damaged_photos,
    list_empty_photos,
    list_street_photos,
    some_of,
)

GROUPS = ("parts", "types", "empty", "turned", "close-ups", "sizes", "damage")
CLOSE_UPS = 12  # limit per part
SIZED = 20  # photos of each of three sources that are sent in all sizes


@dataclass(frozen=True)
class Options:
    """The options of an evaluation.

    Attributes:
        groups: some of GROUPS.
        half: "A" or "B" for one half of the photos, see `training.validation`; None for all.
        report: folder for tables, plots and worst cases, or None.
        cache: folder of the label maps.
        rounds: of the bootstrap for parts and types.
        photos: maximum number of photos of each kind, to try it; None for all.
    """

    groups: Collection[str] = GROUPS
    half: Half | None = None
    report: Path | None = None
    cache: Path = Path("runs/cache")
    rounds: int = 300
    photos: int | None = None


class Evaluation:
    """The validation photos of a data folder, the service's answers, and their rows.

    Photos are read and sent to the service on first use of their answers.

    Raises:
        DataError: the data cannot be used.
    """

    def __init__(self, service: Service, data: Path, options: Options) -> None:
        self._service, self._data, self._options = service, data, options
        self.annotated = self._some(list_annotated_photos(data, options.cache))
        self.cars = self._some(list_car_photos(data))
        self.street = self._some(list_street_photos(data))
        self.empty = self._some(list_empty_photos(data))
        self.damaged = self._some(list_damaged_photos(data))

    def _some(self, photos: Sequence[ValidationPhoto]) -> list[ValidationPhoto]:
        """Return the photos that the options ask for."""
        held = in_half(photos, self._options.half)
        return held if self._options.photos is None else some_of(held, self._options.photos)

    @cached_property
    def parts_answers(self) -> list[PartsAnswer]:
        """The answers for annotated photos, with masks."""
        return self._service.parts_answers(self.annotated)

    @cached_property
    def car_answers(self) -> list[Answer]:
        """The answers for `car_types` and `car_types_in_context`."""
        return self._service.answers(self.cars, "types")

    @cached_property
    def street_answers(self) -> list[Answer]:
        """The answers for photos of other sources whose types are known."""
        return self._service.answers(self.street + self.annotated, "types, street")

    def rows(self) -> Rows:
        """Return the rows of all requested groups."""
        rows = Rows()
        for group in GROUPS:
            if group in self._options.groups:
                rows += getattr(self, f"_{group.replace('-', '_')}")()
        return rows

    def _parts(self) -> Rows:
        return mask_rows(self.parts_answers, self._options.rounds)

    def _types(self) -> Rows:
        rounds = self._options.rounds
        rows = type_rows(self.car_answers, "type", "`car_types`", rounds)
        rows += type_rows(self.street_answers, "street", "street photos", rounds)
        return rows + car_rows(self.car_answers + self.street_answers)

    def _empty(self) -> Rows:
        return empty_rows(self._service.answers(self.empty, "no cars"))

    def _turned(self) -> Rows:
        return turned_rows(self._service.turned_answers(self.annotated))

    def _close_ups(self) -> Rows:
        close_ups = list_close_ups(self._data, self.annotated, CLOSE_UPS)
        return close_up_rows(self._service.close_up_answers(close_ups))

    def _sizes(self) -> Rows:
        return sizes_rows(self._service.sizes_answers(self.sized()))

    def _damage(self) -> Rows:
        clean = list_undamaged(self.annotated, self.street, self.cars)
        answers = damage_answers(self._service, self._data, self.damaged, clean)
        return damage_rows(answers, self._options.rounds)

    def sized(self) -> list[ValidationPhoto]:
        """Return the photos that are sent in all sizes; a half has the same number."""
        context = [photo for photo in self.cars if "car_types_in_context" in photo.path.parts]
        sources = (self.annotated, context, self.street)
        return [photo for source in sources for photo in some_of(source, SIZED)]


def evaluate(service: Service, data: Path, options: Options) -> Rows:
    """Measure the service on the validation photos, and write the report if requested.

    Raises:
        DataError: the data cannot be used.
    """
    evaluation = Evaluation(service, data, options)
    rows = evaluation.rows()
    if options.report is not None:
        from training import report as writer  # imports matplotlib, which loads slowly

        options.report.mkdir(parents=True, exist_ok=True)
        if "parts" in options.groups:
            writer.write_parts(evaluation.parts_answers, options.report)
        if "types" in options.groups:
            writer.write_types(evaluation.car_answers, options.report)
        tables = as_table(rows.rows) + "\n" + close_ups_table(rows.details)
        (options.report / "rows.md").write_text(tables.rstrip() + "\n", encoding="utf-8")
        write_json(rows.figures(), options.report / "figures.json")
    return rows


def write_json(figures: dict[str, float], path: Path) -> None:
    """Write figures as a JSON object, without NaN values."""
    known = {name: value for name, value in figures.items() if not math.isnan(value)}
    path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Print the table, and write JSON figures and a report if requested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=GROUPS, nargs="+", default=GROUPS)
    parser.add_argument("--half", choices=("A", "B"), help="one half of the photos")
    parser.add_argument("--threads", type=int, default=2, help="photos at the same time")
    parser.add_argument("--precision", choices=get_args(Precision), default=DEFAULT_PRECISION)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--report", type=Path, help="folder for tables, plots and worst cases")
    arguments = parser.parse_args()
    pipeline = Pipeline(1, calls=arguments.threads, precision=arguments.precision)
    service = Service(pipeline, arguments.threads)
    options = Options(arguments.only, arguments.half, arguments.report)
    try:
        rows = evaluate(service, arguments.data, options)
    except DataError as error:
        sys.exit(str(error))
    print(as_table(rows.rows), close_ups_table(rows.details), sep="\n")
    if arguments.json:
        write_json(rows.figures(), arguments.json)


if __name__ == "__main__":
    main()
