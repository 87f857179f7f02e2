"""The version has the same value in its two places."""

from __future__ import annotations

import tomllib

from settings import REPOSITORY, VERSION


def test_project_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
