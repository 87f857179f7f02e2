"""Read the corrections of the photos with annotated parts: `car_parts/corrections.json`.

Every annotated photo was inspected. For each photo the file lists the wrong annotations, the parts
without an annotation, the car's type and its number of side doors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from vision.labels import TYPES_WITH_TRUNK

LIDS = ("tailgate", "trunk")


class DataError(Exception):
    """Data that cannot be used; the message names the file and the reason."""


def lid_of(car_type: str) -> str:
    """Return the ordinary English name of the lid at the back of cars of a type.

    Example:
        >>> lid_of("sedan"), lid_of("pickup")
        ('trunk', 'tailgate')
    """
    return "trunk" if car_type in TYPES_WITH_TRUNK else "tailgate"


@dataclass(frozen=True)
class Correction:
    """The faults of one photo's annotations, and facts about its car.

    Attributes:
        renamed: annotated name -> right name.
        rear: "trunk" or "tailgate", the right name of the annotated lid; None if the car's type
            decides.
        bad: annotated names whose outlines cover something else.
        missing: visible parts without an annotation; a wheel counts if one of several is missing.
        type: body type of the car, or None.
        side_doors: 2, 4, or None if uncertain.
    """

    renamed: dict[str, str] = field(default_factory=dict)
    rear: str | None = None
    bad: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    type: str | None = None
    side_doors: int | None = None

    def name_of(self, annotated: str) -> str:
        """Return the right name of an annotation."""
        name = self.renamed.get(annotated, annotated)
        if name not in LIDS:
            return name
        return self.rear or (lid_of(self.type) if self.type else name)


def read_corrections(file: Path) -> dict[str, Correction]:
    """Read the corrections into a dict by file name of the photo.

    Raises:
        DataError: the file is missing or has another format.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return {
            photo: Correction(
                renamed=dict(row.get("rename") or {}),
                rear=row.get("rear"),
                bad=tuple(row.get("bad") or ()),
                missing=tuple(row.get("missing") or ()),
                type=row.get("type"),
                side_doors=row.get("side_doors"),
            )
            for photo, row in rows.items()
        }
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{file} cannot be used: {error!r}") from error
