"""Both runtimes give the same answers, and the service loads only the one that was chosen."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import REPOSITORY, SAMPLE, clean_environment, noise
from numpy.typing import NDArray

import runtimes
from app import create_app
from car_classification import TypeClassifier
from img_to_segments import PartSegmenter
from model_files import MANIFEST, MODELS, ModelError, normalise, read_description
from runtimes import Choice, Name, Runtime, RuntimeMissingError, choose
from segment_interface import decode_image
from settings import Settings, SettingsError

SHAPES = [(384, 512), (512, 384), (32, 32), (96, 64), (160, 1280)]  # height, width


def load(network: str, runtime: Name, threads: int = 1) -> Runtime:
    return Choice(runtime, threads).load(read_description(network))


def pictures(height: int, width: int) -> list[NDArray[np.uint8]]:
    car = decode_image(SAMPLE.read_bytes(), 50_000_000)
    scaled = np.asarray(cv2.resize(car, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return [scaled, noise(height, width)]


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_parts_are_those_of_torch(height: int, width: int) -> None:
    description = read_description("parts")
    inputs = [normalise(picture, description) for picture in pictures(height, width)]
    batch = np.concatenate(inputs)
    expected, found = load("parts", "torch")(batch), load("parts", "onnx")(batch)
    assert found.shape == expected.shape == (2, 19, height // 4, width // 4)
    assert found.dtype == expected.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-3
    for one, other in zip(found.argmax(1), expected.argmax(1), strict=True):
        assert (one == other).mean() >= 0.999


def test_types_are_those_of_torch() -> None:
    rgb = decode_image(SAMPLE.read_bytes(), 50_000_000)
    onnx, torch = (TypeClassifier(runtime=Choice(name)) for name in ("onnx", "torch"))
    for picture in (rgb, noise(200, 300)):
        assert np.abs(onnx.logits(picture) - torch.logits(picture)).max() < 1e-3
    one, other = onnx(rgb), torch(rgb)
    assert one is not None
    assert other is not None
    assert one.name == other.name


def test_the_whole_photo_has_the_same_labels() -> None:
    rgb = decode_image(SAMPLE.read_bytes(), 50_000_000)
    one, other = (PartSegmenter(runtime=Choice(name))(rgb) for name in ("onnx", "torch"))
    assert (one.labels == other.labels).mean() >= 0.999
    assert one.confidences == pytest.approx(other.confidences, abs=1e-3)


@pytest.mark.parametrize("network", ["parts", "types"])
def test_the_number_of_threads_changes_no_bit(network: str) -> None:
    batch = normalise(pictures(192, 288)[0], read_description(network))
    single = load(network, "onnx")(batch)
    for threads in (2, 3, 4):
        assert np.array_equal(load(network, "onnx", threads)(batch), single)


SERVE_ONE = """
import base64, json, sys, time
from app import create_app
from settings import Settings
app = create_app(Settings(data_dir=sys.argv[1], runtime=sys.argv[2]))
client = app.test_client()
image = base64.b64encode(open("sample/car.png", "rb").read()).decode()
digest = client.post("/", json={"image": image}).get_json()["image_hash"]
while (status := client.get(f"/{digest}/status").get_json())["status"] not in ("Ready", "Error"):
    time.sleep(0.01)
