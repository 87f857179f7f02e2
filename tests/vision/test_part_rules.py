"""Names of lids and doors by type."""

from __future__ import annotations

import pytest

from vision.labels import BACK_DOORS, QUARTER_PANELS, TAILGATE, TRUNK, TYPE_NAMES
from vision.part_rules import has_trunk, label_changes


def scores(**known: float) -> dict[str, float]:
    return dict.fromkeys(TYPE_NAMES, 0.0) | known


@pytest.mark.parametrize("name", TYPE_NAMES)
def test_has_trunk_by_type(name: str) -> None:
    assert has_trunk(scores(**{name: 1.0})) == (name in {"sedan", "coupe", "convertible"})


def test_has_trunk_unsure_type() -> None:
    assert has_trunk(scores(sedan=0.3, coupe=0.25, suv=0.45))
    assert not has_trunk(scores(sedan=0.4, suv=0.35, hatchback=0.25))


def test_label_changes() -> None:
    assert label_changes(trunk=False, two_doors=False) == {}
    assert label_changes(trunk=True, two_doors=False) == {TAILGATE: TRUNK}
    assert label_changes(trunk=False, two_doors=True) == dict(
        zip(BACK_DOORS, QUARTER_PANELS, strict=True)
    )
    assert len(label_changes(trunk=True, two_doors=True)) == 3
