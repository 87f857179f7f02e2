"""`make client`: the clients as packages, installed and used as other projects do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import client
from settings import REPOSITORY
from tests.support.pictures import SAMPLE
from tests.support.server import Server, clean_environment

WEB = REPOSITORY / "web"

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")

USE = """
import json, sys
import carseg_client
from carseg_client import CarSeg, Options

with CarSeg(sys.argv[1]) as service:
    result = service.segment(sys.argv[2], Options(min_confidence=0.5))
loaded = [name for name in ("client", "options", "flask", "numpy") if name in sys.modules]
print(json.dumps([carseg_client.__all__, [part.name for part in result.parts], loaded]))
"""


def call(*words: str | Path, folder: Path = REPOSITORY, **environment: str) -> str:
    """Run a command, and return what it printed."""
    ended = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packages") / "dist"
    call(sys.executable, ".ci/packages/build.py", out, UV_OFFLINE="1")
    return out


def test_wheel_is_used_without_repository(packages: Path, server: Server, tmp_path: Path) -> None:
    (wheel,) = packages.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    call(*pip, "--no-deps", "--no-index", "--target", tmp_path / "site", wheel)
    printed = call(
        *(sys.executable, "-c", USE, server.url, SAMPLE),
        folder=tmp_path,
        PYTHONPATH=str(tmp_path / "site"),
    )
    names, parts, loaded = json.loads(printed)
    assert names == client.__all__
    assert "hood" in parts
    assert loaded == []
    (metadata,) = (tmp_path / "site").glob("*.dist-info/METADATA")
    needed = re.findall(r"^Requires-Dist: ([\w-]+)", metadata.read_text(), re.MULTILINE)
    assert needed == ["requests", "urllib3"]  # requests needs urllib3 itself
    assert (tmp_path / "site" / "carseg_client" / "py.typed").exists()


def test_types_of_wheel(packages: Path, tmp_path: Path) -> None:
    use = tmp_path / "use.py"
    use.write_text(
        "from carseg_client import CarSeg, Options, Result\n\n\n"
        "def segment(url: str) -> Result:\n"
        "    with CarSeg(url) as service:\n"
        '        return service.segment("car.jpg", Options(tolerance=1))\n'
    )
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", tmp_path)
    call(*mypy, use, folder=tmp_path, MYPYPATH=str(packages / "python"))


def test_source_distribution(packages: Path) -> None:
    (source,) = packages.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "carseg_client/__init__.py", "pyproject.toml"} <= names


@needs_node
def test_javascript_package(packages: Path, tmp_path: Path) -> None:
    target = tmp_path / "node_modules" / "carseg-client"
    shutil.copytree(packages / "javascript", target)
    program = (
        'import { CarSeg } from "carseg-client"; import { CarSegMany } from "carseg-client/many";'
        "console.log(new CarSegMany('http://x/') instanceof CarSeg)"
    )
    assert call("node", "--input-type=module", "-e", program, folder=tmp_path) == "true\n"
    described = json.loads((target / "package.json").read_text())
    assert all((target / name).is_file() for name in described["files"])


@needs_node
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_npm_archive(packages: Path) -> None:
    (archive,) = packages.glob("*.tgz")
    with tarfile.open(archive) as opened:
        names = {name.removeprefix("package/") for name in opened.getnames()}
    files = {path.name for path in (packages / "javascript").iterdir()}
    assert names == files


@needs_node
@pytest.mark.parametrize("module", ["carseg", "carseg_many"])
def test_declarations_name_everything(module: str) -> None:
    program = f"""
        import * as module from {json.dumps((WEB / f"{module}.js").as_uri())};
        const methods = ({{ prototype = {{}} }}) =>
          Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor");
        console.log(JSON.stringify(Object.fromEntries(
          Object.entries(module).map(([name, value]) => [name, methods(value)]))));
    """
    exported = json.loads(call("node", "--input-type=module", "-e", program))
    text = (WEB / f"{module}.d.ts").read_text(encoding="utf-8")
    declared = re.findall(r"^export (?:const|class|function) (\w+)", text, re.MULTILINE)
    assert sorted(declared) == sorted(exported)
    for name, methods in exported.items():
        body = re.search(rf"^export class {name} .*?^}}", text, re.MULTILINE | re.DOTALL)
        found = re.findall(r"^  (\w+)\(", body[0], re.MULTILINE) if body else []
        assert [method for method in found if method != "constructor"] == methods


@pytest.mark.skipif(shutil.which("tsc") is None, reason="TypeScript (tsc) is not installed")
def test_declarations_fit_their_use() -> None:
    target = ("--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    call("tsc", "--noEmit", "--strict", *target, REPOSITORY / "tests" / "carseg.ts")
