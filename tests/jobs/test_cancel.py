"""Test that waiting, running and finished photos can be deleted."""

from __future__ import annotations

from flask.testing import FlaskClient

from jobs.sqlite_store import SqliteStore
from settings import Settings
from tests.jobs.thread_service import MakeService, uploads
from tests.support.fakes import FakePipeline
from tests.support.http import post, wait
from tests.support.pictures import encoded, noise


def test_delete_result(client: FlaskClient, settings: Settings) -> None:
    image_hash = post(client, encoded(noise(30, 40)))
    wait(client, image_hash)
    answer = client.delete(f"/{image_hash}")
    assert (answer.status_code, answer.data) == (204, b"")
    for address in ("status", "segments", "mask.png", "overlay.png"):
        assert client.get(f"/{image_hash}/{address}").status_code == 404
    assert client.get("/").get_json() == []
    assert client.delete(f"/{image_hash}").status_code == 404
    assert client.delete(f"/{image_hash}").get_json() == {
        "error": "There is no photo with this hash."
    }
    wait(client, post(client, encoded(noise(30, 40))))  # it can be posted again


def test_cancel_waiting_photo(
    make_service: MakeService, stages: FakePipeline, settings: Settings
) -> None:
    stages.hang(30)
    service = make_service()
    running, cancelled, last = service.post(30), service.post(31), service.post(32)
    service.wait(running, "Processing")
    standing = service.jobs.find(last)
    assert standing is not None
    assert standing.position == 2
    assert service.jobs.forget(cancelled)
    assert service.jobs.find(cancelled) is None
    assert cancelled not in service.status
    assert uploads(settings) == {f"{running}.png", f"{last}.png"}
    standing = service.jobs.find(last)
    assert standing is not None
    assert standing.position == 1
    stages.go_on()
    service.wait(last)
    assert len(stages.calls()) == 2
    assert service.log.outcomes() == [
        (cancelled, "cancelled"), (running, "ready"), (last, "ready")
    ]  # fmt: skip
    assert service.jobs.decoded_bytes == 0


def test_cancel_running_photo_and_post_again(
    make_service: MakeService, stages: FakePipeline, settings: Settings
) -> None:
    stages.hang(30)
    store = SqliteStore(None)
    service = make_service(store)
    digest = service.post(30)
    service.wait(digest, "Processing")
    assert service.jobs.forget(digest)
    assert uploads(settings) == set()
    assert service.post(30) == digest  # waits behind the cancelled one
    assert uploads(settings) == {f"{digest}.png"}
    stages.go_on()
    service.wait(digest)
    assert uploads(settings) == set()
    assert [outcome for _, outcome in service.log.outcomes()] == ["cancelled", "ready"]
    assert store.ready() == [digest]


def test_photo_of_two_owners_stays_for_other(make_service: MakeService) -> None:
    service = make_service()
    digest = service.post(30, "ann")
    service.wait(digest)
    assert service.jobs.accept(encoded(noise(20, 30)), "bob") == (digest, True)
    assert service.jobs.accept(encoded(noise(20, 30)), "bob") == (digest, False)
    assert service.jobs.find(digest, "eve") is None
    assert not service.jobs.forget(digest, "eve")
    assert service.jobs.forget(digest, "ann")
    assert service.jobs.find(digest, "ann") is None
    assert service.jobs.ready("ann") == []
    assert service.jobs.ready("bob") == [digest]
    assert service.jobs.forget(digest, "bob")
    assert service.jobs.find(digest) is None
