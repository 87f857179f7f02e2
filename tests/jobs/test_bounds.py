"""Bounded queue, time limits, cancelling, poison, age and number of results, a full disk."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.openapi import OpenApiApp
from api.service import service_of
from jobs import thread_engine
from jobs.engine import QueueFullError
from jobs.messages import DISK_FULL, JOBS_HANG, LOST, OUT_OF_MEMORY, STOPPED_TWICE, UNEXPECTED
from jobs.sqlite_store import SqliteStore
from jobs.store import Store, StoredOutcome, StoreError
from jobs.thread_engine import ThreadEngine, Tuning
from jobs.worker_pool import SPARE_THREADS
from photo_result import Segments
from settings import Settings
from tests.support.fakes import FakePipeline, Gate
from tests.support.http import body, post, wait
from tests.support.job_log import JobLog
from tests.support.pictures import encoded, noise

DEFAULTS = Tuning()


class Service:
    """Jobs on a folder of their own, with all they report."""

    def __init__(
        self,
        settings: Settings,
        stages: FakePipeline | Gate,
        store: Store,
        tuning: Tuning = DEFAULTS,
        **limits: float,
    ) -> None:
        settings.prepare_folders()
        self.status: dict[str, str] = {}
        self.segments: dict[str, Segments] = {}
        self.log = JobLog()
        self.jobs = ThreadEngine(
            stages,
            store,
            settings.model_copy(update={"workers": 1, **limits}),
            processing_status=self.status,
            processed_segments=self.segments,
            tuning=tuning,
        )

    def close(self) -> None:
        self.jobs.close()
        self.log.close()

    def post(self, width: int, owner: str = "") -> str:
        return self.jobs.accept(encoded(noise(20, width)), owner)[0]

    def state(self, digest: str) -> str:
        standing = self.jobs.find(digest)
        assert standing is not None
        return standing.state

    def wait(self, digest: str, *states: str) -> str:
        deadline = time.monotonic() + 60
        while (state := self.state(digest)) not in (states or ("Ready",)):
            assert time.monotonic() < deadline, state
            time.sleep(0.002)
        standing = self.jobs.find(digest)
        assert standing is not None
        return standing.message


Make = Callable[..., Service]


@pytest.fixture
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakePipeline]:
    made = FakePipeline(tmp_path_factory.mktemp("script"))
    yield made
    made.go_on()


@pytest.fixture
def make(settings: Settings, stages: FakePipeline) -> Iterator[Make]:
    made: list[Service] = []

    def make(store: Store | None = None, tuning: Tuning = DEFAULTS, **limits: float) -> Service:
        made.append(Service(settings, stages, store or SqliteStore(None), tuning, **limits))
        return made[-1]

    yield make
    stages.go_on()
    for service in made:
        service.close()


def files(settings: Settings) -> set[str]:
    return {path.name for path in settings.uploads.iterdir()}


# --- the queue


def test_a_full_queue_refuses_and_says_when_to_come_back(
    make_app: Callable[..., OpenApiApp], settings: Settings, gate: Gate
) -> None:
    app = make_app(settings.model_copy(update={"workers": 1, "queue": 2}), gate)
    client = app.test_client()
    running = post(client, encoded(noise(30, 40, 0)))
    assert gate.entered.wait(60)
    waiting = [post(client, encoded(noise(30, 40, seed))) for seed in (1, 2)]
    refused = client.post("/", json=body(encoded(noise(30, 40, 3))))
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["Retry-After"]) <= 300
    message = refused.get_json()["error"]
    assert message.startswith("The queue is full (2 photos wait); try again in ")
    assert len(files(settings)) == 3  # nothing of it is left
    # What is known needs no room.
    assert client.post("/", json=body(encoded(noise(30, 40, 1)))).status_code == 200
    gate.open.set()
    for image_hash in (running, *waiting):
        wait(client, image_hash)
    wait(client, post(client, encoded(noise(30, 40, 3))))


def test_a_full_queue_decodes_nothing(
    make: Make, stages: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.hang(30, 31)
    service = make(queue=1)
    service.wait(service.post(30), "Processing")
    service.post(31)
    monkeypatch.setattr(thread_engine, "decode_photo", lambda *_: pytest.fail("decoded"))
    with pytest.raises(QueueFullError):
        service.post(32)


def test_many_posts_at_once_never_overfill_the_queue(make: Make, stages: FakePipeline) -> None:
    stages.hang(*range(20, 60))
    service = make(queue=5)
    service.wait(service.post(20), "Processing")
    refused = []

    def add(width: int) -> None:
        try:
            service.post(width)
        except QueueFullError:
            refused.append(width)

    threads = [threading.Thread(target=add, args=(width,)) for width in range(21, 51)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.jobs.health().waiting == 5
    assert len(refused) == 25
    assert list(service.status.values()).count("Uploaded") == 5


# --- cancelling


def test_delete_forgets_a_result(client: FlaskClient, settings: Settings) -> None:
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
    wait(client, post(client, encoded(noise(30, 40))))  # it can come again


def test_a_waiting_photo_is_cancelled(make: Make, stages: FakePipeline, settings: Settings) -> None:
    stages.hang(30)
    service = make()
    running, cancelled, last = service.post(30), service.post(31), service.post(32)
    service.wait(running, "Processing")
    standing = service.jobs.find(last)
    assert standing is not None
    assert standing.position == 2
    assert service.jobs.forget(cancelled)
    assert service.jobs.find(cancelled) is None
    assert cancelled not in service.status
    assert files(settings) == {f"{running}.png", f"{last}.png"}
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


def test_a_running_photo_is_cancelled_and_can_come_again(
    make: Make, stages: FakePipeline, settings: Settings
) -> None:
    stages.hang(30)
    store = SqliteStore(None)
    service = make(store)
    digest = service.post(30)
    service.wait(digest, "Processing")
    assert service.jobs.forget(digest)
    assert files(settings) == set()
    assert service.post(30) == digest  # waits behind the cancelled one
    assert files(settings) == {f"{digest}.png"}
    stages.go_on()
    service.wait(digest)
    assert files(settings) == set()
    assert [outcome for _, outcome in service.log.outcomes()] == ["cancelled", "ready"]
    assert store.ready() == [digest]


def test_what_belongs_to_two_stays_with_the_other(make: Make) -> None:
    service = make()
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


# --- stuck and failing work


def test_a_job_over_its_time_is_given_up_and_the_next_one_works(
    make: Make, stages: FakePipeline, settings: Settings
) -> None:
    stages.hang(30)
    service = make(job_seconds=0.3)
    stuck, following = service.post(30), service.post(31)
    assert "longer than 0.3 seconds" in service.wait(stuck, "Error")
    service.wait(following)
    assert service.jobs.health().stuck == 1
    assert service.jobs.health().problem is None
    assert files(settings) == set()
    stages.go_on()
    deadline = time.monotonic() + 60
    while service.jobs.health().stuck:
        assert time.monotonic() < deadline
    assert service.state(stuck) == "Error"  # what came too late is not taken
    assert service.segments.keys() == {following}
    assert dict(service.log.outcomes()) == {stuck: "timeout", following: "ready"}


def test_when_all_threads_hang_the_service_says_so(make: Make, stages: FakePipeline) -> None:
    stages.hang(*range(30, 50))
    service = make(job_seconds=0.05)
    hung = [service.post(30 + i) for i in range(SPARE_THREADS)]
    for digest in hung:
        service.wait(digest, "Error")
    last = service.post(49)
    assert service.state(last) == "Uploaded"
    assert service.jobs.health().problem == JOBS_HANG
    stages.go_on()
    service.wait(last)


@pytest.mark.parametrize("error", ["RuntimeError", "SystemExit", "KeyboardInterrupt"])
def test_a_worker_that_dies_marks_its_job_and_the_next_one_works(
    make: Make, stages: FakePipeline, settings: Settings, error: str
) -> None:
    stages.throw(30, error)
    service = make()
    broken, following = service.post(30), service.post(31)
    assert service.wait(broken, "Error") == UNEXPECTED
    service.wait(following)
    assert files(settings) == set()
    stages.throw(30, None)
    assert service.post(30) == broken  # tried again when it is posted again
    service.wait(broken)


def test_too_little_memory_is_named(make: Make, stages: FakePipeline) -> None:
    stages.throw(30, "MemoryError")
    service = make()
    assert service.wait(service.post(30), "Error") == OUT_OF_MEMORY


def test_a_poison_photo_is_tried_twice(
    make: Make, stages: FakePipeline, settings: Settings, tmp_path: Path
) -> None:
    """A process that ends while it works is a store with one more attempt and no ending."""
    settings.prepare_folders()
    photos = [encoded(noise(20, width)) for width in (30, 31)]
    poison, good = (hashlib.sha256(photo).hexdigest() for photo in photos)
    for digest, photo in zip((poison, good), photos, strict=True):
        (settings.uploads / f"{digest}.png").write_bytes(photo)
    store = SqliteStore(tmp_path / "results.sqlite")
    number = store.add(poison, "")
    store.count_attempt(number)
    store.count_attempt(number)
    store.count_attempt(store.add(good, ""))
    service = make(store)
    assert service.jobs.resume() == 1
    assert service.wait(poison, "Error") == STOPPED_TWICE
    service.wait(good)
    assert len(stages.calls()) == 1
    assert files(settings) == set()
    assert service.post(30) == poison  # by hand it may be tried again
    service.wait(poison)


def test_an_upload_that_is_gone_ends_in_error(make: Make, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "results.sqlite")
    store.add("a" * 64, "")
    service = make(store)
    assert service.jobs.resume() == 0
    assert service.wait("a" * 64, "Error") == LOST


def test_what_ended_before_its_upload_was_removed_is_not_done_again(
    make: Make, settings: Settings, stages: FakePipeline, tmp_path: Path
) -> None:
    settings.prepare_folders()
    photo = encoded(noise(20, 30))
    digest = hashlib.sha256(photo).hexdigest()
    (settings.uploads / f"{digest}.png").write_bytes(photo)
    (settings.masks / ".masks-half").mkdir()
    store = SqliteStore(tmp_path / "results.sqlite")
    store.finish(store.add(digest, ""), StoredOutcome("Error", "broken"))
    service = make(store)
    assert service.jobs.resume() == 0
    assert service.wait(digest, "Error") == "broken"
    assert files(settings) == set()
    assert list(settings.masks.iterdir()) == []


def test_a_store_in_memory_takes_nothing_up(make: Make, settings: Settings) -> None:
    settings.prepare_folders()
    photo = encoded(noise(20, 30))
    (settings.uploads / f"{hashlib.sha256(photo).hexdigest()}.png").write_bytes(photo)
    service = make()
    assert service.jobs.resume() == 0
    assert files(settings) == set()
    assert service.status == {}


# --- age and number


def test_results_beyond_the_number_are_forgotten(make: Make) -> None:
    service = make(tuning=Tuning(maintenance_seconds=0.02), keep_results=3)
    digests = [service.post(width) for width in range(30, 36)]
    for digest in digests[-3:]:
        service.wait(digest)
    deadline = time.monotonic() + 60
    while len(service.status) > 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert service.jobs.ready() == digests[-3:]
    assert service.jobs.find(digests[0]) is None
    assert set(service.segments) == set(digests[-3:])


def test_old_results_are_forgotten(make_app: Callable[..., OpenApiApp], settings: Settings) -> None:
    second = 1 / 86_400
    config = settings.model_copy(update={"keep_days": second, "write_masks": True})
    client = make_app(config).test_client()
    image_hash = post(client, encoded(noise(30, 40)))
    deadline = time.monotonic() + 60
    while client.get(f"/{image_hash}/status").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.get("/").get_json() == []
    assert list(settings.masks.iterdir()) == []


def test_few_results_stay_in_memory_and_all_can_be_fetched(make: Make, tmp_path: Path) -> None:
    service = make(SqliteStore(tmp_path / "results.sqlite"), tuning=Tuning(recent_jobs=2))
    digests = [service.post(width) for width in range(30, 36)]
    service.wait(digests[-1])
    assert set(service.segments) == set(digests[-2:])
    assert set(service.status) == set(digests)
    for width, digest in zip(range(30, 36), digests, strict=True):
        standing = service.jobs.find(digest)
        assert standing is not None
        assert standing.result is not None
        assert (standing.state, standing.message) == ("Ready", standing.result.message())
        assert standing.result.width == width
        assert service.jobs.wait(digest, None, 3600) == standing  # at once
        assert service.jobs.wait_for_end(digest, 3600) == standing


# --- a full disk


class FullStore(SqliteStore):
    """A store whose disk is full while `full` is set."""

    full = False

    def finish(self, number: int, outcome: StoredOutcome) -> bool:
        if self.full:
            raise StoreError("full", full=True)
        return super().finish(number, outcome)


def test_a_result_that_finds_no_room_is_kept_until_there_is(make: Make, settings: Settings) -> None:
    store = FullStore(None)
    store.full = True
    service = make(store, tuning=Tuning(maintenance_seconds=0.02))
    digest = service.post(30)
    service.wait(digest)
    assert files(settings) == {f"{digest}.png"}  # a restart now would do it again
    assert store.ready() == []
    store.full = False
    deadline = time.monotonic() + 60
    while files(settings):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert store.ready() == [digest]
    assert service.state(digest) == "Ready"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk to fill it")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_told_and_survived(
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
