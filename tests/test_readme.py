"""What the README says is true: its commands and code run as written, nothing is left out."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import REPOSITORY, SAMPLE, Server, clean_environment

from api.openapi import OpenApiApp
from api.schema import ResultAnswer
from car_classification import TYPE_NAMES
from exports import FORMATS
from img_to_segments import PART_NAMES
from options import OPTION_SPECS
from poligons_from_seg import DEFAULT_TOLERANCE
from settings import Settings

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def run(*command: str) -> str:
    """Run a program in the repository; gives what it prints."""
    ended = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=250, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def at(server: Server, code: str) -> str:
    """A block as written, but for the address, since port 5000 may be taken."""
    assert "http://127.0.0.1:5000" in code
    return code.replace("http://127.0.0.1:5000", server.url)


def test_curl(server: Server) -> None:
    (code,) = [block for block in blocks("bash") if "curl" in block]
    printed = run("bash", "-euo", "pipefail", "-c", at(server, code))
    assert ResultAnswer.model_validate_json(printed.splitlines()[-1]).segments["hood"]


def test_python(server: Server) -> None:
    by_hand, client, many = blocks("python")
    for code in (by_hand, client):
        printed = run(sys.executable, "-W", "error", "-c", at(server, code)).splitlines()
        assert printed[0] in TYPE_NAMES
        assert "hood" in {line.split()[0] for line in printed[1:]} <= set(PART_NAMES)
    printed = run(sys.executable, "-W", "error", "-c", at(server, many)).splitlines()
    found = dict(line.rsplit(maxsplit=1) for line in printed)
    assert set(found) == {"sample/car.png", "sample/overlay.png"}
    assert int(found["sample/car.png"]) > 3


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_javascript(server: Server) -> None:
    by_hand, client, many = blocks("javascript")
    for code in (by_hand, client):
        printed = run("node", "--input-type=module", "-e", at(server, code))
        assert printed.split()[0] in TYPE_NAMES
        assert "hood" in printed
    printed = run("node", "--input-type=module", "-e", at(server, many))
    found = dict(line.split() for line in printed.splitlines())
    assert set(found) == {"0", "1"}
    assert int(found["0"]) > 3


def test_command_line(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("bash") if "segment.py" in block]
    one, many = block.replace(".venv/bin/python", sys.executable).splitlines()
    run("bash", "-c", one.replace("car.svg", str(tmp_path / "car.svg")))
    assert (tmp_path / "car.svg").read_bytes().startswith(b"<svg")
    (tmp_path / "photos").mkdir()
    shutil.copy(SAMPLE, tmp_path / "photos")
    run("bash", "-c", re.sub(r"\b(photos|results)/", rf"{tmp_path}/\1/", many))
    assert (tmp_path / "results" / "coco.json").is_file()


def test_json() -> None:
    (block,) = blocks("json")
    ResultAnswer.model_validate_json(block)


def make(*words: str) -> list[str]:
    # The environment that runs the tests stands in for .venv; all else is as written.
    return ["make", *words, f"VENV={sys.prefix}", f"PYTHON={sys.executable}"]


def test_make_run(tmp_path: Path) -> None:
    assert "make run" in [block.strip() for block in blocks("bash")]
    process = subprocess.Popen(
        make("run"),
        cwd=REPOSITORY,
        env=clean_environment() | {"CARSEG_PORT": "0", "CARSEG_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        try:
            address = next(line for line in iter(lines.readline, "") if "http://" in line)
            example = lines.readline()
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
            process.wait(120)
    assert re.search(r"http://127\.0\.0\.1:\d+", address)
    assert "curl" in example


def test_make_demo(tmp_path: Path) -> None:
    assert "make demo" in [block.strip() for block in blocks("bash")]
    ended = subprocess.run(
        [*make("demo"), f"ARGS=--out {tmp_path / 'demo.png'}"],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "hood" in ended.stdout
    assert "Type: " in ended.stdout
    assert (tmp_path / "demo.png").stat().st_size > SAMPLE.stat().st_size // 10


def test_the_targets_that_are_named_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make (\w+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_route_is_described(app: OpenApiApp) -> None:
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith(("/docs/", "/ui/")):
            continue  # files of the two pages
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert f"| `{method} {rule.rule}`" in README


def test_every_setting_is_described() -> None:
    described = re.findall(r"^\| `CARSEG_(\w+)`", README, re.MULTILINE)
    assert described == [name.upper() for name in Settings.model_fields]


def test_every_format_and_option_is_described() -> None:
    (formats,) = re.findall(r"^### Formats\n(.*?)^##", README, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `.*", formats, re.MULTILINE)
    assert [row.split("`")[1] for row in rows] == list(FORMATS)
    for row, entry in zip(rows, FORMATS.values(), strict=True):
        assert (f"`{entry.media_type.partition(';')[0]}` *" in row) == entry.negotiable
    (options,) = re.findall(r"^### Options\n(.*?)^##", README, re.MULTILINE | re.DOTALL)
    defaults = {name: knob.schema.get("default") for name, knob in OPTION_SPECS.items()}
    defaults |= {"tolerance": DEFAULT_TOLERANCE, "file_name": "<image_hash>.png"}
    described = re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", options, re.MULTILINE)
    assert [name for name, _ in described] == list(OPTION_SPECS)
    for name, default in described:
        value = defaults[name]
        text = f"{value:g}" if isinstance(value, int | float) and value is not False else str(value)
        assert default == text.lower()


def test_every_part_and_type_is_named() -> None:
    for name in PART_NAMES + TYPE_NAMES:
        assert name in README


def test_links_and_map_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", README):
        assert (REPOSITORY / link).exists(), link
    (tree,) = re.findall(r"^```\n(app\.py.*?)^```", README, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"\b[\w/]+\.py|^\w+/", tree, re.MULTILINE):
        assert (REPOSITORY / name).exists(), name
    modules = {path.name for path in REPOSITORY.glob("*.py")}
    packages = {f"{path.parent.name}/" for path in REPOSITORY.glob("*/__init__.py")}
    assert modules <= set(re.findall(r"\w+\.py", tree))
    assert packages <= set(re.findall(r"\w+/", tree))
