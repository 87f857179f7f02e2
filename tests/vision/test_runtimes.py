"""Runtimes give the same answers, 8 bits nearly so, and only the chosen runtime is loaded."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app import create_app
from car_classification import TypeClassifier
from img_to_segments import PartSegmenter
from segment_interface import decode_image
from settings import REPOSITORY, Precision, Settings, SettingsError
from tests.support.pictures import SAMPLE, noise
from tests.support.server import clean_environment
from vision.model_files import MANIFEST, MODELS, ModelFileError, normalise, read_description
from vision.part_layout import softmax
from vision.runtimes import choose as runtimes
from vision.runtimes.base import ActiveCalls, Runtime
from vision.runtimes.choose import (
    RuntimeConfig,
    RuntimeMissingError,
    RuntimeName,
    choose,
    cpu_has_bfloat16,
)

SHAPES = [(384, 512), (512, 384), (32, 32), (96, 64), (160, 1280)]  # height, width


def load(
    network: str, runtime: RuntimeName, threads: int = 1, precision: Precision = "float32"
) -> Runtime:
    config = RuntimeConfig(runtime, threads, precision=precision)
    return config.load(config.describe(network))


def pictures(height: int, width: int) -> list[NDArray[np.uint8]]:
    car = decode_image(SAMPLE.read_bytes(), 50_000_000)
    scaled = np.asarray(cv2.resize(car, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return [scaled, noise(height, width)]


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_parts_equal_those_of_torch(height: int, width: int) -> None:
    description = read_description("parts")
    inputs = [normalise(picture, description) for picture in pictures(height, width)]
    batch = np.concatenate(inputs)
    expected, found = load("parts", "torch")(batch), load("parts", "onnx")(batch)
    assert found.shape == expected.shape == (2, 26, height // 4, width // 4)
    assert found.dtype == expected.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-3
    for one, other in zip(found.argmax(1), expected.argmax(1), strict=True):
        assert (one == other).mean() >= 0.999


def test_types_equal_those_of_torch() -> None:
    rgb = decode_image(SAMPLE.read_bytes(), 50_000_000)
    onnx, torch = (TypeClassifier(runtime=RuntimeConfig(name)) for name in ("onnx", "torch"))
    box = (10.0, 20.0, 280.0, 190.0)
    for picture in (rgb, noise(200, 300)):
        assert np.abs(onnx.logits(picture, box) - torch.logits(picture, box)).max() < 1e-3
    cells = softmax(np.random.default_rng(0).normal(0, 3, (19, 60, 80)).astype(np.float32))
    shapes = [c.shape.logits(cells, (40, 30, 300, 200), (240, 320)) for c in (onnx, torch)]
    assert np.abs(shapes[0] - shapes[1]).max() < 1e-3
    one, other = onnx(rgb, box, cells), torch(rgb, box, cells)
    assert one.best.name == other.best.name
    assert one.scores == pytest.approx(other.scores, abs=1e-3)
    assert one.turned == pytest.approx(other.turned, abs=1e-3)


def test_whole_photo_has_same_labels() -> None:
    rgb = decode_image(SAMPLE.read_bytes(), 50_000_000)
    one, other = (PartSegmenter(runtime=RuntimeConfig(name))(rgb) for name in ("onnx", "torch"))
    assert (one.labels == other.labels).mean() >= 0.999
    assert one.confidences == pytest.approx(other.confidences, abs=1e-3)


def test_8_bits_have_nearly_the_same_labels() -> None:
    rgb = decode_image(SAMPLE.read_bytes(), 50_000_000)
    one, other = (
        PartSegmenter(runtime=RuntimeConfig("onnx", precision=precision))(rgb)
        for precision in get_args(Precision)
    )
    assert (one.labels == other.labels).mean() >= 0.98
    assert one.confidences == pytest.approx(other.confidences, abs=0.1)


def test_8_bits_have_nearly_the_same_types() -> None:
    rgb = decode_image(SAMPLE.read_bytes(), 50_000_000)
    cells = softmax(np.random.default_rng(0).normal(0, 3, (19, 60, 80)).astype(np.float32))
    one, other = (
        TypeClassifier(runtime=RuntimeConfig("onnx", precision=precision))(
            rgb, (10.0, 20.0, 280.0, 190.0), cells
        )
        for precision in get_args(Precision)
    )
    assert one.best.name == other.best.name
    assert one.scores == pytest.approx(other.scores, abs=0.1)


@pytest.mark.parametrize(
    ("flags", "answer"),
    [("fpu avx512_bf16 sse", True), ("amx_bf16", True), ("fpu avx512f", False), (None, False)],
)
def test_bfloat16_by_cpu_flags(tmp_path: Path, flags: str | None, answer: bool) -> None:
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    assert cpu_has_bfloat16(tmp_path / "cpuinfo") is answer


@pytest.mark.parametrize("precision", get_args(Precision))
@pytest.mark.parametrize("network", ["parts", "types", "shapes"])
def test_thread_count_changes_no_bit(network: str, precision: Precision) -> None:
    batch = np.random.default_rng(0).random((1, 19, 32, 48), np.float32)
    if network != "shapes":
        batch = normalise(pictures(192, 288)[0], read_description(network))
    single = load(network, "onnx", precision=precision)(batch)
    for threads, calls in ((2, 1), (3, 1), (2, 3), (4, 2)):
        choice = RuntimeConfig("onnx", threads, calls, precision=precision)
        several = choice.load(choice.describe(network))
        assert np.array_equal(several(batch), single)
        with ExitStack() as stack:
            for _ in range(calls):
                stack.enter_context(choice.active_calls.track())
            assert np.array_equal(several(batch), single)


@pytest.mark.parametrize("network", ["parts", "types"])
def test_thread_count_changes_no_bit_in_openvino(network: str) -> None:
    pytest.importorskip("openvino")
    batch = normalise(pictures(192, 288)[0], read_description(network))
    single = load(network, "openvino")(batch)
    for threads, calls in ((2, 1), (2, 2)):
        choice = RuntimeConfig("openvino", threads, calls)
        several = choice.load(read_description(network))
        assert np.array_equal(several(batch), single)
        with ExitStack() as stack:
            for _ in range(calls):
                stack.enter_context(choice.active_calls.track())
            assert np.array_equal(several(batch), single)


def test_active_calls() -> None:
    calls = ActiveCalls()
    with calls.track(), calls.track():
        assert calls.count == 2
    with pytest.raises(ZeroDivisionError), calls.track():
        _ = 1 / calls.count - 1 / (calls.count - 1)
    assert calls.count == 0


SERVE_ONE = """
import base64, json, sys
from api.service import service_of
from app import create_app
from settings import Settings
from tests.support.http import wait
app = create_app(Settings(data_dir=sys.argv[1], runtime=sys.argv[2]))
client = app.test_client()
image = base64.b64encode(open("sample/car.png", "rb").read()).decode()
digest = client.post("/", json={"image": image}).get_json()["image_hash"]
status = wait(client, digest)
service_of(app).engine.close()
heavy = {"onnx", "onnxruntime", "openvino", "timm", "torch", "torchvision"}
print(status["status"], *sorted(heavy & {*sys.modules}))
"""


@pytest.mark.parametrize(
    ("runtime", "loaded"),
    [("onnx", "onnxruntime"), ("auto", "onnxruntime"), ("torch", "timm torch torchvision")],
)
def test_only_chosen_runtime_is_imported(tmp_path: Path, runtime: str, loaded: str) -> None:
    if runtime == "auto":
        found = choose().name
        loaded = {"onnx": loaded, "torch": "timm torch torchvision"}.get(found, found)
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
    ("installed", "special", "setting", "name"),
    [
        ({"onnx", "torch"}, "", "auto", "onnx"),
        ({"onnx", "torch", "openvino"}, "card bfloat16", "auto", "torch"),
        ({"onnx", "openvino"}, "card bfloat16", "auto", "openvino"),
        ({"onnx", "torch", "openvino"}, "bfloat16", "auto", "openvino"),
        ({"onnx", "torch", "openvino"}, "", "auto", "onnx"),
        ({"torch", "openvino"}, "", "auto", "openvino"),
        ({"onnx"}, "card", "auto", "onnx"),
        ({"torch"}, "", "auto", "torch"),
        ({"onnx", "torch"}, "", "torch", "torch"),
        ({"onnx", "torch"}, "card", "onnx", "onnx"),
        ({"onnx"}, "", "torch", None),
        ({"torch"}, "", "onnx", None),
        ({"torch", "onnx"}, "bfloat16", "openvino", None),
        (set(), "card", "auto", None),
    ],
)
def test_choice_of_runtime(
    monkeypatch: pytest.MonkeyPatch,
    installed: set[str],
    special: str,
    setting: runtimes.RuntimeSetting,
    name: RuntimeName | None,
) -> None:
    monkeypatch.setattr(runtimes, "is_installed", installed.__contains__)
    monkeypatch.setattr(runtimes, "torch_sees_card", lambda: "card" in special)
    monkeypatch.setattr(runtimes, "cpu_has_bfloat16", lambda: "bfloat16" in special)
    if name is not None:
        precision: Precision = "int8" if name == "onnx" else "float32"
        assert choose(setting, 3, 2, "int8") == RuntimeConfig(name, 3, 2, precision=precision)
        assert choose(setting, 3, 2, "float32") == RuntimeConfig(name, 3, 2, precision="float32")
        return
    with pytest.raises(RuntimeMissingError, match=r"is (not )?installed"):
        choose(setting)


def test_missing_runtime_stops_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtimes, "is_installed", {"onnx"}.__contains__)
    with pytest.raises(SettingsError) as caught:
        create_app(Settings(data_dir=tmp_path, runtime="torch"))
    assert caught.value.message == (
        "CARSEG_RUNTIME=torch: the package torch is not installed; "
        "install it with: make install TORCH=yes."
    )


def renamed(folder: Path, file: str, data: bytes) -> None:
    """Write a file and its SHA-256 into a models folder, as if it belonged there."""
    (folder / file).write_bytes(data)
    manifest = (folder / MANIFEST).read_text()
    before = hashlib.sha256((MODELS / file).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(manifest.replace(before, hashlib.sha256(data).hexdigest()))


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_weights_of_another_network_are_refused(tmp_path: Path, runtime: RuntimeName) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS, models)
    weights = read_description("parts").weights
    other = read_description("types").weights
    renamed(models, weights, (models / other).read_bytes())
    with pytest.raises(ModelFileError, match=f"models/{weights} does not fit the network"):
        RuntimeConfig(runtime).load(read_description("parts", models), models)


def test_weights_in_another_order_are_refused(tmp_path: Path) -> None:
    """The graph refers to positions, not names, so moved names must be noticed."""
    models = tmp_path / "models"
    shutil.copytree(MODELS, models)
    weights = read_description("types").weights
    data = (models / weights).read_bytes()
    assert b"conv_head.weight" in data
    first, second = b'"bn1.weight"', b'"bn2.weight"'
    assert data.count(first) == data.count(second) == 1
    swapped = data.replace(first, b'"bn?.weight"').replace(second, first)
    renamed(models, weights, swapped.replace(b'"bn?.weight"', second))
    with pytest.raises(ModelFileError, match="does not fit the network"):
        RuntimeConfig("onnx").load(read_description("types", models), models)


def in_environment(
    python: Path, *command: str | Path, **settings: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [python, *command], cwd=REPOSITORY, env=clean_environment() | settings,
        capture_output=True, timeout=280, check=False,
    )  # fmt: skip


SEGMENT = ("segment.py", "sample/car.png", "--format", "json")


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment without torch."""
    if "TEST_SLIM" not in os.environ:
        pytest.skip("TEST_SLIM=1 makes an environment")
    folder = tmp_path_factory.mktemp("slim") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install(python, "--require-hashes", "-r", "requirements/slim.lock")
    return python


