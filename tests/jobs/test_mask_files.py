"""Test the files of masks that `CARSEG_WRITE_MASKS` asks for: those of parts, and of damage."""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.openapi import OpenApiApp
from photo_result import Analysis, Stage
from segment_interface import Photo
from settings import REPOSITORY, Settings
from tests.jobs.thread_service import MakeService
from tests.support.fakes import FakePipeline
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise
from tests.support.waiting import wait_until
from vision.labels import DAMAGE_KINDS

PHOTO = encoded(noise(30, 40))
Files = Callable[[str], set[str]]


@pytest.fixture
def with_masks(settings: Settings) -> Settings:
    return settings.model_copy(update={"write_masks": True})


@pytest.fixture
def files(settings: Settings) -> Files:
    """Return a function from a hash to the names of the photo's files."""
    return lambda digest: {path.name for path in (settings.masks / digest).glob("*")}


def examine(client: FlaskClient, photo: bytes, query: str = "?damage=true") -> str:
    """Post a photo for damage, and wait until none is pending."""
    image_hash: str = client.post(f"/{query}", json=body(photo)).get_json()["image_hash"]
    wait_until(lambda: "damage" not in client.get(f"/{image_hash}/status").get_json())
    wait(client, image_hash)
    return image_hash


def test_damage_of_real_photo(
    make_app: Callable[..., OpenApiApp], with_masks: Settings, files: Files
) -> None:
    client = make_app(with_masks).test_client()
    photo = REPOSITORY / "tests" / "pictures" / "damaged.jpg"
    image_hash = examine(client, photo.read_bytes())
    answer = client.get(f"/{image_hash}/segments").get_json()
    assert answer["damages"]
    assert files(image_hash) == {"damage.png", *(f"{name}.png" for name in answer["segments"])}
    written = (with_masks.masks / image_hash / "damage.png").read_bytes()
    assert written == client.get(f"/{image_hash}/damage.png").data
    kinds = {1 + DAMAGE_KINDS.index(damage["kind"]) for damage in answer["damages"]}
    assert set(np.unique(np.asarray(Image.open(BytesIO(written))))) == {0, *kinds}


def test_file_of_damage_is_that_of_examined_photos(
    make_app: Callable[..., OpenApiApp], with_masks: Settings, files: Files
) -> None:
    client = make_app(with_masks, FakePipeline()).test_client()
    image_hash = post(client, PHOTO)
    wait(client, image_hash)
    assert files(image_hash) == {"hood.png"}
    assert examine(client, PHOTO) == image_hash
    assert files(image_hash) == {"hood.png", "damage.png"}
    client.delete(f"/{image_hash}")
    assert list(with_masks.masks.iterdir()) == []


def test_failed_examination_keeps_files(
    make_service: MakeService, stages: FakePipeline, settings: Settings, files: Files
) -> None:
    service = make_service(write_masks=True)
    digest = service.post(30)
    service.wait(digest)
    stages.throw(30, "RuntimeError")
    service.jobs.accept(encoded(noise(20, 30)), damage=True)
    failed = service.jobs.wait_for_end(digest, 60)
    assert failed is not None
    assert failed.damage_error is not None
    assert files(digest) == {"hood.png"}


class _LateGate(FakePipeline):
    """An analyser that waits at the very end of each examination, after the last stage."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reached, self.go = threading.Event(), threading.Event()

    def analyse(
        self,
        photo: Photo,
        on_stage: Callable[[Stage], None] = lambda stage: None,
        *,
        damage: bool = False,
    ) -> Analysis:
        """See `pipeline.Pipeline`."""
        analysis = super().analyse(photo, on_stage, damage=damage)
        if damage:
            self.reached.set()
            assert self.go.wait(60)
        return analysis


def test_photo_deleted_at_end_of_examination_leaves_no_files(
    make_app: Callable[..., OpenApiApp], with_masks: Settings, tmp_path: Path
) -> None:
    stages = _LateGate(tmp_path)
    client = make_app(with_masks.model_copy(update={"workers": 1}), stages).test_client()
    image_hash = post(client, PHOTO)
    wait(client, image_hash)
    client.post("/?damage=true", json=body(PHOTO))
    assert stages.reached.wait(60)
    assert client.delete(f"/{image_hash}").status_code == 204
    stages.go.set()
    wait(client, post(client, encoded(noise(30, 41))))  # the only worker has ended the other
    assert not (with_masks.masks / image_hash).exists()
