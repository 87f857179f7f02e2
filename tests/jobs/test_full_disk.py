"""Test a full disk: refused uploads, and results that are stored later."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.openapi import OpenApiApp
from api.service import service_of
from jobs.messages import DISK_FULL
from jobs.sqlite_store import SqliteStore
from jobs.store import StoredOutcome, StoreError
from jobs.thread_engine import Tuning
from settings import Settings
from tests.jobs.thread_service import MakeService, uploads
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise
from tests.support.waiting import wait_until


class FullStore(SqliteStore):
    """A store whose disk is full while `full` is set."""

    full = False

    def finish(self, number: int, outcome: StoredOutcome) -> bool:
        if self.full:
            raise StoreError("full", full=True)
        return super().finish(number, outcome)


def test_result_on_full_disk_is_stored_later(make_service: MakeService, settings: Settings) -> None:
    store = FullStore(None)
    store.full = True
    service = make_service(store, tuning=Tuning(maintenance_seconds=0.02))
    digest = service.post(30)
    service.wait(digest)
    assert uploads(settings) == {f"{digest}.png"}  # a restart now would process it again
    assert store.ready() == []
    store.full = False
    wait_until(lambda: not uploads(settings))
    assert store.ready() == [digest]
    assert service.state(digest) == "Ready"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a separate disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk to fill it")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_service_on_full_disk(
    make_app: Callable[..., OpenApiApp], settings: Settings, small_disk: Path
) -> None:
    app = make_app(settings.model_copy(update={"data_dir": small_disk}))
    client = app.test_client()
    first = encoded(noise(30, 40, 1))
    wait(client, post(client, first))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    refused = client.post("/", json=body(encoded(noise(30, 40, 2))))
    assert refused.status_code == 507
    assert refused.get_json() == {"error": DISK_FULL}
    assert list((small_disk / "img").iterdir()) == []
    assert client.get("/").get_json() == [hashlib.sha256(first).hexdigest()]
    assert service_of(app).engine.health().problem == DISK_FULL
    filler.unlink()
    wait(client, post(client, encoded(noise(30, 40, 2))))
    service_of(app).engine.close()
    again = make_app(settings.model_copy(update={"data_dir": small_disk}))
    assert len(again.test_client().get("/").get_json()) == 2
    service_of(again).engine.close()
