"""Call Redis for the queue and the result store, and translate its errors.

Imported only if `CARSEG_BROKER_URL` is set.
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
from jobs.messages import REDIS_AWAY, REDIS_FAILED, REDIS_FULL
from jobs.store import StoreError

log = logging.getLogger("carseg.cluster")

Value = str | bytes | int | float
Answer = TypeVar("Answer")

KEY_PREFIX = "carseg:"
TIMEOUT = 3.0  # seconds to wait for an answer of Redis
_LOADING = 60.0  # seconds to wait while Redis loads its data
_OLDEST = (6, 2)
_PAUSE = 1.0  # seconds without a call after a timeout


def connection_options() -> dict[str, Any]:
    """Return the timeouts and the retry rule for clients of Redis."""
    # A connection that was cut since its last use fails at its next use. Every step can safely be
    # repeated, so it is retried once. A timeout is not retried, because it has already taken long.
    retry = Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,))
    return {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": retry}


class RedisClient:
    """Pool of connections to Redis. Thread-safe, but not usable across a fork.

    Args:
        url: address of Redis, `redis://` or `rediss://`.
    """

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url, **connection_options())
        self._scripts: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._silent_until = 0.0

    def run_script(self, script: str, *arguments: Value) -> Any:
        """Run a script of `jobs.cluster.scripts` and return its answer. Raises StoreError."""
        with self._lock:
            if script not in self._scripts:
                self._scripts[script] = self._client.register_script(PRELUDE + script)
            registered = self._scripts[script]
        return self.call(lambda redis: registered(args=arguments, client=redis))

    def call(self, command: Callable[[Redis], Answer]) -> Answer:
        """Call `command` with the Redis client and return its answer. Raises StoreError."""
        if time.monotonic() < self._silent_until:  # fail at once after a timeout
            raise StoreError(REDIS_AWAY, away=True)
        try:
            return command(self._client)
        except exceptions.RedisError as error:
            if isinstance(error, exceptions.TimeoutError):
                self._silent_until = time.monotonic() + _PAUSE
            raise _explained(error) from error

    def problem(self) -> str | None:
        """Return the reason why this Redis can't be used, or None if it can.

        The reason is the end of a sentence. Waits up to a minute while Redis loads its data.
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

    def warnings(self) -> list[str]:
        """Return a warning for each setting of Redis that could lose photos."""
        info: Any = self.call(lambda redis: redis.info())
        found = []
        if not info.get("aof_enabled"):
            found.append("Redis has appendonly off: photos that were accepted end with it")
        if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
            found.append("Redis should have maxmemory-policy noeviction, else it removes photos")
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _explained(error: exceptions.RedisError) -> StoreError:
    text = str(error)
    if "OOM " in text or "MISCONF" in text:  # no memory, or its disk is full
        return StoreError(REDIS_FULL, full=True)
    gone = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ReadOnlyError)
    if isinstance(error, gone):
        return StoreError(REDIS_AWAY, away=True)
    return StoreError(REDIS_FAILED)
