"""Let threads wait for changes of one photo.

Wake waiters per photo: waking all of them cost 2 ms per photo with eight clients waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False)
class _Waiter:
    digest: str
    only_end: bool
    woken: threading.Condition


class JobWaiters:
    """Waiting threads, by the photo that they wait for. Callers of all methods hold `lock`.

    Args:
        lock: lock that guards the state of all photos; `wait` releases it while it waits.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self.lock = lock
        self._waiters: set[_Waiter] = set()  # few; `Settings.waiting_slots` limits them

    def wait(
        self, digest: str, enough: Callable[[], bool], seconds: float, *, only_end: bool
    ) -> None:
        """Wait until `enough` returns True or the timeout expires.

        Args:
            digest: hash of the photo.
            enough: condition, called under the lock at the start and after each wake-up.
            seconds: timeout of the wait.
            only_end: True to wake up only at the end of the photo.
        """
        waiter = _Waiter(digest, only_end, threading.Condition(self.lock))
        self._waiters.add(waiter)
        try:
            waiter.woken.wait_for(enough, seconds)
        finally:
            self._waiters.remove(waiter)

    def changed(self, digest: str) -> None:
        """Wake the waiters of a photo whose status changed, but not those with `only_end`."""
        self._wake(lambda waiter: waiter.digest == digest and not waiter.only_end)

    def moved(self) -> None:
        """Wake all waiters without `only_end`, because positions in the queue changed."""
        self._wake(lambda waiter: not waiter.only_end)

    def ended(self, digest: str) -> None:
        """Wake all waiters of a photo that ended or was deleted.

        A deletion may concern one owner or all owners.
        """
        self._wake(lambda waiter: waiter.digest == digest)

    def closing(self) -> None:
        """Wake all waiters, because the service stops."""
        self._wake(lambda waiter: True)

    def _wake(self, whom: Callable[[_Waiter], bool]) -> None:
        for waiter in self._waiters:
            if whom(waiter):
                waiter.woken.notify()
