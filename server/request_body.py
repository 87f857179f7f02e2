"""Request bodies: one budget for all of them, and a parser that drains refused ones.

waitress has no common limit for all bodies.
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

_DISCARD_LIMIT = 1 << 30  # bytes of a too large body that are read and discarded
_LONGEST_CHUNK_LINE = 4096  # bytes of a chunk's size line or a trailer; waitress has no limit
_MANY_CHUNKS, _SMALL_CHUNK = 10_000, 64  # more chunks, of fewer bytes on average, are abuse

Reason = Literal["large", "busy", "full"]


class _NullBuffer:
    """A buffer that discards its input."""

    def append(self, data: bytes) -> None:
        pass

    def __len__(self) -> int:
        return 0

    def getfile(self) -> BytesIO:
        return BytesIO()

    def close(self) -> None:
        pass


class BodyBudget:
    """The budget of bytes for all request bodies.

    When it is spent, the upload that began first is evicted.
    """

    def __init__(self, limit: int, memory: int) -> None:
        """Set the limits.

        Args:
            limit: bytes of all bodies that are arriving or wait for a thread.
            memory: bytes of these that may be in memory; the others are in files.
        """
        self._free, self._free_memory = limit, memory
        self._arriving: dict[BudgetedBody, None] = {}  # in the order in which they began
        self._lock = threading.RLock()

    def begin(self, body: BudgetedBody) -> None:
        """Register a body that begins to arrive."""
        with self._lock:
            self._arriving[body] = None

    def complete(self, body: BudgetedBody) -> None:
        """Mark a body as complete; it can no longer be evicted."""
        with self._lock:
            self._arriving.pop(body, None)

    def take(self, body: BudgetedBody, size: int) -> bool:
        """Reserve bytes, and evict older uploads if needed.

        Returns:
            False if the bytes do not fit even then.
        """
        with self._lock:
            while self._free < size:
                oldest = next(iter(self._arriving), body)
                if oldest is body:
                    return False
                oldest.give_up("busy")
            self._free -= size
            return True

    def take_memory(self, size: int) -> bool:
        """Reserve memory for reserved bytes; return False if none is left."""
        with self._lock:
            if self._free_memory < size:
                return False
            self._free_memory -= size
            return True

    def give_back_memory(self, size: int) -> None:
        """Release the memory of a body."""
        with self._lock:
            self._free_memory += size

    def give_back(self, body: BudgetedBody, size: int) -> None:
        """Release the bytes of a closed body."""
        with self._lock:
            self._arriving.pop(body, None)
            self._free += size


class BudgetedBody(OverflowableBuffer):
    """A request body, in memory while it is small and memory is left, else in an unnamed file.

    Attributes:
        refused: why the body is no longer kept; None while it is.
        pieces: number of pieces received.
        size: bytes received.
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
                self.overflow = 0  # move to a file now
        try:
            super().append(data)
        except OSError as error:
            log.error("A request could not be kept: %s", error.strerror)
            self.give_up("full")
        if self.overflowed:
            self._leave_memory()

    def give_up(self, reason: Reason) -> None:
        """Refuse the body: discard the bytes received so far and all later ones."""
        self.refused = reason
        self.close()
        self.buf = _NullBuffer()

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
    """A parser that reads a refused body to its end and discards it.

    If the server closed at once, the kernel would reset the connection while the client still
    sends, and the client would never see the answer. Instead the request reaches Flask, which
    refuses it with a JSON error and CORS headers.
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
            self.body_rcv.buf = BudgetedBody(self.adj.inbuf_overflow, self._bodies)
        if self._has_two_lengths():
            # A proxy may see another end of this request, so the rest is not read as a request
            # (RFC 9112, section 6.1).
            self.headers["CONNECTION"] = "close"

    def _has_two_lengths(self) -> bool:
        """Return whether the headers have Content-Length as well as Transfer-Encoding."""
        is_coded = self.chunked or "TRANSFER_ENCODING" in self.headers  # kept only in HTTP/1.0
        return is_coded and "CONTENT_LENGTH" in self.headers

    @property
    def refused(self) -> Reason | None:
        """The reason why the body was not kept; None if it was."""
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
        elif self.chunked and not self.error and _is_abusive_chunking(body):
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


def _is_abusive_chunking(receiver: Any) -> bool:
    """Return whether a chunked body has overlong lines or too many tiny chunks."""
    body: BudgetedBody = receiver.getbuf()
    return (
        len(receiver.control_line) > _LONGEST_CHUNK_LINE
        or len(receiver.trailer) > _LONGEST_CHUNK_LINE
        or (body.pieces > _MANY_CHUNKS and body.size < body.pieces * _SMALL_CHUNK)
    )
