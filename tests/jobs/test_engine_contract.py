"""Test the contract of engines, with threads of this process and with Celery workers."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from api import photos
from api.openapi import OpenApiApp
from api.service import register_service
from jobs import thread_engine
from jobs.catalog import MOST_NAMES, Feedback, PhotoPage, Summary
from jobs.cluster import engine as redis_engine
from jobs.engine import ClosingError, PhotoStatus, QueueFullError
from jobs.messages import OUT_OF_MEMORY, UNEXPECTED
from segment_interface import ImageError
from settings import Settings
from tests.jobs.engine_bench import Bench
from tests.support.http import body
from tests.support.pictures import encoded, noise
from tests.support.waiting import wait_until


def test_photo_is_processed_once(bench: Bench) -> None:
    photo = encoded(noise(20, 30))
    digest, is_new = bench.engine.accept(photo)
    assert is_new
    standing = bench.until(digest)
    assert standing.result is not None
    assert standing.message == standing.result.message()
    assert [(part.name, part.area) for part in standing.result.parts] == [("hood", 18 * 28)]
    assert (standing.position, standing.stage) == (None, None)
    assert bench.engine.accept(photo) == (digest, False)
    assert bench.find(digest) == standing
    assert bench.engine.ready() == [digest]
    assert bench.stages.calls() == [30]


def test_concurrent_identical_posts_are_processed_once(bench: Bench) -> None:
    running = bench.held_up(30)
    photo = encoded(noise(20, 31))
    answers: list[tuple[str, bool]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(bench.engine.accept(photo)))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({digest for digest, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    assert bench.engine.health().waiting == 1
    bench.stages.go_on()
    bench.until(running)
    bench.until(answers[0][0])
    assert bench.stages.calls() == [30, 31]


def test_next_engine_knows_photo(bench: Bench) -> None:
    digest = bench.post(30)
    standing = bench.until(digest)
    bench.open()
    assert bench.find(digest) == standing
    assert bench.engine.accept(encoded(noise(20, 30))) == (digest, False)
    assert bench.engine.ready() == [digest]
    assert bench.stages.calls() == [30]


def test_repost_after_upgrade_is_processed_again(bench: Bench) -> None:
    photo = encoded(noise(20, 30))
    digest = bench.post(30, "ann")
    bench.post(30, "bob")
    old = bench.until(digest)
    bench.upgrade("newer")
    assert bench.find(digest) == old
    assert bench.version(digest) == "fake"
    bench.stages.hang(30)
    assert bench.engine.accept(photo, "ann") == (digest, True)
    for owner in ("", "ann", "bob"):
        standing = bench.engine.find(digest, owner)
        assert standing is not None
        assert standing.state in ("Uploaded", "Processing")
        assert standing.result is None
        assert bench.engine.ready(owner) == []
    assert bench.engine.accept(photo, "ann") == (digest, False)
    bench.stages.go_on()
    bench.until(digest)
    assert bench.version(digest) == "newer"
    assert bench.engine.accept(photo, "ann") == (digest, False)
    assert bench.engine.ready("ann") == bench.engine.ready("bob") == [digest]
    assert bench.engine.find(digest, "eve") is None
    assert bench.stages.calls() == [30, 30]
    bench.open()
    assert bench.engine.accept(photo, "bob") == (digest, False)
    assert bench.version(digest) == "newer"


def test_concurrent_reposts_are_processed_once(bench: Bench) -> None:
    digest = bench.post(31, "ann")
    bench.until(digest)
    bench.upgrade("newer")
    running = bench.held_up(30)
    photo = encoded(noise(20, 31))
    owners = ["ann", *(f"other {number}" for number in range(9))]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda owner: bench.engine.accept(photo, owner), owners))
        again = list(pool.map(lambda owner: bench.engine.accept(photo, owner), owners))
    assert {name for name, _ in answers} == {digest}
    assert again == [(digest, False)] * 10
    assert bench.engine.health().waiting == 1
    bench.stages.go_on()
    for name in (running, digest):
        bench.until(name)
    for owner in owners:
        assert bench.engine.ready(owner) == [digest]
    assert bench.version(digest) == "newer"
    assert bench.stages.calls() == [31, 30, 31]


def test_batch_after_upgrade_is_processed_again(bench: Bench, settings: Settings) -> None:
    kept, again = bench.post(30), bench.post(31)
    old = [bench.until(digest) for digest in (kept, again)]
    bench.upgrade("newer")
    app = OpenApiApp(__name__)
    register_service(app, bench.engine, settings)
    app.register_api(photos.blueprint)
    images = [body(encoded(noise(20, width)))["image"] for width in (31, 32, 31)]
    answer = app.test_client().post("/batch", json={"images": images})
    taken, known = "The photo was accepted.", "The photo is already known."
    new = answer.get_json()["photos"][1]["image_hash"]
    assert [(entry["image_hash"], entry["message"]) for entry in answer.get_json()["photos"]] == [
        (again, taken), (new, taken), (again, known)
    ]  # fmt: skip
    for digest in (again, new):
        bench.until(digest)
        assert bench.version(digest) == "newer"
    assert bench.find(kept) == old[0]
    assert bench.version(kept) == "fake"
    assert bench.engine.ready() == [kept, again, new]
    assert bench.stages.calls() == [30, 31, 31, 32]


def test_refused_repost_keeps_earlier_result(bench: Bench) -> None:
    digest = bench.post(31)
    old = bench.until(digest)
    bench.stages.version = "newer"
    bench.open(queue=1)
    bench.held_up(30)
    waiting = bench.post(32)
    with pytest.raises(QueueFullError):
        bench.post(31)
    assert bench.find(digest) == old
    bench.stages.go_on()
    bench.until(waiting)
    assert bench.post(31) == digest
    bench.until(digest)
    assert bench.version(digest) == "newer"


def test_failed_repost_removes_earlier_result(bench: Bench) -> None:
    digest = bench.post(30)
    bench.until(digest)
    bench.upgrade("newer")
    bench.stages.throw(30, "RuntimeError")
    assert bench.post(30) == digest
    assert bench.until(digest, "Error").result is None
    assert bench.engine.ready() == []
    bench.stages.throw(30, None)
    assert bench.post(30) == digest
    bench.until(digest)
    assert bench.version(digest) == "newer"


@pytest.mark.parametrize(("photo", "status"), [(b"%PDF-1.7", 415), (b"x", 400), (None, 413)])
def test_invalid_photo_is_not_kept(bench: Bench, photo: bytes | None, status: int) -> None:
    with pytest.raises(ImageError) as caught:
        bench.engine.accept(encoded(noise(200, 200)) if photo is None else photo)
    assert caught.value.status == status
    assert bench.engine.ready() == []
    assert bench.engine.health().waiting == 0


def test_known_photo_is_not_decoded_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = bench.post(30)
    bench.until(digest)

    def decoded(data: bytes, max_pixels: int) -> None:
        raise AssertionError("decoded")

    for module in (thread_engine, redis_engine):
        monkeypatch.setattr(module, "decode_photo", decoded)
    assert bench.engine.accept(encoded(noise(20, 30)), "") == (digest, False)
    with pytest.raises(AssertionError, match="decoded"):  # a new photo is
        bench.post(31)


def test_unknown_photo(bench: Bench) -> None:
    assert bench.engine.find("0" * 64) is None
    assert not bench.engine.forget("0" * 64)
    assert bench.engine.wait("0" * 64, None, 0.05) is None


def test_status_of_many_photos(bench: Bench) -> None:
    bench.stages.throw(31, "RuntimeError")
    ended = [bench.post(width, "ann") for width in (30, 31, 32)]
    for digest, state in zip(ended, ("Ready", "Error", "Ready"), strict=True):
        bench.until(digest, state)
    bench.stages.throw(31, None)
    running = bench.held_up(33)
    names = [bench.post(34, "bob"), "0" * 64, running, *ended]
    alone = [bench.engine.find(name) for name in names]
    assert [standing and standing.state for standing in alone] == [
        "Uploaded", None, "Processing", "Ready", "Error", "Ready"
    ]  # fmt: skip
    assert bench.engine.find_many(names) == [
        standing and standing._replace(result=None) for standing in alone
    ]
    of_ann = bench.engine.find_many(names, "ann")
    assert of_ann[:3] == [None] * 3
    assert of_ann[3:] == bench.engine.find_many(ended)
    assert bench.engine.find_many([]) == []


def test_ready_photos_are_listed_in_order_of_posting(bench: Bench) -> None:
    digests = [bench.post(width) for width in (32, 30, 31)]
    for digest in digests:
        bench.until(digest)
    assert bench.engine.ready() == digests
    assert bench.engine.forget(digests[1])
    assert bench.engine.ready() == [digests[0], digests[2]]
    assert bench.engine.find(digests[1]) is None
    assert bench.post(30) == digests[1]
    bench.until(digests[1])
    assert bench.engine.ready() == [digests[0], digests[2], digests[1]]


def test_queue_position_and_stage(bench: Bench) -> None:
    running = bench.held_up(30)
    others = [bench.post(width) for width in (31, 32)]
    assert bench.find(running)[:2] == ("Processing", "Being processed.")
    assert (bench.find(running).position, bench.find(running).stage) == (None, "parts")
    assert [bench.find(digest).position for digest in others] == [1, 2]
    assert bench.find(others[0])[:2] == ("Uploaded", "Waiting for a free worker.")
    health = bench.engine.health()
    assert (health.waiting, health.running, health.stuck) == (2, 1, 0)
    assert health.problem is None
    bench.stages.go_on()
    for digest in (running, *others):
        bench.until(digest)


def test_full_queue_refuses(bench: Bench) -> None:
    bench.open(queue=2)
    running = bench.held_up(30)
    waiting = [bench.post(width) for width in (31, 32)]
    with pytest.raises(QueueFullError, match=r"The queue is full \(2 photos wait\)") as caught:
        bench.post(33)
    assert 1 <= caught.value.retry_after <= 300
    assert bench.post(31) == waiting[0]  # a known photo needs no place
    bench.stages.go_on()
    for digest in (running, *waiting):
        bench.until(digest)
    bench.until(bench.post(33))


def test_many_posts_at_once_never_overfill_queue(bench: Bench) -> None:
    bench.open(queue=5)
    bench.held_up(30)
    refused = []

    def add(width: int) -> None:
        try:
            bench.post(width)
        except QueueFullError:
            refused.append(width)

    threads = [threading.Thread(target=add, args=(width,)) for width in range(31, 51)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.engine.health().waiting == 5
    assert len(refused) == 15


def test_cancel_waiting_photo(bench: Bench) -> None:
    running = bench.held_up(30)
    cancelled, last = bench.post(31), bench.post(32)
    assert bench.find(last).position == 2
    assert bench.engine.forget(cancelled)
    assert bench.engine.find(cancelled) is None
    assert bench.find(last).position == 1
    bench.stages.go_on()
    bench.until(running)
    bench.until(last)
    assert bench.stages.calls() == [30, 32]


def test_cancel_running_photo_and_post_again(bench: Bench) -> None:
    digest = bench.held_up(30)
    assert bench.engine.forget(digest)
    assert bench.engine.find(digest) is None
    assert bench.post(30) == digest  # waits behind the cancelled one
    assert bench.find(digest).state == "Uploaded"
    bench.stages.go_on()
    bench.until(digest)
    assert bench.engine.ready() == [digest]
    assert bench.stages.calls() == [30, 30]


def test_photo_of_two_owners_stays_for_other(bench: Bench) -> None:
    engine = bench.engine
    digest = bench.post(30, "ann")
    bench.until(digest)
    assert engine.accept(encoded(noise(20, 30)), "bob") == (digest, True)
    assert engine.accept(encoded(noise(20, 30)), "bob") == (digest, False)
    assert engine.find(digest, "eve") is None
    assert not engine.forget(digest, "eve")
    assert engine.forget(digest, "ann")
    assert engine.find(digest, "ann") is None
    assert engine.ready("ann") == []
    assert engine.ready("bob") == [digest]
    assert engine.forget(digest, "bob")
    assert engine.find(digest) is None


def test_file_names_are_kept_for_each_owner(bench: Bench) -> None:
    catalog = bench.engine.catalog
    running = bench.held_up(30)
    digest = bench.post(31, "ann", "a.jpg")
    assert catalog.file_names(digest, "ann") == ["a.jpg"]
    bench.post(31, "ann", 'näme "2".jpg')  # while it waits
    bench.post(31, "bob")
    bench.stages.go_on()
    bench.until(digest)
    bench.post(31, "ann", "c/d.jpg")
    bench.post(31, "ann", "a.jpg")
    bench.post(31, "ann")
    assert catalog.file_names(digest, "ann") == ["a.jpg", "c/d.jpg", 'näme "2".jpg']
    assert catalog.file_names(digest, "bob") == catalog.file_names(digest) == []
    bench.post(31, "", "e.jpg")
    assert catalog.file_names(digest) == ["e.jpg"]
    assert catalog.file_names(running) == catalog.file_names("0" * 64) == []
    for number in range(2 * MOST_NAMES):
        bench.post(31, "bob", f"{number}.jpg")
    newest = [f"{2 * MOST_NAMES - 1 - number}.jpg" for number in range(MOST_NAMES)]
    assert catalog.file_names(digest, "bob") == newest
    bench.upgrade("newer")
    bench.post(31, "bob", "newest.jpg")
    bench.until(digest)
    catalog = bench.engine.catalog
    assert catalog.file_names(digest, "bob") == ["newest.jpg", *newest[:-1]]
    assert len(catalog.file_names(digest, "ann")) == 3
    assert bench.engine.forget(digest, "bob")
    assert catalog.file_names(digest, "bob") == []
    assert bench.engine.forget(digest)
    bench.post(31, "ann")
    assert catalog.file_names(digest, "ann") == []
    bench.until(digest)


def test_pages_have_summaries(bench: Bench) -> None:
    digests = [bench.post(width, "ann", f"{width}.jpg") for width in (32, 30, 31)]
    bench.post(30, "bob", "bob.jpg")
    for digest in digests:
        bench.until(digest)
    page = bench.engine.catalog.page(2, None, "ann")
    assert page is not None
    assert [entry.digest for entry in page.entries] == digests[:2]
    assert [entry.file_names for entry in page.entries] == [["32.jpg"], ["30.jpg"]]
    assert page.next == digests[1]
    for entry, width in zip(page.entries, (32, 30), strict=True):
        result = bench.find(entry.digest).result
        assert result is not None
        assert entry.summary == Summary.of(result)
        assert (entry.summary.width, entry.summary.height, len(entry.summary.parts)) == (
            width,
            20,
            1,
        )
        assert abs(time.time() - entry.ended) < 600
    assert page.entries[0].ended < page.entries[1].ended
    rest = bench.engine.catalog.page(2, page.next, "ann")
    assert rest is not None
    assert ([entry.digest for entry in rest.entries], rest.next) == (digests[2:], None)
    of_bob = bench.engine.catalog.page(1000, None, "bob")
    assert of_bob is not None
    assert [entry.file_names for entry in of_bob.entries] == [["bob.jpg"]]
    assert bench.engine.catalog.page(2, digests[0], "bob") is None
    assert bench.engine.catalog.page(2, "0" * 64) is None
    bench.engine.forget(digests[0])
    bench.post(33, "ann")  # is not Ready, or comes last
    first = bench.engine.catalog.page(1)
    assert first is not None
    assert ([entry.digest for entry in first.entries], first.next) == (digests[1:2], digests[1])
    assert bench.engine.catalog.page(1, digests[0]) is None


def test_feedback_is_kept_for_each_owner(bench: Bench) -> None:
    marks = Feedback(["hood"], ["wheel", "trunk"], "van", "é \ud800 \x00", 1e9, "fake")
    other = replace(marks, wrong=[], type=None, comment="")
    digests = [bench.post(width, "ann", f"{width}.jpg") for width in (32, 30, 31)]
    bench.post(30, "bob")
    for digest in digests:
        bench.until(digest)
    catalog = bench.engine.catalog
    first, shared, last = digests
    for digest in (shared, last):
        assert catalog.set_feedback(digest, marks, "ann")
    assert catalog.set_feedback(shared, other, "bob")
    assert not catalog.set_feedback(first, marks, "bob")
    assert not catalog.set_feedback("0" * 64, marks)
    assert [catalog.feedback(shared, owner) for owner in ("ann", "bob", "")] == [
        marks, other, None
    ]  # fmt: skip
    page = catalog.page(1, None, "ann", marked=True)
    assert page is not None
    assert [(entry.digest, entry.feedback) for entry in page.entries] == [(shared, marks)]
    assert page.next == shared
    rest = catalog.page(1, shared, "ann", marked=True)
    assert rest is not None
    assert ([entry.digest for entry in rest.entries], rest.next) == ([last], None)
    plain = catalog.page(9, None, "ann")
    assert plain is not None
    assert [entry.digest for entry in plain.entries] == digests
    assert catalog.set_feedback(last, None, "ann")
    bench.upgrade("newer")
    bench.post(30, "bob")
    bench.until(shared)
    catalog = bench.engine.catalog
    assert [catalog.feedback(shared, owner) for owner in ("ann", "bob")] == [marks, other]
    assert bench.engine.forget(shared, "ann")
    assert catalog.feedback(shared, "ann") is None
    assert catalog.page(9, None, "ann", marked=True) == PhotoPage([], None)
    assert catalog.feedback(shared, "bob") == other
    assert bench.engine.forget(shared)
    bench.post(30, "bob")
    bench.until(shared)
    assert catalog.feedback(shared, "bob") is None
    assert catalog.page(9, None, "bob", marked=True) == PhotoPage([], None)


def test_photo_timeout_frees_worker(bench: Bench) -> None:
    stuck = bench.held_up(30)
    following = bench.post(31)
    assert "longer than 4 seconds" in bench.until(stuck, "Error").message
    bench.until(following)
    bench.stages.go_on()
    assert bench.post(30) == stuck  # tried again when it is posted again
    bench.until(stuck)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RuntimeError", UNEXPECTED),
        ("SystemExit", UNEXPECTED),
        ("MemoryError", OUT_OF_MEMORY),
    ],
)
def test_any_error_ends_only_its_photo(bench: Bench, error: str, message: str) -> None:
    bench.stages.throw(30, error)
    broken, following = bench.post(30), bench.post(31)
    assert bench.until(broken, "Error").message == message
    bench.until(following)
    bench.stages.throw(30, None)
    assert bench.post(30) == broken
    bench.until(broken)


def test_waiting_photos_outlive_engine(bench: Bench) -> None:
    running = bench.held_up(30)
    waiting = [bench.post(31, "ann"), bench.post(32, "ann")]
    closing = threading.Thread(target=bench.engine.close)
    closing.start()
    wait_until(lambda: bench.engine.is_closing)
    with pytest.raises(ClosingError):
        bench.post(33)
    bench.stages.go_on()
    closing.join()
    bench.open()
    for digest in (running, *waiting):
        bench.until(digest)
    assert bench.engine.ready("ann") == waiting
    assert bench.engine.ready() == [running, *waiting]


def test_waiter_sees_changes(bench: Bench) -> None:
    running = bench.held_up(30)
    seen = bench.find(running)
    assert bench.engine.wait(running, seen, 0.05) == seen  # the time is over
    news: list[PhotoStatus | None] = []

    def ask() -> None:
        now: PhotoStatus | None = seen
        while now is not None and not now.has_ended:
            now = bench.engine.wait(running, now, 30)
            news.append(now)

    asking = threading.Thread(target=ask)
    asking.start()
    bench.stages.go_on()
    asking.join(30)
    assert news[-1] == bench.find(running)
    assert news[-1] is not None
    assert news[-1].state == "Ready"


def test_waiter_for_end_sees_end(bench: Bench) -> None:
    running = bench.held_up(30)
    following = bench.post(31)
    assert bench.engine.wait_for_end(following, 0.05) == bench.find(following)  # the time is over
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(bench.engine.wait_for_end, name, 30) for name in (following, running)]
        assert not any(question.done() for question in asked)
        bench.stages.go_on()
        for name, question in zip((following, running), asked, strict=True):
            assert question.result(25) == bench.find(name)
            assert bench.find(name).state == "Ready"


def test_change_before_wait_is_not_missed(bench: Bench) -> None:
    running = bench.held_up(30)
    seen = bench.find(running)
    bench.stages.go_on()
    ready = bench.until(running)
    assert bench.engine.wait(running, seen, 3600) == ready
    assert bench.engine.wait(running, ready, 3600) == ready  # there will be no more
    assert bench.engine.wait_for_end(running, 3600) == ready
    assert bench.engine.wait_for_end("0" * 64, 3600) is None


def test_waiter_sees_queue_position(bench: Bench) -> None:
    bench.held_up(30)
    ahead, waiting = bench.post(31), bench.post(32)
    seen = bench.find(waiting)
    assert seen.position == 2
    with ThreadPoolExecutor() as pool:
        question = pool.submit(bench.engine.wait, waiting, seen, 30)
        assert bench.engine.forget(ahead)
        assert question.result(25) == bench.find(waiting)
        assert bench.find(waiting).position == 1


def test_waiter_sees_deletion(bench: Bench) -> None:
    bench.held_up(30)
    waiting = bench.post(31, "ann")
    bench.post(31, "bob")
    with ThreadPoolExecutor() as pool:
        of_ann, of_bob = (
            pool.submit(bench.engine.wait_for_end, waiting, 30, owner) for owner in ("ann", "bob")
        )
        seen = bench.engine.find(waiting, "bob")
        change = pool.submit(bench.engine.wait, waiting, seen, 30, "bob")
        assert bench.engine.forget(waiting, "ann")
        assert of_ann.result(25) is None
        assert not of_bob.done()
        assert bench.engine.forget(waiting, "bob")
        assert of_bob.result(25) is change.result(25) is None


def test_waiter_returns_when_service_stops(bench: Bench) -> None:
    running = bench.held_up(30)
    seen = bench.find(running)
    with ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(bench.engine.wait, running, seen, 60),
            pool.submit(bench.engine.wait_for_end, running, 60),
        ]
        closing = pool.submit(bench.engine.close)
        for question in asked:
            assert question.result(20) == seen
        bench.stages.go_on()
        closing.result(60)
    bench.open()


def test_surplus_results_are_deleted(bench: Bench) -> None:
    bench.open(keep_results=3)
    digests = [bench.post(width) for width in range(30, 36)]
    for digest in digests[-3:]:
        bench.until(digest)
    wait_until(lambda: len(bench.engine.ready()) <= 3)
    assert bench.engine.ready() == digests[-3:]
    assert bench.engine.find(digests[0]) is None


def test_old_results_are_deleted(bench: Bench) -> None:
    bench.open(keep_days=0.5 / 86_400)
    digest = bench.post(30, "ann")
    wait_until(lambda: bench.engine.find(digest) is None)
    assert bench.engine.ready() == bench.engine.ready("ann") == []


def test_no_folder_is_needed_for_results(bench: Bench, tmp_path: Path) -> None:
    """The store alone keeps results: a photo that has ended leaves no file."""
    bench.until(bench.post(30))
    assert [path for path in (tmp_path / "img").glob("*") if path.is_file()] == []