def install(python: Path, *what: str) -> None:
    made = in_environment(python, "-m", "pip", "install", "--quiet", *what)
    if made.returncode:
        pytest.skip(f"the environment can't be made: {made.stderr.decode()[-300:]}")


def test_slim_environment_returns_same_bytes(slim: Path, tmp_path: Path) -> None:
    assert in_environment(slim, "-c", "import torch").returncode != 0
    answers = []
    for python in (slim, Path(sys.executable)):
        ended = in_environment(python, *SEGMENT, CARSEG_RUNTIME="onnx")
        assert ended.returncode == 0, ended.stderr.decode()
        answers.append(ended.stdout)
    assert answers[0] == answers[1]
    assert b'"hood"' in answers[0]
    ready = in_environment(slim, "-c", SERVE_ONE, tmp_path / "data", "auto")
    assert ready.stdout == b"Ready onnxruntime\n", ready.stderr.decode()


# Prints the chosen runtime, and the share of pixels with the same label as ONNX Runtime's.
COMPARE = """
from img_to_segments import PartSegmenter
from vision.runtimes.choose import RuntimeConfig, choose
from segment_interface import decode_image
rgb = decode_image(open("sample/car.png", "rb").read(), 50_000_000)
configs = [RuntimeConfig(name, 2) for name in ("openvino", "onnx")]
one, other = (PartSegmenter(runtime=config)(rgb).labels for config in configs)
print(choose().name, (one == other).mean())
"""


def test_openvino_returns_nearly_the_same(slim: Path) -> None:
    """Runs after the test of the slim environment, into which it installs OpenVINO."""
    install(slim, "-r", "requirements/openvino.txt")
    ended = in_environment(slim, "-c", COMPARE)
    assert ended.returncode == 0, ended.stderr.decode()
    name, same = ended.stdout.decode().split()
    assert name == ("openvino" if runtimes.cpu_has_bfloat16() else "onnx")
    assert float(same) >= 0.999
