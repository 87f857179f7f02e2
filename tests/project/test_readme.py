"""README and docs are true: commands and code run as written, tables are complete."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from api.openapi import OpenApiApp
from api.schema import ResultAnswer
from car_classification import TYPE_NAMES
from exports import FORMATS
from img_to_segments import PART_NAMES
from options import OPTION_SPECS
from poligons_from_seg import DEFAULT_TOLERANCE
from settings import REPOSITORY, Settings
from tests.support.pictures import SAMPLE
from tests.support.server import Server, clean_environment

README = "README.md"
FOLDERS = (".", "docs", "benchmarks", "models", "sample", "training")  # with linked documents
DOCUMENTS = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8")
    for folder in FOLDERS
    for path in sorted((REPOSITORY / folder).glob("*.md"))
}
MANUAL = {name: text for name, text in DOCUMENTS.items() if name.startswith((README, "docs/"))}


def blocks(name: str, language: str) -> list[str]:
    """Return the code blocks of a language in a document, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENTS[name], re.MULTILINE | re.DOTALL)


def section(name: str, title: str) -> str:
    """Return the text under a heading of the second level."""
    pattern = rf"^## {title}\n(.*?)(?=^## |\Z)"
    (found,) = re.findall(pattern, DOCUMENTS[name], re.MULTILINE | re.DOTALL)
    return str(found)


