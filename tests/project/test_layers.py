"""Imports go down the layers, and some packages stay in their folders."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from settings import REPOSITORY

# Each module may import its own layer and those above it in this list.
LAYERS = (
    ("vision", "geometry", "options", "settings"),
    (
        "segment_interface",
        "img_to_segments",
        "analysis",
        "car_classification",
        "poligons_from_seg",
        "logs",
    ),
    ("photo_result",),
    ("pipeline", "exports"),
    ("jobs",),
    ("api", "cli"),
    ("server",),
    ("app", "segment", "celery_app"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names} | {"client": 0}
ONLY_IN = {
    "flask": ("api", "server", "app"),
    "redis": ("jobs/cluster", "celery_app"),
    "celery": ("jobs/cluster", "celery_app"),
    "torch": ("vision/networks", "vision/runtimes"),
}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, lazy imports included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(root: Path) -> dict[str, Path]:
    """Return the service's modules by dotted name."""
    files = [f for name in LEVEL for f in (root / f"{name}.py", *(root / name).rglob("*.py"))]
    return {
        ".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): f
        for f in files
        if f.exists()
    }


def violations(root: Path) -> list[str]:
    """Return the imports that break a rule, and import cycles."""
    found, graph = [], {}
    known = modules(root)
    for name, path in known.items():
        used = set(imports(path))
        graph[name] = {module for module in used if module in known and module != name}
        top = name.partition(".")[0]
        for module in used:
            package = module.partition(".")[0]
            if LEVEL.get(package, 0) > LEVEL[top]:
                found.append(f"{name} imports {module}, which is in a higher layer")
            folders = ONLY_IN.get(package, ("",))
            if not name.replace(".", "/").startswith(folders):
                found.append(f"{name} imports {module}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"cycle: {error.args[1]}")
    return found


def test_imports_follow_layers() -> None:
    assert violations(REPOSITORY) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("vision/labels.py", "import pipeline"),
        ("jobs/store.py", "def f():\n    from flask import Flask"),
        ("jobs/store.py", "import jobs.job"),
        ("api/page.py", "import redis"),
        ("exports/yolo.py", "import torch"),
        ("pipeline.py", "from jobs import job"),
    ],
)
def test_violation_is_found(tmp_path: Path, file: str, line: str) -> None:
    for path in modules(REPOSITORY).values():
        target = tmp_path / path.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    with (tmp_path / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")
    assert violations(tmp_path)
