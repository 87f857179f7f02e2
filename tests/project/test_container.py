"""`Dockerfile` and `compose.yaml`, as far as they can be checked where no Docker engine is.

hadolint and Docker Compose itself read them. The files of the image are put together here
by .dockerignore, and its commands are run as written: the service, its health check, and with
TEST_SLIM=1 also what makes the environment, as a user without rights.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from settings import PREFIX, REPOSITORY, Settings
from tests.support.pictures import SAMPLE
from tests.support.server import Server, clean_environment
from vision.model_files import MANIFEST, MODELS

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
TOOLS = Path(sys.executable).parent
SECRETS = {"CARSEG_API_KEYS": "key-of-a-client-0123", "REDIS_PASSWORD": "secret"}
NOBODY = 65534


def instructions(name: str) -> list[str]:
    """Return the arguments of an instruction in all stages, with joined lines."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def is_copied(path: str) -> bool:
    """Return True if `COPY . .` takes a file: the last line of .dockerignore that fits decides."""
    copied = True
    for line in IGNORED:
        pattern = line.removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = path.split("/")
        heads = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        if pattern.startswith("**/"):
            fits = pattern.removeprefix("**/") in parts
        else:
            fits = any(
                head.count("/") == pattern.count("/") and fnmatch.fnmatchcase(head, pattern)
                for head in heads
            )
        if fits:
            copied = line.startswith("!")
    return copied


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """Yield the files of the image, which others than their owner may only read."""
    folder = Path(tempfile.mkdtemp(prefix="carseg-image-"))  # not below a folder that is closed
    folder.chmod(0o755)
    for root, folders, names in os.walk(REPOSITORY):
        folders[:] = [name for name in folders if name not in (".git", ".venv", "runs", "img")]
        for name in names:
            path = (Path(root) / name).relative_to(REPOSITORY)
            if is_copied(path.as_posix()):
                (folder / "app" / path.parent).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(REPOSITORY / path, folder / "app" / path)
    yield folder
    shutil.rmtree(folder)


def serve(python: Path | str, image: Path, data: Path, **process: Any) -> Server:
    """Run the image's CMD with its environment, except the folder and a free port."""
    (words,) = instructions("CMD")
    variables = dict(re.findall(rf"({PREFIX}\w+)=(\S+)", " ".join(instructions("ENV"))))
    variables |= {"CARSEG_DATA_DIR": str(data), "CARSEG_PORT": "0"}
    started = subprocess.Popen(
        [str(python), *json.loads(words)[1:]],
        cwd=image / "app",
        env=clean_environment() | variables | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        **process,
    )
    assert started.stdout is not None
    found = re.search(r"http://0\.0\.0\.0:(\d+)", started.stdout.readline())
    assert found, "the service did not start"
    return Server(started, f"http://127.0.0.1:{found[1]}")