def anchors(text: str) -> set[str]:
    """Return GitHub's anchors of the headings of a document."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def run(*command: str) -> str:
    """Run a program in the repository, and return its output."""
    ended = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=250, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def at(server: Server, code: str) -> str:
    """Return a block with the address of the test server, since port 5000 may be taken."""
    assert "http://127.0.0.1:5000" in code
    return code.replace("http://127.0.0.1:5000", server.url)


def test_curl(server: Server) -> None:
    (code,) = [block for block in blocks(README, "bash") if "curl" in block]
    printed = run("bash", "-euo", "pipefail", "-c", at(server, code))
    assert ResultAnswer.model_validate_json(printed.splitlines()[-1]).segments["hood"]


def test_python(server: Server) -> None:
    (short,) = blocks(README, "python")
    client, many, by_hand = blocks("docs/clients.md", "python")
    for code in (short, by_hand, client):
        printed = run(sys.executable, "-W", "error", "-c", at(server, code)).splitlines()
        assert printed[0] in TYPE_NAMES
        assert "hood" in {line.split()[0] for line in printed[1:]} <= set(PART_NAMES)
    printed = run(sys.executable, "-W", "error", "-c", at(server, many)).splitlines()
    found = dict(line.rsplit(maxsplit=1) for line in printed)
    assert set(found) == {"sample/car.png", "sample/overlay.png"}
    assert int(found["sample/car.png"]) > 3


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_javascript(server: Server) -> None:
    client, many, by_hand = blocks("docs/clients.md", "javascript")
    for code in (by_hand, client):
        printed = run("node", "--input-type=module", "-e", at(server, code))
        assert printed.split()[0] in TYPE_NAMES
        assert "hood" in printed
    printed = run("node", "--input-type=module", "-e", at(server, many))
    found = dict(line.split() for line in printed.splitlines())
    assert set(found) == {"0", "1"}
    assert int(found["0"]) > 3


def test_command_line(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("docs/command-line.md", "bash") if "segment.py" in block]
    one, *many = block.replace(".venv/bin/python", sys.executable).splitlines()
    run("bash", "-c", one.replace("car.svg", str(tmp_path / "car.svg")))
    assert (tmp_path / "car.svg").read_bytes().startswith(b"<svg")
    (tmp_path / "photos").mkdir()
    shutil.copy(SAMPLE, tmp_path / "photos")
    for line in many:
        run("bash", "-c", re.sub(r"\b(photos|results|drawn)/", rf"{tmp_path}/\1/", line))
    assert (tmp_path / "results" / "coco.json").is_file()
    assert (tmp_path / "drawn" / "car.jpg").is_file()


def test_json() -> None:
    plain, damage = map(json.loads, blocks("docs/api.md", "json"))
    ResultAnswer.model_validate(plain)
    examined = ResultAnswer.model_validate(plain | damage)
    assert examined.damages
    assert examined.model_dump(exclude_unset=True).keys() == plain.keys() | damage.keys()


def make(*words: str) -> list[str]:
    # The environment that runs the tests replaces .venv; all else is as written.
    return ["make", *words, f"VENV={sys.prefix}", f"PYTHON={sys.executable}"]


def test_make_run(tmp_path: Path) -> None:
    assert "make run" in [block.strip() for block in blocks(README, "bash")]
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
    assert "make demo" in [block.strip() for block in blocks(README, "bash")]
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


def test_demo_without_photo(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "sample.demo", tmp_path / "nope.jpg"],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == f"{tmp_path / 'nope.jpg'}: No such file or directory.\n"


def test_readme_is_short() -> None:
    assert len(DOCUMENTS[README].splitlines()) <= 150


@pytest.mark.parametrize("name", MANUAL)
def test_named_targets_and_files_exist(name: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make (\w+)", MANUAL[name], re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in set(re.findall(r"`([\w./-]+\.(?:py|js))`", MANUAL[name])):
        assert (REPOSITORY / path).is_file(), path


def test_every_route_is_described(app: OpenApiApp) -> None:
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith(("/docs/", "/ui/")):
            continue  # files of the two pages
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert f"| `{method} {rule.rule}`" in DOCUMENTS["docs/api.md"]


def test_every_setting_is_described() -> None:
    described = re.findall(r"^\| `CARSEG_(\w+)`", DOCUMENTS["docs/settings.md"], re.MULTILINE)
    assert described == [name.upper() for name in Settings.model_fields]


def test_every_format_and_option_is_described() -> None:
    rows = re.findall(r"^\| `.*", section("docs/formats.md", "Formats"), re.MULTILINE)
    assert [row.split("`")[1] for row in rows] == list(FORMATS)
    for row, entry in zip(rows, FORMATS.values(), strict=True):
        assert (f"`{entry.media_type.partition(';')[0]}` *" in row) == entry.negotiable
    options = section("docs/formats.md", "Options")
    defaults = {name: knob.schema.get("default") for name, knob in OPTION_SPECS.items()}
    defaults |= {"tolerance": DEFAULT_TOLERANCE, "file_name": "<image_hash>.png", "parts": "all"}
    described = re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", options, re.MULTILINE)
    assert [name for name, _ in described] == list(OPTION_SPECS)
    for name, default in described:
        value = defaults[name]
        text = f"{value:g}" if isinstance(value, int | float) and value is not False else str(value)
        assert default == text.lower()


def test_every_part_and_type_is_named() -> None:
    for name in PART_NAMES + TYPE_NAMES:
        assert name in section("docs/api.md", "The result")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_resolve(name: str) -> None:
    for link, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", DOCUMENTS[name]):
        if link.startswith("https://"):
            continue
        target = (REPOSITORY / name).parent / link if link else REPOSITORY / name
        assert target.exists(), link
        if anchor:
            text = DOCUMENTS[target.resolve().relative_to(REPOSITORY.resolve()).as_posix()]
            assert anchor in anchors(text), f"{link}#{anchor}"


def test_readme_links_all_pages() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)", DOCUMENTS[README]))
    assert MANUAL.keys() - {README} <= linked


def test_map_of_code_is_complete() -> None:
    page = DOCUMENTS["docs/architecture.md"]
    (tree,) = re.findall(r"^```\n(app\.py.*?)^```", page, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"\b[\w/]+\.py|^\w+/", tree, re.MULTILINE):
        assert (REPOSITORY / name).exists(), name
    modules = {path.name for path in REPOSITORY.glob("*.py")}
    packages = {f"{path.parent.name}/" for path in REPOSITORY.glob("*/__init__.py")}
    assert modules <= set(re.findall(r"\w+\.py", tree))
    assert packages <= set(re.findall(r"\w+/", tree))


def test_layers_equal_those_of_layer_test() -> None:
    source = (REPOSITORY / "tests" / "project" / "test_layers.py").read_text(encoding="utf-8")
    (layers,) = re.findall(r"^LAYERS = (\(.*?^\))", source, re.MULTILINE | re.DOTALL)
    items = re.findall(
        r"^\d+\. (.*(?:\n   .*)*)", section("docs/architecture.md", "Layers"), re.MULTILINE
    )
    described = [tuple(re.findall(r"`(\w+)(?:/|\.py)`", item)) for item in items]
    assert described == list(ast.literal_eval(layers))
