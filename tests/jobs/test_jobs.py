"""Test disk and memory before, during and after a job."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient

from api.openapi import OpenApiApp
from api.service import service_of
from img_to_segments import PART_NAMES
from jobs.engine import ClosingError
from jobs.sqlite_store import SqliteStore
from jobs.thread_engine import ThreadEngine, Tuning
from photo_result import Analysis, Result
from pipeline import Pipeline
from poligons_from_seg import label_map_to_outlines
from segment_interface import decode_photo
from settings import Settings
from tests.support.fakes import FakePipeline, Gate
from tests.support.http import body, post, segments, wait
from tests.support.pictures import encoded, noise
from tests.support.waiting import wait_until
from vision.labels import label_of

DEFAULTS = Tuning()


def uploads(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.uploads.iterdir())


def test_upload_is_kept_unchanged_until_end(
    make_app: Callable[..., OpenApiApp], settings: Settings, gate: Gate
) -> None:
    client = make_app(stages=gate).test_client()
    photo = encoded(noise(30, 40), "JPEG")
    image_hash = post(client, photo)
    assert uploads(settings) == [f"{image_hash}.png"]
    assert (settings.uploads / f"{image_hash}.png").read_bytes() == photo
    gate.open.set()
    wait(client, image_hash)
    assert uploads(settings) == []
    assert list(settings.masks.iterdir()) == []


def test_upload_is_removed_after_error(
    make_app: Callable[..., OpenApiApp], settings: Settings, gate: Gate
) -> None:
    client = make_app(stages=gate).test_client()
    gate.error = RuntimeError("broken")
    gate.open.set()
    wait(client, post(client, encoded(noise(30, 40))), "Error")
    assert uploads(settings) == []


def test_refused_photo_leaves_no_file(client: FlaskClient, settings: Settings) -> None:
    photo = encoded(noise(30, 40))
    assert client.post("/", json=body(photo[: len(photo) // 2])).status_code == 400
    assert uploads(settings) == []


def kept_result(app: OpenApiApp, image_hash: str) -> Result:
    """Return the result that the engine keeps of a photo."""
    status = service_of(app).engine.find(image_hash)
    assert status is not None
    assert status.result is not None
    return status.result


def test_label_map_is_kept_exactly(app: OpenApiApp, pipeline: Pipeline, sample: bytes) -> None:
    result = segments(app.test_client(), sample)
    kept = kept_result(app, result["image_hash"])
    analysis = pipeline.analyse(decode_photo(sample, 50_000_000))
    assert np.array_equal(kept.labels(), analysis.labels)
    assert len(kept.packed_labels) < analysis.labels.size // 20
    areas = {part.name: part.area for part in kept.parts}
    counts = np.bincount(kept.labels().ravel(), minlength=1 + len(PART_NAMES))
    assert areas == {name: counts[i] for i, name in enumerate(PART_NAMES, 1) if counts[i]}


def test_masks_are_written_if_set(
    make_app: Callable[..., OpenApiApp], settings: Settings, sample: bytes
) -> None:
    app = make_app(settings.model_copy(update={"write_masks": True}))
    result = segments(app.test_client(), sample)
    labels = kept_result(app, result["image_hash"]).labels()
    folder = settings.masks / result["image_hash"]
    assert [path.name for path in settings.masks.iterdir()] == [result["image_hash"]]
    assert {path.stem for path in folder.iterdir()} == set(result["segments"])
    for path in folder.iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert np.array_equal(mask == 255, labels == label_of(path.stem))
        assert set(np.unique(mask)) <= {0, 255}


def test_waiting_photos_resume_after_restart(
    make_app: Callable[..., OpenApiApp], settings: Settings, gate: Gate
) -> None:
    first = make_app(settings.model_copy(update={"workers": 1}), gate)
    client = first.test_client()
    photos = [encoded(noise(30, 40, seed)) for seed in range(4)]
    hashes = [post(client, photos[0])]
    assert gate.entered.wait(60)
    hashes += [post(client, photo) for photo in photos[1:]]
    closing = threading.Thread(target=service_of(first).engine.close)
    closing.start()
    wait_until(lambda: service_of(first).engine.is_closing)
    refused = client.post("/", json=body(encoded(noise(30, 40, 9))))
    assert refused.status_code == 503
    assert set(refused.get_json()) == {"error"}
    gate.open.set()
    closing.join(60)
    assert client.get("/").get_json() == hashes[:1]
    assert uploads(settings) == sorted(f"{image_hash}.png" for image_hash in hashes[1:])

    second = make_app().test_client()
    for image_hash in hashes[1:]:
        wait(second, image_hash)
    assert second.get("/").get_json() == hashes  # the first from the store
    assert uploads(settings) == []


def test_only_complete_uploads_resume(
    make_app: Callable[..., OpenApiApp], settings: Settings
) -> None:
    settings.prepare_folders()
    photo = encoded(noise(30, 40))
    good = hashlib.sha256(photo).hexdigest()
    (settings.uploads / f"{good}.png").write_bytes(photo)
    (settings.uploads / f"{'a' * 64}.png").write_bytes(photo[:100])
    (settings.uploads / ".upload-half").write_bytes(photo[:100])
    (settings.uploads / "mine.png").write_bytes(photo)
    broken = hashlib.sha256(b"no image").hexdigest()
    (settings.uploads / f"{broken}.png").write_bytes(b"no image")
    client = make_app().test_client()
    wait(client, good)
    assert "not an image" in wait(client, broken, "Error")["message"]
    assert client.get(f"/{'a' * 64}/status").status_code == 404
    assert uploads(settings) == ["mine.png"]


def _jobs(
    settings: Settings, stages: FakePipeline | Gate, workers: int = 1, tuning: Tuning = DEFAULTS
) -> ThreadEngine:
    settings.prepare_folders()
    return ThreadEngine(
        stages,
        SqliteStore(None),
        settings.model_copy(update={"workers": workers}),
        processing_status={},
        processed_segments={},
        tuning=tuning,
    )


def test_decoded_photos_in_memory_are_limited(settings: Settings, gate: Gate) -> None:
    size = 30 * 40 * 3
    jobs = _jobs(settings, gate, tuning=Tuning(decoded_limit=3 * size))
    hashes = [jobs.accept(encoded(noise(30, 40, 0)))[0]]
    assert gate.entered.wait(60)
    hashes += [jobs.accept(encoded(noise(30, 40, seed)))[0] for seed in range(1, 8)]
    assert jobs.decoded_bytes == 3 * size
    gate.open.set()
    wait_until(lambda: len(jobs.ready()) == 8)
    jobs.close()
    assert jobs.ready() == hashes
    assert jobs.decoded_bytes == 0


def test_closed_engine_refuses_photos(settings: Settings) -> None:
    jobs = _jobs(settings, FakePipeline())
    jobs.close()
    with pytest.raises(ClosingError):
        jobs.accept(encoded(noise(30, 40)))
    assert uploads(settings) == []


def test_no_file_stays_open(settings: Settings) -> None:
    jobs = _jobs(settings, FakePipeline(), workers=2)

    def work(seeds: range) -> None:
        for seed in seeds:
            digest, is_new = jobs.accept(encoded(noise(20, 30, seed)))
            assert is_new
            ended = jobs.wait_for_end(digest, 60)
            assert ended is not None
            assert ended.state == "Ready"

    work(range(5))
    before = len(os.listdir("/proc/self/fd"))
    work(range(5, 105))
    assert len(os.listdir("/proc/self/fd")) <= before
    jobs.close()


def test_results_hold_polygons_and_holes() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:50, 10:70] = 13
    labels[25:35, 30:50] = 0
    labels[2:5, 2:6] = 13
    (part,) = Result.of(
        Analysis(None, labels, {"hood": 0.123456}, label_map_to_outlines(labels)), "1"
    ).parts
    assert (part.name, part.confidence, part.bbox) == ("hood", 0.1235, (2, 2, 68, 48))
    assert part.area == 40 * 60 - 200 + 12
    assert [len(polygon.holes) for polygon in part.polygons] == [1, 0]


def test_missing_disk_is_a_server_error(
    make_app: Callable[..., OpenApiApp], settings: Settings
) -> None:
    client = make_app().test_client()
    settings.uploads.rmdir()
    Path(settings.uploads).touch()
    answer = client.post("/", json=body(encoded(noise(30, 40))))
    assert answer.status_code == 500
    assert set(answer.get_json()) == {"error"}
    assert str(settings.data_dir).encode() not in answer.data
    settings.uploads.unlink()
