"""Bodies of requests on their way: one budget for all, and a parser that reads what is refused.

waitress would keep bodies without a common limit.
"""

from __future__ import annotations

import logging
import threading
import time
from io import BytesIO
from typing import Any, Literal

from waitress.buffers import OverflowableBuffer
from waitress.parser import HTTPRequestParser
from waitress.utilities import BadRequest, RequestEntityTooLarge

log = logging.getLogger("carseg.server")

_DISCARD_LIMIT = 1 << 30  # bytes of a body that is too large which are read and thrown away
_LONGEST_CHUNK_LINE = 4096  # bytes of the size of a chunk, of a trailer; waitress has no limit
_MANY_CHUNKS, _SMALL_CHUNK = 10_000, 64  # so many that are smaller on average only cost time

Reason = Literal["large", "busy", "full"]


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


class BodyBudget:
    """The budget of all bodies. When it is spent, the upload that began first makes room."""

    def __init__(self, limit: int, memory: int) -> None:
        """
        Args:
            limit: bytes of all bodies that are on the way or wait for a thread.
            memory: bytes of these that are in memory; the others are in files.
        """
        self._free, self._free_memory = limit, memory
        self._arriving: dict[Body, None] = {}  # in the order in which they began
        self._lock = threading.RLock()

    def begin(self, body: Body) -> None:
        """A body begins to arrive."""
        with self._lock:
            self._arriving[body] = None

    def complete(self, body: Body) -> None:
        """A body is there; from now on it is not given up for others."""
        with self._lock:
            self._arriving.pop(body, None)

    def take(self, body: Body, size: int) -> bool:
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

    def give_back(self, body: Body, size: int) -> None:
        """A body is done with."""
        with self._lock:
            self._arriving.pop(body, None)
            self._free += size


class Body(OverflowableBuffer):
    """A body on its way: in memory while it is small and there is some, else in an unnamed file.

    Attributes:
        refused: why it is not kept any more, None while it is.
        pieces: how often something came.
        size: bytes that came.
    """

    def __init__(self, overflow: int, bodies: BodyBudget) -> None:
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


class DrainingParser(HTTPRequestParser):
    """Reads a body that is not taken to its end, keeping nothing of it.

    If the server closed at once, the kernel would reset the connection while the client still
    sends, and the client would never see the answer. This way the request arrives at Flask, which
    refuses it in our shape and with CORS headers.
    """

    error: Any
    _discarding = False

    def __init__(self, adj: Any, bodies: BodyBudget) -> None:
        super().__init__(adj)
        self._bodies = bodies
        self.began = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.body_rcv is not None:
            self.body_rcv.buf = Body(self.adj.inbuf_overflow, self._bodies)

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
    body: Body = receiver.getbuf()
    return (
        len(receiver.control_line) > _LONGEST_CHUNK_LINE
        or len(receiver.trailer) > _LONGEST_CHUNK_LINE
        or (body.pieces > _MANY_CHUNKS and body.size < body.pieces * _SMALL_CHUNK)
    )