app.extensions["jobs"].close()
heavy = {"onnx", "onnxruntime", "timm", "torch", "torchvision"}
print(status["status"], *sorted(heavy & {*sys.modules}))
"""


@pytest.mark.parametrize(
    ("runtime", "loaded"),
    [("onnx", "onnxruntime"), ("auto", "onnxruntime"), ("torch", "timm torch torchvision")],
)
def test_the_service_loads_nothing_else(tmp_path: Path, runtime: str, loaded: str) -> None:
    if runtime == "auto" and choose().name == "torch":
        loaded = "timm torch torchvision"
    ended = subprocess.run(
        [sys.executable, "-c", SERVE_ONE, tmp_path, runtime],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ended.stdout == f"Ready {loaded}\n", ended.stderr


@pytest.mark.parametrize(
    ("installed", "card", "wish", "name"),
    [
        ({"onnx", "torch"}, False, "auto", "onnx"),
        ({"onnx", "torch"}, True, "auto", "torch"),
        ({"onnx"}, True, "auto", "onnx"),
        ({"torch"}, False, "auto", "torch"),
        ({"onnx", "torch"}, False, "torch", "torch"),
        ({"onnx", "torch"}, True, "onnx", "onnx"),
        ({"onnx"}, False, "torch", None),
        ({"torch"}, False, "onnx", None),
        (set(), True, "auto", None),
    ],
)
def test_what_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
    installed: set[str],
    card: bool,
    wish: runtimes.Wish,
    name: str | None,
) -> None:
    monkeypatch.setattr(runtimes, "_installed", installed.__contains__)
    monkeypatch.setattr(runtimes, "_torch_sees_a_card", lambda: card)
    if name is not None:
        assert choose(wish, 3) == Choice(name, 3)  # type: ignore[arg-type]
        return
    with pytest.raises(RuntimeMissingError, match=r"is (not )?installed"):
        choose(wish)


def test_a_missing_runtime_stops_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtimes, "_installed", {"onnx"}.__contains__)
    with pytest.raises(SettingsError) as caught:
        create_app(Settings(data_dir=tmp_path, runtime="torch"))
    assert caught.value.message == "CARSEG_RUNTIME=torch: the package torch is not installed."


def renamed(folder: Path, file: str, data: bytes) -> None:
    """Write a file and its SHA-256 into a models folder, as if it belonged there."""
    (folder / file).write_bytes(data)
    manifest = (folder / MANIFEST).read_text()
    before = hashlib.sha256((MODELS / file).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(manifest.replace(before, hashlib.sha256(data).hexdigest()))


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_weights_of_another_network_are_refused(tmp_path: Path, runtime: Name) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS, models)
    weights = read_description("parts").weights
    other = read_description("types").weights
    renamed(models, weights, (models / other).read_bytes())
    with pytest.raises(ModelError, match=f"models/{weights} does not fit the network"):
        Choice(runtime).load(read_description("parts", models), models)


def test_weights_in_another_order_are_refused(tmp_path: Path) -> None:
    """The graph knows places, not names: where names moved, it must notice."""
    models = tmp_path / "models"
    shutil.copytree(MODELS, models)
    weights = read_description("types").weights
    data = (models / weights).read_bytes()
    assert b"conv_head.weight" in data
    first, second = b'"bn1.weight"', b'"bn2.weight"'
    assert data.count(first) == data.count(second) == 1
    swapped = data.replace(first, b'"bn?.weight"').replace(second, first)
    renamed(models, weights, swapped.replace(b'"bn?.weight"', second))
    with pytest.raises(ModelError, match="does not fit the network"):
        Choice("onnx").load(read_description("types", models), models)


def in_environment(python: Path, *command: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [python, *command], cwd=REPOSITORY, env=clean_environment(), capture_output=True,
        timeout=280, check=False,
    )  # fmt: skip


@pytest.mark.skipif("TEST_SLIM" not in os.environ, reason="TEST_SLIM=1 makes an environment")
def test_the_slim_environment_gives_the_same_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    slim = tmp_path / "venv" / "bin" / "python"
    pip = ("-m", "pip", "install", "--quiet", "--require-hashes")
    made = in_environment(slim, *pip, "-r", "requirements-slim.lock")
    if made.returncode:
        pytest.skip(f"the environment can't be made: {made.stderr.decode()[-300:]}")
    assert in_environment(slim, "-c", "import torch").returncode != 0
    answers = []
    for python in (slim, Path(sys.executable)):
        ended = in_environment(python, "segment.py", "sample/car.png", "--format", "json")
        assert ended.returncode == 0, ended.stderr.decode()
        answers.append(ended.stdout)
    assert answers[0] == answers[1]
    assert b'"hood"' in answers[0]
    ready = in_environment(slim, "-c", SERVE_ONE, tmp_path / "data", "auto")
    assert ready.stdout == b"Ready onnxruntime\n", ready.stderr.decode()