def is_healthy(python: Path | str, server: Server) -> bool:
    """Return the exit status of the image's HEALTHCHECK."""
    (check,) = instructions("HEALTHCHECK")
    words = json.loads(check.partition("CMD ")[2])
    port = server.url.rpartition(":")[2]
    ended = subprocess.run(
        [str(python), *words[1:]],
        env=clean_environment() | {"CARSEG_PORT": port},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return ended.returncode == 0


def check_service(python: Path | str, server: Server, image: Path) -> None:
    """Test what the image must be able to do."""
    assert is_healthy(python, server)
    image_hash = server.post(SAMPLE.read_bytes())
    server.wait(image_hash)
    for path in (
        f"/{image_hash}/segments?format=coco&topology=shared",
        f"/{image_hash}/overlay.png",
        "/ui",
        "/ui/carseg.js",
        "/ui/sample.png",
        "/docs",
        "/docs/start.js",
        "/openapi.json",
        "/metrics",
    ):
        assert requests.get(server.url + path, timeout=60).status_code == 200, path
    before = set((image / "app").rglob("*"))
    assert server.stop(signal.SIGTERM) == 0
    assert not is_healthy(python, server)
    assert set((image / "app").rglob("*")) == before


def test_image_has_files_of_service(image: Path, tmp_path: Path) -> None:
    server = serve(sys.executable, image, tmp_path / "data")
    check_service(sys.executable, server, image)
    ended = subprocess.run(
        [sys.executable, "segment.py", "--help"], cwd=image / "app", capture_output=True, check=True
    )
    assert b"--server" in ended.stdout


def test_build_context_has_locks(image: Path) -> None:
    locks = re.findall(r"--require-hashes -r (\S+?)[\s;]", instructions("RUN")[0])
    assert locks == ["requirements/slim.lock", "requirements/cluster.lock"]
    for lock in locks:
        assert (image / "app" / lock).is_file(), lock


def test_image_has_no_other_files(image: Path) -> None:
    there = {path.relative_to(image / "app").as_posix() for path in image.rglob("*")}
    assert "app.py" in there
    assert "models/manifest.json" in there
    assert not {"tests", "training", "benchmarks", "docs", "demo.py", ".git", "README.md"} & there
    assert not [name for name in there if name.endswith((".md", ".sqlite")) or ".venv" in name]
    networks = {f"app/models/{file}" for file in json.loads((MODELS / MANIFEST).read_text())}
    others = [
        path for path in image.rglob("*")
        if path.is_file() and path.relative_to(image).as_posix() not in networks
    ]  # fmt: skip
    assert sum(path.stat().st_size for path in others) < 4e6


def test_hadolint() -> None:
    ended = subprocess.run(
        [TOOLS / "hadolint", "--failure-threshold", "style", "Dockerfile"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_image_is_not_run_as_root() -> None:
    user, group = instructions("USER")[-1].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert DOCKERFILE.index("USER ") > DOCKERFILE.rindex("RUN ")


def test_settings_exist() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    used = re.findall(rf"\b{PREFIX}[A-Z_]+\b", DOCKERFILE)
    assert set(used) <= known
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", compose_text())) <= known


# --- compose.yaml


def compose_text() -> str:
    return (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")


def compose(**variables: str) -> subprocess.CompletedProcess[str]:
    """Return the file as Docker Compose reads it; that needs no engine."""
    return subprocess.run(
        [TOOLS / "docker-compose", "--file", "compose.yaml", "config", "--format", "json"],
        cwd=REPOSITORY,
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    ended = compose(**SECRETS)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)["services"]
    return found


@pytest.mark.parametrize("name", SECRETS)
def test_compose_requires_secrets(name: str) -> None:
    ended = compose(**{other: value for other, value in SECRETS.items() if other != name})
    assert ended.returncode != 0
    assert name in ended.stderr
    assert "Traceback" not in ended.stderr


def test_every_service_has_limits(services: dict[str, Any]) -> None:
    assert set(services) == {"web", "worker", "redis"}
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        if name != "web":  # that is the image's own
            assert service["healthcheck"]["test"], name
            assert "ports" not in service, name
            assert set(service["networks"]) == {"inside"}, name


def test_redis_persistence_and_password(services: dict[str, Any]) -> None:
    redis = services["redis"]
    words = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert words["--appendonly"] == "yes"
    assert words["--maxmemory-policy"] == "noeviction"
    assert words["--requirepass"] == redis["environment"]["REDISCLI_AUTH"] == "secret"
    assert redis["user"] == "redis"
    assert [volume["target"] for volume in redis["volumes"]] == ["/data"]
    for name in ("web", "worker"):
        variables = services[name]["environment"]
        assert variables["CARSEG_BROKER_URL"] == "redis://:secret@redis:6379/0"
        assert services[name]["depends_on"]["redis"]["condition"] == "service_healthy"
        assert services[name]["build"]["args"] == {"CLUSTER": "yes"}


def test_port_is_open_on_loopback_only(services: dict[str, Any]) -> None:
    (port,) = services["web"]["ports"]
    assert port["host_ip"] == "127.0.0.1"
    assert str(port["target"]) in instructions("EXPOSE")
    assert int(port["target"]) == Settings().port


# --- the commands that make the environment


def python_for_nobody() -> str | None:
    """Yield a Python for users without rights; that of these tests may belong to root."""
    nobody: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    question = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run([python, "-c", question], cwd="/", check=True, **nobody)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


def test_commands_as_unprivileged_user(image: Path) -> None:
    if "TEST_SLIM" not in os.environ:
        pytest.skip("TEST_SLIM=1 makes an environment")
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    python = python_for_nobody()
    if python is None:
        pytest.skip("there is no Python that another user may run")
    home = image / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    nobody: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    command = instructions("RUN")[0].replace("/opt/venv", str(home / "venv"))
    assert command.startswith("python3 -m venv ")
    made = subprocess.run(
        ["sh", "-euc", command.replace("python3 -m venv", f"{python} -m venv", 1)],
        cwd=image / "app",
        env={"PATH": os.environ["PATH"], "HOME": str(home), "CLUSTER": "no"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        **nobody,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    python = str(home / "venv" / "bin" / "python")
    server = serve(python, image, home / "data", **nobody)
    check_service(python, server, image)
