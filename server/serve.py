"""The production server: waitress in this process, with a shutdown that loses no photo."""

from __future__ import annotations

import errno
import logging
import math
import os
import resource
import signal
import socket
import tempfile
import threading
import time
from functools import partial
from types import FrameType
from typing import Any

from flask import Flask, request
from waitress import create_server
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from api.errors import ApiError
from jobs.engine import Engine
from server.connection import BODY_REFUSED, ClientLimits, LimitedChannel
from server.request_body import BodyBudget
from settings import Settings, SettingsError

log = logging.getLogger("carseg.server")

_BODIES = 16  # bodies of the largest photo that fit into the budget of all request bodies
_BATCHES = 4  # batches of the largest size that fit in addition
_IN_MEMORY = 16 * 1024 * 1024  # bytes of small bodies kept in memory for speed, not in files
_SMALL_BODY = 1024 * 1024  # bytes up to which a body may stay in memory
_DESCRIPTORS = 3  # open files that a connection may need: socket, body, answer
_BUSY = "The service is receiving too many photos; try again in a moment."
_BUSY_SECONDS = 2  # Retry-After while the budget of request bodies is spent
_GRACE = 5.0  # seconds to finish open requests when the service stops


def listen(settings: Settings) -> list[socket.socket]:
    """Open the listening sockets.

    Call this before anything else starts: a second service fails here and so never touches the
    data.

    Raises:
        SettingsError: the service can't listen on the address.
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
        raise SettingsError(
            f"CARSEG_HOST={settings.host} and CARSEG_PORT={settings.port}: "
            f"the service can't listen there: {_reason(error, settings.port)}."
        ) from None


def _reason(error: OSError | UnicodeError, port: int) -> str:
    """Return why the service can't listen on a port, with a command if another port helps."""
    if getattr(error, "errno", None) == errno.EADDRINUSE:
        other = 8081 if port == 8080 else 8080
        return f"the port is taken; choose another, for example CARSEG_PORT={other} make run"
    return getattr(error, "strerror", None) or "it is not an address"


def serve(app: Flask, jobs: Engine, settings: Settings, sockets: list[socket.socket]) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish the running jobs. Blocks.

    A second signal ends the process at once. Unfinished photos are on disk for the next start.
    """
    limits = ClientLimits(settings.client_seconds, _allowed_connections(settings.connections))
    bodies = BodyBudget(
        limit=_BODIES * settings.max_body_bytes + _BATCHES * settings.batch_body_bytes,
        memory=_IN_MEMORY,
    )
    # Larger bodies are kept in unnamed files. Not in /tmp, which is in memory on many machines.
    tempfile.tempdir = str(settings.uploads)
    app.before_request(_refuse_unkept_body)
    connections: dict[int, Any] = {}
    server = create_server(
        app,
        map=connections,
        sockets=sockets,
        threads=settings.http_threads,
        max_request_header_size=64 * 1024,
        max_request_body_size=max(settings.max_body_bytes, settings.batch_body_bytes) + 1,
        recv_bytes=128 * 1024,
        inbuf_overflow=_SMALL_BODY,
        # so large that no thread waits for a client; see `server.connection._MOST_QUEUED`
        outbuf_high_watermark=256 * 1024 * 1024,
        channel_timeout=math.ceil(4 * limits.seconds),  # of an idle connection
        cleanup_interval=math.ceil(limits.seconds),
        # waitress stops accepting at its limit; ours is lower and closes a connection instead
        connection_limit=limits.connections + 64,
        asyncore_use_poll=True,  # select() is limited to 1024 files
        log_socket_errors=False,
        ident="",
        # else waitress removes proxy headers before the app can check whether to trust them
        clear_untrusted_proxy_headers=not settings.trusted_proxies,
    )
    channel = partial(LimitedChannel, limits=limits, bodies=bodies)
    for listener in list(connections.values()):
        if isinstance(listener, TcpWSGIServer):
            listener.channel_class = channel
    _stop_on_signals(jobs, server.task_dispatcher)
    _announce(sockets[0], with_key=bool(settings.api_keys))
    server.run()


def _allowed_connections(wanted: int) -> int:
    """Return the number of connections that the limit of open files allows, at most `wanted`.

    The limit of open files is raised first if it is too low and the system permits.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted * _DESCRIPTORS + 256
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):  # some systems allow less than they say
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft < needed:
            wanted = max(16, (soft - 256) // _DESCRIPTORS)
            log.warning("CARSEG_CONNECTIONS: the system allows only %d connections", wanted)
    return wanted


def _refuse_unkept_body() -> None:
    """Refuse a request whose body could not be kept. Raises ApiError."""
    reason = request.environ.get(BODY_REFUSED)
    if reason == "full":
        raise ApiError(507, "The disk of the service has no space for this request.")
    if reason:
        raise ApiError(503, _BUSY, _BUSY_SECONDS)


def _announce(listener: socket.socket, *, with_key: bool) -> None:
    """Print the addresses of the service and a command to try it."""
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(
        f"The service is at {url}, its page at {url}/ui, its API at {url}/docs. "
        "Ctrl-C stops it. Try, in another terminal:"
    )
    key = '-H "X-API-Key: $CARSEG_API_KEY" ' if with_key else ""
    print(f"  curl {key}-F file=@sample/car.png '{url}/?wait=30'", flush=True)


def _stop_on_signals(jobs: Engine, dispatcher: ThreadedTaskDispatcher) -> None:
    """Install the handlers of SIGTERM and SIGINT.

    They close the job engine, let open requests finish and end the main loop. Until the running
    jobs are done, requests are answered: clients can still fetch results, and get a 503 for new
    photos.
    """
    stopping = threading.Event()
    done = threading.Event()

    def drain() -> None:
        log.info("Stopping; jobs that are running will finish")
        jobs.close()
        deadline = time.monotonic() + _GRACE
        while dispatcher.active_count and time.monotonic() < deadline:
            time.sleep(0.02)
        if jobs.stuck:
            log.warning("Jobs that hang are left behind; they are given up")
            os._exit(0)  # else the interpreter would wait for their threads forever
        done.set()
        os.kill(os.getpid(), signal.SIGTERM)  # wakes the main thread from poll()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if done.is_set():
            raise SystemExit(0)
        if stopping.is_set():
            os._exit(1)
        stopping.set()
        threading.Thread(target=drain, name="stop").start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
