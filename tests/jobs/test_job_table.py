"""The table of photos and jobs in memory, and the waiters that each change wakes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from jobs.job import Job
from jobs.job_table import JobTable
from photo_result import Analysis, Result
from segment_interface import Photo

CHANGE, END = False, True  # the kind of wait
RESULT = Result.of(Analysis(None, np.zeros((2, 3), np.uint8), {}, {}), "1")


class Board:
    """A table with two photos, and threads that wait; counts how often each has looked."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.table = JobTable(self.status, {})
        self.jobs = {digest: Job(digest, number) for number, digest in enumerate("ab")}
        for job in self.jobs.values():
            self.table.add(job, None)
        self.looks: dict[tuple[str, bool], int] = {}
        self._looked = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def wait(self, digest: str, only_end: bool) -> None:
        """Start a thread that waits."""

        def look() -> bool:
            self.looks[digest, only_end] = self.looks.get((digest, only_end), 0) + 1
            self._looked.release()
            return False

        def run() -> None:
            self.table.wait(digest, look, 60, only_end=only_end)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        assert self._looked.acquire(timeout=60)

    def woken_by(self, change: Callable[[], object], count: int) -> set[tuple[str, bool]]:
        """Return the waiters that a change wakes, once there are `count` of them."""
        with self.table.lock:
            self.looks.clear()
            change()
        for _ in range(count):
            assert self._looked.acquire(timeout=60)
        assert not self._looked.acquire(timeout=0.1)  # no other waiter
        with self.table.lock:
            return set(self.looks)

    def close(self) -> None:
        self.table.close()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board()
    for digest in "ab":
        for only_end in (CHANGE, END):
            made.wait(digest, only_end)
    yield made
    made.close()  # wakes all


def test_stage_wakes_waiters_for_changes_of_photo(board: Board) -> None:
    table, jobs = board.table, board.jobs
    assert board.woken_by(lambda: table.advance(jobs["a"], "parts"), 1) == {("a", CHANGE)}
    assert board.woken_by(lambda: table.advance(jobs["b"], "type"), 1) == {("b", CHANGE)}


def test_start_wakes_waiters_for_changes_of_all_photos(board: Board) -> None:
    woken = board.woken_by(lambda: board.table.start(board.jobs["a"]), 2)
    assert woken == {("a", CHANGE), ("b", CHANGE)}


def test_end_wakes_all_waiters_of_photo(board: Board) -> None:
    woken = board.woken_by(lambda: board.table.finish(board.jobs["a"], "done", RESULT, {}), 2)
    assert woken == {("a", CHANGE), ("a", END)}


def test_removed_owner_wakes_all_waiters_of_photo(board: Board) -> None:
    assert board.woken_by(lambda: board.table.owner_removed("b"), 2) == {("b", CHANGE), ("b", END)}


def test_cancellation_wakes_waiters_for_positions_too(board: Board) -> None:
    woken = board.woken_by(lambda: board.table.forget("a"), 3)
    assert woken == {("a", CHANGE), ("a", END), ("b", CHANGE)}


def test_wait_times_out() -> None:
    JobTable({}, {}).wait("a", lambda: False, 0.01, only_end=True)


def test_closed_table_refuses_waiters() -> None:
    table = JobTable({}, {})
    table.close()
    table.wait("a", lambda: False, 3600, only_end=False)


def test_end_is_reserved_once() -> None:
    table, job = JobTable({}, {}), Job("a", 1)
    table.add(job, None)
    assert table.start(job)
    assert table.begin_end(job)
    assert not table.begin_end(job)
    assert not table.start(job)
    assert not table.advance(job, "parts")
    assert table.forget("a") is None  # somebody else ends the job
    assert "a" not in table


def test_recent_jobs_stay_in_memory() -> None:
    status: dict[str, str] = {}
    table = JobTable(status, {}, recent_jobs=2)
    jobs = [Job(digest, number) for number, digest in enumerate("abcd")]
    for job in jobs:
        table.add(job, None)
    jobs[0].unsaved = True  # stays until the store has its outcome
    for job in jobs:
        table.finish(job, "done", RESULT, {})
    assert [job.digest for job in jobs if table.job(job.digest)] == ["a", "d"]
    assert table.unsaved() == jobs[:1]
    assert list(status) == table.ready() == list("abcd")


def test_decoded_photos_have_a_limit() -> None:
    size = 4 * 5 * 3
    table = JobTable({}, {}, decoded_limit=2 * size)
    jobs = [Job(digest, number) for number, digest in enumerate("abc")]
    for job in jobs:
        table.add(job, Photo.of(np.zeros((4, 5, 3), np.uint8)))
    assert table.decoded_bytes == 2 * size
    assert [table.take_decoded(job) is None for job in jobs] == [False, False, True]
    assert table.decoded_bytes == 0


def test_result_of_other_models_is_not_current() -> None:
    table, job = JobTable({}, {}), Job("a", 1)
    assert not table.is_current("a", "1")
    table.add(job, None)
    assert table.is_current("a", "1")
    table.finish(job, "done", RESULT, {})
    assert table.is_current("a", "1")
    assert table.is_current("a", "")  # no models are loaded
    assert not table.is_current("a", "2")
