"""Limits for each connection, in a subclass of waitress' channel.

waitress reads requests in one thread and answers them in others, so a slow client never holds a
thread. But its timeout restarts with every byte, and it accepts no connection beyond its limit.
Here a client that is too slow is disconnected. At the limit, the connection that has been idle
for longest is closed to accept a new one.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from api.headers import SECURITY_HEADERS
from server.request_body import BodyBudget, DrainingParser

BODY_REFUSED = "carseg.body_refused"  # key in the WSGI environment: why the body was not kept

_SLOWEST = 16 * 1024  # bytes that a client must send or receive in `ClientLimits.seconds`
_MOST_QUEUED = 4  # requests that a client may send before it has its answers
_LINGER = 2.0  # seconds in which input is read and discarded after a refusal


@dataclass(frozen=True)
class ClientLimits:
    """Limits for clients.

    Attributes:
        seconds: timeout for complete headers, and for progress of a body or an answer.
        connections: most connections that are open concurrently.
    """

    seconds: float
    connections: int


class RequestTimeoutError(Error):
    """A request that did not arrive in time."""

    code = 408
    reason = "Request Timeout"


class _Task(WSGITask):
    """A task that reports to the app why a request body was not kept, and keeps connections."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        if self.request.refused in ("busy", "full"):
            environ[BODY_REFUSED] = self.request.refused
        return environ

    def set_close_on_finish(self) -> None:
        """Close the connection after the answer, but not for want of a Content-Length.

        In HTTP/1.1 the end of an answer without that header is clear: 204 and 304 have no body,
        and other bodies are chunked (RFC 9112, section 6.3). Bodies that break off are closed.
        """
        is_asked = self.request.headers.get("CONNECTION", "").lower() == "close"
        if self.version == "1.0" or is_asked or self.wrote_header:
            super().set_close_on_finish()


class _JsonErrorTask(ErrorTask):
    """A task that answers malformed and late requests with a JSON error like all others."""

    def execute(self) -> None:
        error = self.request.error
        body = json.dumps({"error": f"{error.reason}."}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", "application/json"), *SECURITY_HEADERS.items()]
        self.set_close_on_finish()  # adds the header
        self.content_length = len(body)
        self.write(body)
        self.close_on_finish = False
        self.channel.linger()


@dataclass
class _PaceCheck:
    """A check that a client moves at least `_SLOWEST` bytes in each span of time."""

    seconds: float
    began: float = field(default_factory=time.monotonic)
    moved: int = 0

    def is_too_slow(self, now: float, moved: int) -> bool:
        """Return whether the client is too slow, and record its progress.

        Args:
            now: `time.monotonic()`.
            moved: bytes moved so far in total.
        """
        if moved - self.moved >= _SLOWEST or moved < self.moved:
            self.began, self.moved = now, moved
        return now - self.began > self.seconds


class LimitedChannel(HTTPChannel):
    """One connection with limits."""

    error_task_class = _JsonErrorTask
    task_class = _Task
    request: DrainingParser | None
    requests: list[DrainingParser]

    def __init__(
        self, *args: Any, limits: ClientLimits, bodies: BodyBudget, **keywords: Any
    ) -> None:
        self.parser_class: Callable[[Any], DrainingParser] = partial(DrainingParser, bodies=bodies)
        self._limits = limits
        self._next_look = 0.0
        self._sent = 0
        self._sending: _PaceCheck | None = None
        self._receiving: _PaceCheck | None = None
        self._lingers_until: float | None = None
        super().__init__(*args, **keywords)
        if len(self.server.active_channels) > limits.connections:
            self._make_room()

    # --- called in the main loop, at least once a second for each connection

    def readable(self) -> bool:
        now = time.monotonic()
        if now >= self._next_look or self._lingers_until is not None:
            self._next_look = now + min(1.0, self._limits.seconds / 4)
            self._look(now)
        return bool(super().readable())

    def _look(self, now: float) -> None:
        """Disconnect the client, or time out its request, if it is too slow."""
        if self.total_outbufs_len:
            self._sending = self._sending or _PaceCheck(self._limits.seconds, now, self._sent)
            self.will_close |= self._sending.is_too_slow(now, self._sent)
            return
        self._sending = None
        if self._lingers_until is not None:
            self._end_gently(now)
        elif self.request is None or self.requests:
            self._receiving = None
        elif not self.request.headers_finished:
            if now - self.request.began > self._limits.seconds:
                self._time_out()
        else:
            moved = self.request.body_bytes_received
            self._receiving = self._receiving or _PaceCheck(self._limits.seconds, now, moved)
            if self._receiving.is_too_slow(now, moved):
                self._time_out()

    def _end_gently(self, now: float) -> None:
        """Shut down our side after a refusal, and close `_LINGER` seconds later.

        Until then, further input is read and discarded. Closing with unread input would reset the
        connection, and the client might lose the answer.
        """
        if self._lingers_until == 0:
            self._lingers_until = now + _LINGER
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.will_close = True
        elif self._lingers_until is not None and now > self._lingers_until:
            self.will_close = True

    def _time_out(self) -> None:
        """Answer 408 to the request that has not arrived in time."""
        with self.requests_lock:
            request, self.request = self.request, None
            if request is None:
                return
            request.error = RequestTimeoutError("")
            request.completed = True
            self.requests.append(request)
            self.server.add_task(self)

    def _make_room(self) -> None:
        """Close the connection that has been idle for longest, or else the oldest request."""
        others = [
            channel
            for channel in self.server.active_channels.values()
            if channel is not self and not channel.requests and not channel.will_close
        ]
        if others:
            victim = min(others, key=lambda channel: channel.keep_priority())
            victim.will_close = True

    def keep_priority(self) -> tuple[int, float]:
        """Return the priority to stay open; the connection with the lowest is closed first.

        Returns:
            0 without a request, 1 while headers arrive, 2 while a body arrives, 3 while an answer
            is sent; then the time of the last activity or of the request's start.
        """
        request = self.request
        if self.total_outbufs_len:
            return 3, self.last_activity
        if request is None:
            return 0, self.last_activity
        return (2 if request.headers_finished else 1), request.began

    def received(self, data: bytes) -> bool:
        if self._lingers_until is not None:
            return True
        taken = bool(super().received(data))
        with self.requests_lock:
            for request in self.requests[_MOST_QUEUED:]:
                request.close()
            if len(self.requests) > _MOST_QUEUED:
                del self.requests[_MOST_QUEUED:]
                self.requests[-1].headers["CONNECTION"] = "close"
        return taken

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent: int = super().send(data, do_close)
        self._sent += sent
        return sent

    def handle_close(self) -> None:
        super().handle_close()
        with self.requests_lock:
            request, self.request = self.request, None
        if request is not None:
            request.close()

    # --- called in a worker thread

    def linger(self) -> None:
        """Drop all later requests of this connection, and let it linger."""
        with self.requests_lock:
            for request in self.requests[1:]:
                request.close()
            del self.requests[1:]
            if self.request is not None:
                self.request.close()
                self.request = None
            self._lingers_until = 0
