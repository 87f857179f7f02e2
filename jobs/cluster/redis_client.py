"""Redis for whoever remembers or queues photos: one client, scripts, and what its errors mean.

Imported only where `CARSEG_BROKER_URL` is set.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.cluster.scripts import PRELUDE
from jobs.store import AWAY, StoreError

log = logging.getLogger("carseg.cluster")

Value = str | bytes | int | float
Answer = TypeVar("Answer")

FULL = "The Redis of the service is full; nothing was stored. Try again later."
_BROKEN = "The service can't use its Redis; its log says why."

TIMEOUT = 3.0  # seconds for an answer of Redis
_LOADING = 60.0  # seconds that Redis may take to read its data
_OLDEST = (6, 2)
_PAUSE = 1.0  # seconds without a try after Redis did not answer in time


def connection_options() -> dict[str, Any]:
    """How long to wait for Redis, for its clients."""
    # A connection that was cut since its last use is only found out by using it. To do a step
    # twice does no harm, so there is one more try; but none after a timeout: that was long.
    retry = Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,))
    return {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": retry}


class RedisClient:
    """A pool of connections. Safe for several threads, but not across a fork.

    Args:
        url: `redis://` or `rediss://`.
    """

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url, **connection_options())
        self._scripts: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._silent_until = 0.0

    def run(self, script: str, *arguments: Value) -> Any:
        """What a script of `scripts` returns. Raises StoreError."""
        with self._lock:
            if script not in self._scripts:
                self._scripts[script] = self._client.register_script(PRELUDE + script)
            registered = self._scripts[script]
        return self.ask(lambda redis: registered(args=arguments, client=redis))

    def ask(self, question: Callable[[Redis], Answer]) -> Answer:
        """What Redis answers. Raises StoreError."""
        if time.monotonic() < self._silent_until:  # so that not all threads wait for it
            raise StoreError(AWAY, away=True)
        try:
            return question(self._client)
        except exceptions.RedisError as error:
            if isinstance(error, exceptions.TimeoutError):
                self._silent_until = time.monotonic() + _PAUSE
            raise _explained(error) from error

    def trouble(self) -> str | None:
        """Why this Redis can't be used, as the end of a sentence; None if it can.

        Waits while it reads its data.
        """
        parts = self._client.get_connection_kwargs()
        where = f"{parts.get('host')}:{parts.get('port')}"
        deadline = time.monotonic() + _LOADING
        while True:
            try:
                version = str(self._client.info("server")["redis_version"])  # type: ignore[index]
            except exceptions.BusyLoadingError:
                if time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                return f"Redis at {where} still reads its data"
            except exceptions.AuthenticationError:
                return f"Redis at {where} refuses the password"
            except (exceptions.ConnectionError, exceptions.TimeoutError):
                return f"Redis at {where} can't be reached"
            except exceptions.RedisError as error:
                return f"Redis at {where} refuses it: {error}"
            found = tuple(int(number) for number in version.split(".")[:2])
            return None if found >= _OLDEST else f"Redis 6.2 or later is needed, it is {version}"

    def advice(self) -> list[str]:
        """What of the Redis's own settings would lose photos."""
        info: Any = self.ask(lambda redis: redis.info())
        found = []
        if not info.get("aof_enabled"):
            found.append("Redis has appendonly off: photos that were accepted end with it")
        if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
            found.append("Redis should have maxmemory-policy noeviction, else it removes photos")
        return found

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


def _explained(error: exceptions.RedisError) -> StoreError:
    text = str(error)
    if "OOM " in text or "MISCONF" in text:  # no memory, or its disk is full
        return StoreError(FULL, full=True)
    gone = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ReadOnlyError)
    if isinstance(error, gone):
        return StoreError(AWAY, away=True)
    return StoreError(_BROKEN)
