"""The Makefile's environments: each set of packages is installed when needed, and only then.

pip runs for real where it needs no network. Elsewhere the environment's Python writes down what it
is asked for, since the sets of packages have gigabytes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from settings import REPOSITORY
from tests.support.server import clean_environment

MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
SLIM = "--require-hashes -r requirements/slim.lock"
FULL = "--require-hashes -r requirements/full.lock"
CLUSTER = "--require-hashes -r requirements/cluster.lock"
DEV = "-r requirements/dev.txt"
TRAIN = "-r requirements/train.txt"
# make hands these to its own children, who then print other lines.
MAKE_VARIABLES = {"MAKEFLAGS", "MAKELEVEL", "MAKE_TERMERR", "MAKE_TERMOUT", "MFLAGS"}

RECORDING_PYTHON = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/asked"
"""


class Project:
    """A copy of the Makefile and the lists of packages, with a separate environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(REPOSITORY / "Makefile", folder)
        shutil.copy(REPOSITORY / "requirements.txt", folder)
        shutil.copytree(REPOSITORY / "requirements", folder / "requirements")

    def record(self) -> None:
        """Make an environment whose Python only writes down what it is asked for."""
        python = self.folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(RECORDING_PYTHON)
        python.chmod(0o755)

    def make_half(self) -> None:
        """Make an environment without pip."""
        venv = str(self.folder / ".venv")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)

    def make(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run make as a user's shell does, also where `make test` runs this test."""
        shell = {
            name: value for name, value in clean_environment().items() if name not in MAKE_VARIABLES
        }
        return subprocess.run(
            ["make", f"PYTHON={sys.executable}", *words],
            cwd=self.folder,
            env=shell | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def installed_by(self, *words: str) -> list[str]:
        """Run make, and return the arguments of each `pip install`."""
        asked = self.folder / ".venv" / "bin" / "asked"
        asked.write_text("")
        ended = self.make(*words)
        assert ended.returncode == 0, ended.stderr
        return re.findall(r"^-m pip install --\S+ (.*)$", asked.read_text(), re.MULTILINE)

    def change(self, file: str) -> None:
        """Let a file be younger than all stamps, which stay younger than all other files."""
        lists = [self.folder / "requirements.txt", *(self.folder / "requirements").iterdir()]
        for path in lists:
            os.utime(path, (1_000_000_000, 1_000_000_000))
        for stamp in (self.folder / ".venv").glob(".installed*"):
            os.utime(stamp, (1_000_000_100, 1_000_000_100))
        os.utime(self.folder / file)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def recorded(project: Project) -> Project:
    project.record()
    return project


@pytest.mark.parametrize(
    ("words", "sets"),
    [
        (["install"], [SLIM]),
        (["install", "SLIM=yes"], [SLIM]),
        (["install", "TORCH=yes"], [FULL]),
        (["install", "CLUSTER=yes"], [SLIM, CLUSTER]),
        (["install", "TORCH=yes", "CLUSTER=yes"], [FULL, CLUSTER]),
        (["install", "LOCKED=no"], ["-r requirements/slim.txt"]),
        (["install", "LOCKED=no", "TORCH=yes"], ["-r requirements.txt"]),
        (["dev"], [FULL, DEV]),
        (["run"], [SLIM]),
        (["run", "TORCH=yes"], [FULL]),
        (["demo"], [SLIM]),
        (["test"], [FULL, DEV]),
        (["lint"], [FULL, DEV]),
        (["train", "DATA=data"], [FULL, TRAIN]),
        (["panels", "DATA=data", "START=old.safetensors"], [FULL, TRAIN]),
        (["close-ups", "DATA=data", "START=old.safetensors"], [FULL, TRAIN]),
        (["evaluate", "DATA=data"], [FULL, TRAIN]),
    ],
)
def test_sets_of_target(recorded: Project, words: list[str], sets: list[str]) -> None:
    (recorded.folder / "data" / "car_parts").mkdir(parents=True)
    assert recorded.installed_by(*words) == sets
    assert recorded.installed_by(*words) == []


def test_sets_of_worker(recorded: Project) -> None:
    planned = recorded.make("-n", "worker").stdout
    assert re.findall(r"pip install --\S+ (.*)", planned) == [SLIM, CLUSTER]


def test_slim_then_dev(recorded: Project) -> None:
    assert recorded.installed_by("install") == [SLIM]
    assert recorded.installed_by("dev") == [FULL, DEV]
    assert recorded.installed_by("install") == []
    assert recorded.installed_by("dev") == []


def test_dev_then_slim(recorded: Project) -> None:
    assert recorded.installed_by("dev") == [FULL, DEV]
    assert recorded.installed_by("install") == []
    assert recorded.installed_by("dev") == []


@pytest.mark.parametrize(
    ("file", "sets"),
    [
        ("requirements/slim.lock", [SLIM]),
        ("requirements/full.lock", [FULL]),
        ("requirements.txt", [FULL]),
        ("requirements/cluster.lock", [CLUSTER]),
        ("requirements/dev.txt", [DEV]),
    ],
)
def test_changed_list(recorded: Project, file: str, sets: list[str]) -> None:
    calls = [["install"], ["install", "TORCH=yes"], ["install", "CLUSTER=yes"], ["dev"]]
    for words in calls:
        recorded.installed_by(*words)
    recorded.change(file)
    assert [found for words in calls for found in recorded.installed_by(*words)] == sets


def test_failed_install(recorded: Project) -> None:
    python = recorded.folder / ".venv" / "bin" / "python"
    python.write_text(RECORDING_PYTHON + 'case "$*" in *install*) exit 1 ;; esac\n')
    assert recorded.make("install").returncode != 0
    python.write_text(RECORDING_PYTHON)
    assert recorded.installed_by("install") == [SLIM]


def test_install_tells_size(recorded: Project) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for words, size in ((["install"], "390 MB"), (["install", "TORCH=yes"], "5.7 GB")):
        assert f"about {size}" in recorded.make(*words).stdout
        assert size in readme


# --- the environment itself


@pytest.fixture
def bare(project: Project) -> Project:
    """Return a project whose service needs no package, so that pip asks no index."""
    (project.folder / "requirements" / "slim.lock").write_text("")
    return project


def has_pip(project: Project) -> bool:
    python = project.folder / ".venv" / "bin" / "python"
    ended = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
    return ended.returncode == 0


def test_new_environment(bare: Project) -> None:
    ended = bare.make("install")
    assert ended.returncode == 0, ended.stderr
    assert has_pip(bare)


def test_half_made_environment(bare: Project) -> None:
    """Debian leaves such a folder behind where python3-venv is missing."""
    bare.make_half()
    ended = bare.make("install")
    assert ended.returncode == 0, ended.stderr
    assert has_pip(bare)


@pytest.mark.parametrize("half_made", [False, True])
def test_python_without_venv(bare: Project, half_made: bool) -> None:
    (bare.folder / "hide").mkdir()
    (bare.folder / "hide" / "ensurepip.py").write_text("raise ImportError('as on Debian')\n")
    environment = bare.folder / ".venv"
    if half_made:
        bare.make_half()
    ended = bare.make("install", PYTHONPATH=str(bare.folder / "hide"))
    assert ended.returncode != 0
    sentence, last = ended.stderr.splitlines()
    assert sentence.startswith("There is no pip in .venv: ")
    assert "apt-get install python3-venv" in sentence
    assert last.startswith("make: ***")
    assert environment.exists() == half_made


def test_missing_python(bare: Project) -> None:
    ended = bare.make("install", "PYTHON=python-of-nobody")
    assert ended.returncode != 0
    assert ended.stderr.startswith("There is no python-of-nobody: install Python 3.11 or later")


def test_too_old_python(bare: Project) -> None:
    old = bare.folder / "old-python"
    code = "import sys; sys.version_info = (3, 10); exec(sys.argv.pop(1))"
    old.write_text(f"#!/bin/sh\nshift\nexec {sys.executable} -c '{code}' \"$@\"\n")
    old.chmod(0o755)
    ended = bare.make("install", f"PYTHON={old}")
    assert ended.returncode != 0
    assert ended.stderr.startswith("Python 3.11 or later is needed")
    assert not (bare.folder / ".venv").exists()


# --- make help


def test_help_has_line_for_each_target(project: Project) -> None:
    joined = MAKEFILE.replace("\\\n", " ")
    targets = set(re.findall(r"^\.PHONY:(.*)$", joined, re.MULTILINE)[0].split())
    lines = project.make("help").stdout.splitlines()
    described = [line.split()[1] for line in lines if line.startswith("make ")]
    assert sorted(described) == sorted(targets)
    assert all(len(line) <= 100 for line in lines)
