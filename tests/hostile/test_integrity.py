"""Test that shipped files are the tested ones: requirements by hash, weights by manifest."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from api.openapi import OpenApiApp
from pipeline import MODELS_FAILED, Pipeline
from settings import REPOSITORY, Precision
from tests.support.http import post, wait
from tests.support.pictures import encoded, noise
from vision.model_files import MANIFEST, MODELS, read_description

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub("[-_.]+", "-", name).lower()


LOCKS = {
    "requirements/full.lock": ("requirements.txt", "requirements/slim.txt"),
    "requirements/slim.lock": ("requirements/slim.txt",),
    "requirements/cluster.lock": ("requirements/cluster.txt",),
}


def pins(text: str) -> dict[str, str]:
    return {normal(name): version for name, version in PIN.findall(text)}


def read(file: str) -> str:
    return (REPOSITORY / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_fit_requirements(lock: str) -> None:
    """Compare the pins with the requirements; `make lock` mends a difference."""
    wanted: dict[str, str] = {}
    for file in LOCKS[lock]:
        wanted |= pins(read(file))
    direct = [block for block in re.split(r"\n(?=\S)", read(lock)) if "-r requirements" in block]
    assert pins("\n".join(direct)) == wanted


def test_locks_agree() -> None:
    every, slim, cluster = (
        pins(read(f"requirements/{name}.lock")) for name in ("full", "slim", "cluster")
    )
    assert {name: cluster[name] for name in cluster.keys() & every.keys()}.items() <= every.items()
    assert slim.items() <= every.items()
    assert "torch" not in slim


@pytest.mark.parametrize("lock", LOCKS)
def test_locked_packages_have_hashes(lock: str) -> None:
    for block in re.split(r"\n(?=[^\s#])", read(lock)):
        assert PIN.match(block), block
        assert "--hash=sha256:" in block


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def forget(path: Path) -> None:
    (path.parent / MANIFEST).write_text(json.dumps({}))


PARTS = read_description("parts").weights
GRAPH = read_description("parts").graph
TYPES = read_description("types").weights
INT8 = read_description("parts").in_precision("int8").graph


@pytest.mark.parametrize(
    ("file", "spoil", "precision"),
    [
        (PARTS, flip, "float32"),
        (PARTS, Path.unlink, "float32"),
        (PARTS, forget, "float32"),
        (GRAPH, flip, "float32"),
        (TYPES, cut, "float32"),
        (MANIFEST, Path.unlink, "float32"),
        (INT8, flip, "int8"),
        (INT8, Path.unlink, "int8"),
    ],
)
def test_changed_models_are_refused(
    make_app: Callable[..., OpenApiApp],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    file: str,
    spoil: Callable[[Path], None],
    precision: Precision,
) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS, models)
    spoil(models / file)
    client = make_app(stages=Pipeline(folder=models, precision=precision)).test_client()
    image_hash = post(client, encoded(noise(30, 40)))
    assert wait(client, image_hash, "Error")["message"] == MODELS_FAILED
    named = PARTS if file == MANIFEST else file
    assert f"models/{named}" in caplog.text
    assert str(tmp_path) not in client.get(f"/{image_hash}/status").text


def test_unchanged_models_are_used(make_app: Callable[..., OpenApiApp], tmp_path: Path) -> None:
    shutil.copytree(MODELS, tmp_path / "models")
    client = make_app(stages=Pipeline(folder=tmp_path / "models")).test_client()
    wait(client, post(client, encoded(noise(30, 40))))
