"""Whom a change wakes: those who wait for it, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from jobs.waiters import JobWaiters

CHANGE, END = False, True  # what somebody waits for


class Board:
    """Some who wait, each in a thread, and how often each has looked."""

    def __init__(self) -> None:
        self.news = JobWaiters(threading.RLock())
        self.looks: dict[tuple[str, bool], int] = {}
        self._over = False
        self._looked = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def wait(self, digest: str, only_end: bool) -> None:
        """Somebody begins to wait."""

        def look() -> bool:
            self.looks[digest, only_end] = self.looks.get((digest, only_end), 0) + 1
            self._looked.release()
            return self._over

        def run() -> None:
            with self.news.lock:
                self.news.wait(digest, look, 60, only_end=only_end)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        assert self._looked.acquire(timeout=60)

    def after(self, tell: Callable[[], None], woken: int) -> set[tuple[str, bool]]:
        """Return the waiters that were woken, once there are that many."""
        with self.news.lock:
            self.looks.clear()
            tell()
        for _ in range(woken):
            assert self._looked.acquire(timeout=60)
        assert not self._looked.acquire(timeout=0.1)  # nobody else
        with self.news.lock:
            return set(self.looks)

    def close(self) -> None:
        with self.news.lock:
            self._over = True
            self.news.closing()
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


def test_a_change_wakes_who_waits_for_changes_of_that_photo(board: Board) -> None:
    assert board.after(lambda: board.news.changed("a"), 1) == {("a", CHANGE)}
    assert board.after(lambda: board.news.changed("b"), 1) == {("b", CHANGE)}


def test_a_move_wakes_who_waits_for_changes(board: Board) -> None:
    assert board.after(board.news.moved, 2) == {("a", CHANGE), ("b", CHANGE)}


def test_an_end_wakes_all_who_wait_for_that_photo(board: Board) -> None:
    assert board.after(lambda: board.news.ended("a"), 2) == {("a", CHANGE), ("a", END)}


def test_the_time_is_over() -> None:
    news = JobWaiters(threading.RLock())
    with news.lock:
        news.wait("a", lambda: False, 0.01, only_end=True)
