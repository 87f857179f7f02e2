"""What one connection may cost: waitress' channel and parser, with limits for every client.

waitress reads requests in one thread and answers them in others, so a slow client never keeps a
thread. But it waits for as long as any byte comes, takes no more connections when it has its
number, and keeps bodies without a common limit. Here a client that is too slow is sent away, the
one that has been idle for longest makes room for a new one, and bodies share a budget.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any, Literal

from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from headers import SECURITY_HEADERS

log = logging.getLogger(__name__)

NO_ROOM = "carseg.no_room"  # in the WSGI environment: why the body was not kept

_DISCARD_LIMIT = 1 << 30  # bytes of a body that is too large which are read and thrown away
_SLOWEST = 16 * 1024  # bytes that a client must send or take in `Limits.seconds`
_MOST_QUEUED = 4  # requests that a client may send before it has its answers
_LINGER = 2.0  # seconds that input is read and thrown away after a refusal
_LONGEST_CHUNK_LINE = 4096  # bytes of the size of a chunk, of a trailer; waitress has no limit
_MANY_CHUNKS, _SMALL_CHUNK = 10_000, 64  # so many that are smaller on average only cost time

Reason = Literal["large", "busy", "full"]


@dataclass(frozen=True)
class Limits:
    """What clients may take.

    Attributes:
        seconds: in which headers must be complete, and bodies and answers must move on.
        connections: that may be open at the same time.
        bodies: bytes of all bodies that are on the way or wait for a thread.
        memory: bytes of these that are in memory; the others are in files.
    """

    seconds: float
    connections: int
    bodies: int
    memory: int


class RequestTimeoutError(Error):
    """A request that did not arrive in time."""

    code = 408
    reason = "Request Timeout"


class _Nothing:
    """A buffer that keeps nothing of what it is given."""

    def append(self, data: bytes) -> None:
        pass

    def __len__(self) -> int:
        return 0

    def getfile(self) -> BytesIO:
        return BytesIO()

    def close(self) -> None:
        pass


class Bodies:
    """The budget of all bodies. When it is spent, the upload that began first makes room."""

    def __init__(self, limit: int, memory: int) -> None:
        """
        Args:
            limit, memory: bytes, as in `Limits`.
        """
        self._free, self._free_memory = limit, memory
        self._arriving: dict[_Body, None] = {}  # in the order in which they began
        self._lock = threading.RLock()

    def begin(self, body: _Body) -> None:
        """A body begins to arrive."""
        with self._lock:
            self._arriving[body] = None

    def complete(self, body: _Body) -> None:
        """A body is there; from now on it is not given up for others."""
        with self._lock:
            self._arriving.pop(body, None)

    def take(self, body: _Body, size: int) -> bool:
        """Reserve bytes; False if not even giving up older uploads makes room for them."""
        with self._lock:
            while self._free < size:
                oldest = next(iter(self._arriving), body)
                if oldest is body:
                    return False
                oldest.give_up("busy")
            self._free -= size
            return True

    def take_memory(self, size: int) -> bool:
        """Reserve memory for bytes that were taken; False if there is none left."""
        with self._lock:
            if self._free_memory < size:
                return False
            self._free_memory -= size
            return True

    def give_back_memory(self, size: int) -> None:
        """A body has left the memory."""
        with self._lock:
            self._free_memory += size

    def give_back(self, body: _Body, size: int) -> None:
        """A body is done with."""
        with self._lock:
            self._arriving.pop(body, None)
            self._free += size


class _Body(OverflowableBuffer):
    """A body on its way: in memory while it is small and there is some, else in an unnamed file.

    Attributes:
        refused: why it is not kept any more, None while it is.
        pieces: how often something came.
        size: bytes that came.
    """

    def __init__(self, overflow: int, bodies: Bodies) -> None:
        super().__init__(overflow)
        self.refused: Reason | None = None
        self.pieces = self.size = 0
        self._reserved = self._in_memory = 0
        self._bodies = bodies
        bodies.begin(self)

    def append(self, data: bytes) -> None:
        self.pieces += 1
        self.size += len(data)
        if self.refused:
            return
        if not self._bodies.take(self, len(data)):
            self.give_up("busy")
            return
        self._reserved += len(data)
        if not self.overflowed:
            if self._bodies.take_memory(len(data)):
                self._in_memory += len(data)
            else:
                self.overflow = 0  # goes to its file now
        try:
            super().append(data)
        except OSError as error:
            log.error("A request could not be kept: %s", error.strerror)
            self.give_up("full")
        if self.overflowed:
            self._leave_memory()

    def give_up(self, reason: Reason) -> None:
        """Throw away what is there and whatever comes."""
        self.refused = reason
        self.close()
        self.buf = _Nothing()

    def _leave_memory(self) -> None:
        size, self._in_memory = self._in_memory, 0
        if size:
            self._bodies.give_back_memory(size)

    def close(self) -> None:
        super().close()
        self._leave_memory()
        reserved, self._reserved = self._reserved, 0
        self._bodies.give_back(self, reserved)


class Parser(HTTPRequestParser):
    """Reads a body that is not taken to its end, keeping nothing of it.

    If the server closed at once, the kernel would reset the connection while the client still
    sends, and the client would never see the answer. This way the request arrives at Flask, which
    refuses it in our shape and with CORS headers.
    """

    error: Any
    _discarding = False

    def __init__(self, adj: Any, bodies: Bodies) -> None:
        super().__init__(adj)
        self._bodies = bodies
        self.began = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.body_rcv is not None:
            self.body_rcv.buf = _Body(self.adj.inbuf_overflow, self._bodies)

    @property
    def refused(self) -> Reason | None:
        """Why the body was not kept."""
        return self.body_rcv.getbuf().refused if self.body_rcv is not None else None

    def received(self, data: bytes) -> int:
        consumed: int = self._discard(data) if self._discarding else super().received(data)
        body = self.body_rcv
        if body is None:
            return consumed
        if isinstance(self.error, RequestEntityTooLarge) and not self._discarding:
            if self.content_length <= _DISCARD_LIMIT:
                self.error = None
                self.completed = False
                self._discarding = True
                body.getbuf().give_up("large")
        elif self.chunked and not self.error and _is_torture(body):
            self.error = BadRequest("")
            self.completed = True
        if self.completed:
            self._bodies.complete(body.getbuf())
            if self.chunked and self.refused:
                self.headers["CONTENT_LENGTH"] = str(self.body_bytes_received)
        return consumed

    def _discard(self, data: bytes) -> int:
        consumed: int = self.body_rcv.received(data)
        self.body_bytes_received += consumed
        if self.body_rcv.error:
            self.error = self.body_rcv.error
        elif self.body_bytes_received > _DISCARD_LIMIT:
            self.error = RequestEntityTooLarge("")
        self.completed = bool(self.error or self.body_rcv.completed)
        return consumed


def _is_torture(receiver: Any) -> bool:
    """Whether a chunked body is made to keep us busy."""
    body: _Body = receiver.getbuf()
    return (
        len(receiver.control_line) > _LONGEST_CHUNK_LINE
        or len(receiver.trailer) > _LONGEST_CHUNK_LINE
        or (body.pieces > _MANY_CHUNKS and body.size < body.pieces * _SMALL_CHUNK)
    )


class _Task(WSGITask):
    """Tells the app when a body could not be kept."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        if self.request.refused in ("busy", "full"):
            environ[NO_ROOM] = self.request.refused
        return environ


