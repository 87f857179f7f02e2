"""A few kills of the service; `benchmarks/kills.py` does many."""

from __future__ import annotations

from pathlib import Path

from tests.support import kills


def test_accepted_photos_survive_kills(tmp_path: Path) -> None:
    report = kills.run(3, tmp_path / "data", seed=1, pause=0.5)
    assert report.accepted > 0
    assert (report.lost, report.wrong, report.duplicated) == (0, 0, 0)
    assert report.ready == report.accepted
    assert not report.refused
