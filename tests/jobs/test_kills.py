"""The benchmark that kills the service, for a few kills; docs/reliability.md has many."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kills


def test_nothing_accepted_is_lost_wrong_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kills, "PAUSE", 0.5)
    report = kills.run(3, tmp_path / "data", seed=1)
    assert report.accepted > 0
    assert (report.lost, report.wrong, report.duplicated) == (0, 0, 0)
    assert report.ready == report.accepted
    assert not report.refused
