"""Test the rules of the tests themselves: imports, names, and no access to private members."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from settings import REPOSITORY

FOLDER = REPOSITORY / "tests"
FILES = sorted(FOLDER.rglob("*.py"))
TESTS = [path for path in FILES if path.name.startswith("test_")]
# Names that say what a test asks instead of naming its subject and case.
RIDDLE = re.compile(
    r"test_(what|who|whoever|whether|how|where|nobody|all_that)_|test_\w+_all_that_"
)
PUBLIC_BY_CUSTOM = {"_replace", "_asdict", "_fields", "_make"}  # of named tuples


def imports(tree: ast.AST) -> set[str]:
    """Return the modules that a file imports, lazy imports included."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def is_private(name: str) -> bool:
    """Return True for a name with a single leading underscore."""
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC_BY_CUSTOM


def private_accesses(tree: ast.AST) -> list[str]:
    """Return the private names that a file imports, reads of other objects, or patches."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if is_private(name):
                found.append(node)
            case ast.ImportFrom(names=names) if any(is_private(alias.name) for alias in names):
                found.append(node)
            case ast.Call(func=ast.Attribute(attr="setattr" | "delattr"), args=args):
                words = [str(word.value) for word in args[:2] if isinstance(word, ast.Constant)]
                if any(is_private(name) for name in ".".join(words).split(".")):
                    found.append(node)
    return [ast.unparse(node) for node in found]


def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_files_import_no_benchmark_and_change_no_path(path: Path) -> None:
    tree = parsed(path)
    assert not {name for name in imports(tree) if name.split(".")[0] == "benchmarks"}
    assert not [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
    ]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_names_are_subject_and_case(path: Path) -> None:
    names = [node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)]
    assert not [name for name in names if RIDDLE.match(name)]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_no_private_member_is_used(path: Path) -> None:
    assert private_accesses(parsed(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        "service.jobs._table.held",
        "import a\na._CONSTANT",
        "monkeypatch.setattr(module, '_UPKEEP', 0.02)",
        "monkeypatch.setattr('jobs.engine._UPKEEP', 0.02)",
        "from a import _b",
    ],
)
def test_private_access_is_found(code: str) -> None:
    assert len(private_accesses(ast.parse(code))) == 1


@pytest.mark.parametrize(
    "code", ["self._part", "row._replace(x=1)", "a.__name__", "patch.setattr(a, 'b', 1)"]
)
def test_public_access_is_allowed(code: str) -> None:
    assert private_accesses(ast.parse(code)) == []