class _JsonErrorTask(ErrorTask):
    """Answers what is no HTTP request at all, in the shape of all our errors."""

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
class _Pace:
    """Whether a client moves at least _SLOWEST bytes in each span of time."""

    seconds: float
    began: float = field(default_factory=time.monotonic)
    moved: int = 0

    def is_too_slow(self, now: float, moved: int) -> bool:
        """Look again.

        Args:
            now: time.monotonic().
            moved: bytes in all.
        """
        if moved - self.moved >= _SLOWEST or moved < self.moved:
            self.began, self.moved = now, moved
        return now - self.began > self.seconds


class Channel(HTTPChannel):
    """One connection."""

    error_task_class = _JsonErrorTask
    task_class = _Task
    request: Parser | None
    requests: list[Parser]

    def __init__(self, *args: Any, limits: Limits, bodies: Bodies, **keywords: Any) -> None:
        self.parser_class: Callable[[Any], Parser] = partial(Parser, bodies=bodies)
        self._limits = limits
        self._next_look = 0.0
        self._sent = 0
        self._sending: _Pace | None = None
        self._receiving: _Pace | None = None
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
        """Send the client away if it is too slow."""
        if self.total_outbufs_len:
            self._sending = self._sending or _Pace(self._limits.seconds, now, self._sent)
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
            self._receiving = self._receiving or _Pace(self._limits.seconds, now, moved)
            if self._receiving.is_too_slow(now, moved):
                self._time_out()

    def _end_gently(self, now: float) -> None:
        """After a refusal: end our side, and read on for a while what the client still sends.

        To close with unread input is to reset the connection, and the client may lose the answer.
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
        """Answer 408 instead of waiting on."""
        with self.requests_lock:
            request, self.request = self.request, None
            if request is None:
                return
            request.error = RequestTimeoutError("")
            request.completed = True
            self.requests.append(request)
            self.server.add_task(self)

    def _make_room(self) -> None:
        """Close the connection that has been idle for longest, or else the slowest request."""
        others = [
            channel
            for channel in self.server.active_channels.values()
            if channel is not self and not channel.requests and not channel.will_close
        ]
        if others:
            victim = min(others, key=lambda channel: channel.claim())
            victim.will_close = True

    def claim(self) -> tuple[int, float]:
        """How good a reason there is to stay open: nothing asked, headers or a body on the way."""
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

    # --- called in a thread that answers

    def linger(self) -> None:
        """Answer nothing more after this."""
        with self.requests_lock:
            for request in self.requests[1:]:
                request.close()
            del self.requests[1:]
            if self.request is not None:
                self.request.close()
                self.request = None
            self._lingers_until = 0
