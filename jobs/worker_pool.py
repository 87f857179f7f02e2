"""Run queued tasks in threads, with a timeout for each task.

A thread cannot be stopped from outside. A task that exceeds its timeout is given up: the next task
runs on a spare thread, and the result of the late task is ignored. There are 8 spare threads.
`WorkerPool.stuck` counts the occupied ones. If all are occupied, no task starts until one of
them is free, and the service should be restarted.
"""

from __future__ import annotations

import bisect
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

log = logging.getLogger("carseg.jobs")

Task = TypeVar("Task")

SPARE_THREADS = 8


@dataclass(eq=False)
class _Entry(Generic[Task]):
    task: Task
    ticket: int
    started: float = 0.0


class WorkerPool(Generic[Task]):
    """First-in, first-out queue of tasks, with the threads that run them.

    Args:
        run: runs a task in a worker thread; exceptions from it are only logged.
        on_timeout: called from another thread for a task that exceeded its timeout.
        count: number of tasks that run concurrently.
        seconds: timeout of one task, in seconds.
    """

    def __init__(
        self,
        run: Callable[[Task], None],
        on_timeout: Callable[[Task], None],
        *,
        count: int,
        seconds: float,
    ) -> None:
        self._run, self._on_timeout = run, on_timeout
        self._count, self._seconds = count, seconds
        self._changed = threading.Condition()
        self._last_ticket = 0
        self._tickets: list[int] = []  # of the waiting tasks, ascending
        self._entries: dict[int, _Entry[Task]] = {}  # by ticket; waiting, running and stuck tasks
        self._running: set[_Entry[Task]] = set()
        self._stuck: set[_Entry[Task]] = set()
        self._closing = False
        self._executor = ThreadPoolExecutor(count + SPARE_THREADS, thread_name_prefix="worker")
        threading.Thread(target=self._watch, name="watch-workers", daemon=True).start()

    def submit(self, task: Task) -> int:
        """Add a task to the end of the queue, and return its ticket."""
        with self._changed:
            self._last_ticket += 1
            entry = _Entry(task, self._last_ticket)
            self._entries[entry.ticket] = entry
            self._tickets.append(entry.ticket)
            self._dispatch()
            return entry.ticket

    def cancel(self, ticket: int) -> bool:
        """Remove a task from the queue; return False if it no longer waits there."""
        with self._changed:
            place = bisect.bisect_left(self._tickets, ticket)
            if place == len(self._tickets) or self._tickets[place] != ticket:
                return False
            del self._tickets[place], self._entries[ticket]
            return True

    def position(self, ticket: int) -> int:
        """Return the position of a waiting task in the queue; 1 is next."""
        with self._changed:
            return bisect.bisect_left(self._tickets, ticket) + 1

    @property
    def waiting(self) -> int:
        """Number of tasks that have not started."""
        return len(self._tickets)

    @property
    def running(self) -> int:
        """Number of tasks that run and have not timed out."""
        return len(self._running)

    @property
    def stuck(self) -> int:
        """Number of timed-out tasks that still occupy a thread."""
        return len(self._stuck)

    def close(self) -> None:
        """Start no more tasks, and wait for the running ones except those that timed out."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running)
        self._executor.shutdown(wait=False, cancel_futures=True)

    # --- internal

    def _dispatch(self) -> None:
        """Start waiting tasks while threads are free; the caller holds the lock."""
        while (
            self._tickets
            and not self._closing
            and len(self._running) < self._count
            and len(self._stuck) < SPARE_THREADS
        ):
            entry = self._entries[self._tickets.pop(0)]
            entry.started = time.monotonic()
            self._running.add(entry)
            self._executor.submit(self._work, entry)
            self._changed.notify_all()  # there is a new time limit to watch

    def _work(self, entry: _Entry[Task]) -> None:
        try:
            self._run(entry.task)
        except BaseException:  # even SystemExit: other tasks need the thread
            log.exception("A worker failed")
        finally:
            with self._changed:
                self._running.discard(entry)
                self._stuck.discard(entry)
                del self._entries[entry.ticket]
                self._dispatch()
                self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                late = [entry for entry in self._running if entry.started + self._seconds <= now]
                for entry in late:
                    self._running.remove(entry)
                    self._stuck.add(entry)
                if late:
                    self._dispatch()
                    self._changed.notify_all()
                else:
                    if self._closing and not self._running:
                        return
                    ends = [entry.started + self._seconds for entry in self._running]
                    self._changed.wait(min(ends) - now if ends else None)
            for entry in late:
                log.error("A job is given up after %g seconds; its thread goes on", self._seconds)
                self._on_timeout(entry.task)
