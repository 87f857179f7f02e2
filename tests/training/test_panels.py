"""Test that a trained part network learns further labels, keeps the old ones, and resumes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from img_to_segments import PartSegmenter
from settings import REPOSITORY
from tests.support.server import clean_environment
from tests.support.waiting import wait_until
from tests.training.tiny import SIZE, annotated_names, write_data
from training.further import FurtherOptions
from training.panels import ROUNDS, SETS, NothingNewError, PanelLine, blended
from training.parts_data import read_rgb
from training.precision import CPU
from training.stages import FIGURES, WEIGHTS
from training.train import OtherOptionsError
from training.weights import PARTS, load_network
from vision.labels import BASIC_PARTS, PANELS, PART_NAMES
from vision.model_files import MODELS
from vision.networks import PartNetwork

KNOWN = len(BASIC_PARTS) + 1
SCALE = 0.001


def old_weights(folder: Path) -> Path:
    """Write the network of `models/` without the panels."""
    state = load_file(MODELS / "parts.safetensors")
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][:KNOWN].contiguous()
    path = folder / "old.safetensors"
    save_file(state, path)
    return path


def data_with_panels(folder: Path) -> Path:
    """Write annotated photos with masks of a roof and a left rocker panel."""
    write_data(folder)
    masks = folder / "car_parts" / "panels"
    masks.mkdir()
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[8:20, 30:66] = PANELS.index("roof") + 1
    mask[72:84, 36:76] = PANELS.index("left_rocker_panel") + 1
    for name in annotated_names(8):
        cv2.imwrite(str(masks / f"{Path(name).stem}.png"), mask)
    return folder


def command(data: Path, start: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "training.panels", "--data", str(data), "--start", str(start),
        "--out", str(out), "--scale", str(SCALE), "--batch", "2", "--threads", "1",
    ]  # fmt: skip


def labels_of(network: torch.nn.Module, rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the label map of a photo of 384x512."""
    x = (torch.from_numpy(rgb).permute(2, 0, 1)[None].float() - 127) / 128
    with torch.no_grad():
        found: NDArray[np.int64] = network(x)[0].argmax(0).numpy()
    return found


@pytest.mark.timeout(1800)  # a minute of work, but the machine may have other work, too
def test_resume_after_kill(tmp_path: Path) -> None:
    data, start, out = data_with_panels(tmp_path / "data"), old_weights(tmp_path), tmp_path / "out"
    words, environment = command(data, start, out), clean_environment()
    with (tmp_path / "first.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)

        def is_first_round_done() -> bool:
            assert process.poll() is None, (tmp_path / "first.log").read_text(encoding="utf-8")
            return (out / ROUNDS[0].name / FIGURES).exists()

        try:
            wait_until(is_first_round_done, 900)
        finally:
            process.kill()
            process.wait()
    assert not (out / ROUNDS[-1].name / FIGURES).exists()
    taught = (out / ROUNDS[0].name / WEIGHTS).stat().st_mtime_ns

    ended = subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{ROUNDS[0].name} ..." not in ended.stdout
    assert (out / ROUNDS[0].name / WEIGHTS).stat().st_mtime_ns == taught
    assert not list(out.glob("*/last.pt"))  # checkpoints of finished rounds are large
    check_result(out, start)


def check_result(out: Path, start: Path) -> None:
    """The result has all labels, keeps the old ones, and is served."""
    new = load_network("pyramid", PARTS, out / "blend" / WEIGHTS, CPU)
    old = load_network("pyramid", PARTS | {"classes": KNOWN}, start, CPU)
    assert isinstance(new, PartNetwork)
    assert isinstance(old, PartNetwork)
    head = new.head.weight.detach()
    assert len(head) == len(PART_NAMES) + 1
    assert all((head[label] != head[0]).any() for label in range(KNOWN, len(head)))
    for name, value in old.encoder.state_dict().items():
        torch.testing.assert_close(new.encoder.state_dict()[name], value, rtol=0, atol=0)
    rgb = cv2.resize(read_rgb(REPOSITORY / "sample" / "car.png"), (512, 384)).astype(np.uint8)
    before, after = labels_of(old, rgb), labels_of(new, rgb)
    car = before > 0
    assert car.mean() > 0.05
    assert (after[car] == before[car]).mean() > 0.95
    served = PartSegmenter(folder=out / "models").logits(rgb)
    assert len(PART_NAMES) + 1 in served.shape


def test_blended_weights_keep_new_rows_of_head(tmp_path: Path) -> None:
    old, new = old_weights(tmp_path), tmp_path / "new.safetensors"
    state = load_file(old)
    more = torch.full_like(state["head.bias"][:1], 3.0).expand(len(PANELS))
    state["head.bias"] = torch.cat([state["head.bias"] + 1, more])
    rows = state["head.weight"][:1].expand(len(PANELS), -1, -1, -1)
    state["head.weight"] = torch.cat([state["head.weight"], rows])
    save_file(state, new)
    bias = blended(new, old, 0.75).head.bias
    assert bias is not None
    wanted = load_file(old)["head.bias"].float() + 0.75
    torch.testing.assert_close(bias[:KNOWN].detach(), wanted, rtol=0, atol=2e-3)
    assert (bias[KNOWN:] == 3).all()


def test_network_with_all_labels_is_refused(tmp_path: Path) -> None:
    state = load_file(old_weights(tmp_path))
    for name in ("head.weight", "head.bias"):
        more = state[name][:1].expand(len(PANELS), *state[name].shape[1:])
        state[name] = torch.cat([state[name], more])
    whole = tmp_path / "whole.safetensors"
    save_file(state, whole)
    with pytest.raises(NothingNewError, match="has all"):
        PanelLine(FurtherOptions(tmp_path, whole, tmp_path / "out"))


def test_folder_of_other_options_is_refused(tmp_path: Path) -> None:
    start = old_weights(tmp_path)
    PanelLine(FurtherOptions(tmp_path, start, tmp_path / "out", scale=0.5))
    with pytest.raises(OtherOptionsError, match="other options"):
        PanelLine(FurtherOptions(tmp_path, start, tmp_path / "out", scale=1.0))


def test_rounds_need_earlier_ones_only() -> None:
    done = {"old"}
    for each in ROUNDS:
        assert each.start in done
        assert each.teacher is None or each.teacher in done
        assert 1 <= each.sets <= len(SETS)
        done.add(each.name)
