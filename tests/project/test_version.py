"""The version has the same value everywhere."""

from __future__ import annotations

import json
import tomllib

from settings import REPOSITORY, VERSION

PACKAGES = REPOSITORY / ".ci" / "packages"


def test_project_version() -> None:
    for folder in (REPOSITORY, PACKAGES / "python"):
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert project["version"] == VERSION


def test_version_of_javascript_client() -> None:
    path = PACKAGES / "javascript" / "package.json"
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == VERSION
