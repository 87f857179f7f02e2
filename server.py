"""The production server: waitress in this one process, with a stop that loses nothing."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from io import BytesIO
from types import FrameType
from typing import Any

from flask import Flask
from waitress import create_server
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher
from waitress.utilities import RequestEntityTooLarge

from headers import SECURITY_HEADERS
from jobs import Jobs
from settings import Settings, SettingsError

log = logging.getLogger(__name__)

_DISCARD_LIMIT = 1 << 30  # bytes of a body that is too large which are read and thrown away
_GRACE = 5.0  # seconds that requests have to be answered in when the service stops


def listen(settings: Settings) -> list[socket.socket]:
    """Take the address before anything else starts: a second service must not touch the data.

    Raises:
        SettingsError: the address can't be listened on.
    """
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return [
            socket.create_server(address[:2], family=family, backlog=1024)
            for family, _, _, _, address in found
        ]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no address"
        raise SettingsError(
            f"CARSEG_HOST={settings.host} and CARSEG_PORT={settings.port}: "
            f"the service can't listen there: {reason}."
        ) from None


def serve(app: Flask, jobs: Jobs, settings: Settings, sockets: list[socket.socket]) -> None:
    """Answer requests until SIGTERM or SIGINT; running jobs then finish. Blocks.

    A second signal ends the process at once; what is unfinished is on disk for the next start.
    """
    connections: dict[int, Any] = {}
    server = create_server(
        app,
        map=connections,
        sockets=sockets,
        threads=settings.http_threads,
        max_request_body_size=settings.max_body_bytes + 1,
        ident="",
        # else waitress removes them before the app can ask whether they may be believed
        clear_untrusted_proxy_headers=not settings.trusted_proxies,
    )
    for listener in list(connections.values()):
        if isinstance(listener, TcpWSGIServer):
            listener.channel_class = _Channel
    _stop_on_signals(jobs, server.task_dispatcher)
    _announce(sockets[0], with_key=bool(settings.api_keys))
    server.run()


def _announce(listener: socket.socket, *, with_key: bool) -> None:
    """Print where the service is and a line to try it."""
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(
        f"The service is at {url}, its page at {url}/ui, its API at {url}/docs. "
        "Ctrl-C stops it. Try:"
    )
    header = '-H "X-API-Key: $CARSEG_API_KEY" ' if with_key else ""
    print(
        """  (printf '{"image": "'; base64 < sample/car.png | tr -d '\\n'; printf '"}') | """
        f"curl -H 'Content-Type: application/json' {header}--data-binary @- {url}/",
        flush=True,
    )


def _stop_on_signals(jobs: Jobs, dispatcher: ThreadedTaskDispatcher) -> None:
    """On SIGTERM and SIGINT: close the jobs, answer what is being asked, end the main loop.

    Until the running jobs are done, requests are answered: clients can still fetch results,
    and get a 503 for new photos.
    """
    stopping = threading.Event()
    done = threading.Event()

    def drain() -> None:
        log.info("Stopping; jobs that are running will finish")
        jobs.close()
        deadline = time.monotonic() + _GRACE
        while dispatcher.active_count and time.monotonic() < deadline:
            time.sleep(0.02)
        done.set()
        os.kill(os.getpid(), signal.SIGTERM)  # wakes the main thread out of select()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if done.is_set():
            raise SystemExit(0)
        if stopping.is_set():
            os._exit(1)
        stopping.set()
        threading.Thread(target=drain, name="stop").start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


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


class _Parser(HTTPRequestParser):
    """Reads a body that is too large to its end, keeping nothing of it.

    If the server closed at once, the kernel would reset the connection while the client still
    sends, and the client would never see the 413. This way the request arrives at Flask, which
    refuses it by its length, in our shape and with CORS headers.
    """

    error: Any
    _discarding = False

    def received(self, data: bytes) -> int:
        if self._discarding:
            return self._discard(data)
        consumed: int = super().received(data)
        if (
            isinstance(self.error, RequestEntityTooLarge)
            and self.body_rcv is not None
            and self.content_length <= _DISCARD_LIMIT
        ):
            self.error = None
            self.completed = False
            self._discarding = True
            self.body_rcv.getbuf().close()
            self.body_rcv.buf = _Nothing()
        return consumed

    def _discard(self, data: bytes) -> int:
        consumed: int = self.body_rcv.received(data)
        self.body_bytes_received += consumed
        if self.body_rcv.error:
            self.error = self.body_rcv.error
        elif self.body_bytes_received > _DISCARD_LIMIT:
            self.error = RequestEntityTooLarge("")
        self.completed = bool(self.error or self.body_rcv.completed)
        if self.chunked:
            self.headers["CONTENT_LENGTH"] = str(self.body_bytes_received)
        return consumed


class _JsonErrorTask(ErrorTask):
    """Answers what is no HTTP request at all, in the shape of all our errors."""

    def execute(self) -> None:
        error = self.request.error
        body = json.dumps({"error": f"{error.reason}."}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", "application/json"), *SECURITY_HEADERS.items()]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):
    parser_class = _Parser
    error_task_class = _JsonErrorTask
