"""Slow, silent and vanishing clients against the real server: the others are still served."""

from __future__ import annotations

import json
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from server.request_body import BodyBudget, BudgetedBody
from tests.support.http import body
from tests.support.pictures import encoded, noise
from tests.support.server import Server

CONNECTIONS = 600
SECONDS = 2.0


@pytest.fixture(scope="module")
def impatient(
    start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Yield a service that waits 2 seconds for its clients, with room for 2 MB photos."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    server = start_server(
        tmp_path_factory.mktemp("impatient"),
        CARSEG_CLIENT_SECONDS=str(SECONDS),
        CARSEG_CONNECTIONS=str(CONNECTIONS),
        CARSEG_MAX_UPLOAD_MB="2",
        CARSEG_BATCH_MB="0.5",
    )
    server.wait(server.post(photo()))  # models are loaded
    yield server
    server.process.terminate()
    assert server.process.wait(60) == 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def photo(seed: int = 0) -> bytes:
    return encoded(noise(30, 40, seed))


def connect(server: Server, sent: bytes = b"") -> socket.socket:
    """Open a connection and send some data."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(sent)
    return connection


def posting(length: int, sent: int = 0) -> bytes:
    """Return the start of a POST."""
    head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode() + b" " * sent


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return status and content of all data until the server closes."""
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    head, _, content = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), content


def error(connection: socket.socket) -> int:
    """Return the status of an error of our shape that ends the connection."""
    status, content = answer(connection)
    assert set(json.loads(content)) == {"error"}
    return status


def is_closed(connection: socket.socket) -> bool:
    """Return True if the server closes a connection within a minute."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    return True  # else recv has raised TimeoutError


def works(server: Server, seed: int) -> None:
    """Check that a photo is accepted and processed, on new connections."""
    server.wait(server.post(photo(seed)))


def memory(server: Server) -> float:
    """Return the peak memory of the service, in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def test_five_hundred_idle_connections(impatient: Server) -> None:
    with ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(connect(impatient))
        works(impatient, 1)


def test_endless_headers_and_bodies(impatient: Server) -> None:
    starts = [
        b"G",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        posting(1000),
        posting(2_000_000, 10_000),
    ]
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(impatient, start)) for start in starts * 50]
        works(impatient, 2)
        alive = set(slow)
        statuses = []
        deadline = time.monotonic() + 60
        while alive and time.monotonic() < deadline:
            answered, _, _ = select.select(alive, [], [], 0.1)
            statuses += [error(connection) for connection in answered]
            alive -= set(answered)
            for connection in alive:
                connection.send(b"a")  # a little from time to time is not enough
        assert statuses == [408] * 200


def test_more_connections_than_allowed(impatient: Server) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connect(impatient)) for _ in range(CONNECTIONS + 50)]
        works(impatient, 3)
        assert is_closed(held[0])


def test_slow_upload_outlives_idle_connections(impatient: Server) -> None:
    data = json.dumps(body(photo(4))).encode()
    with ExitStack() as stack:
        upload = stack.enter_context(connect(impatient, posting(len(data)) + data[:100]))
        for _ in range(CONNECTIONS + 50):
            stack.enter_context(connect(impatient))
        upload.sendall(data[100:])
        upload.shutdown(socket.SHUT_WR)
        assert answer(upload)[0] == 200


def test_half_closed_connection_gets_its_answer(impatient: Server) -> None:
    with connect(impatient, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        connection.shutdown(socket.SHUT_WR)
        status, content = answer(connection)
    assert status == 200
    assert json.loads(content)["openapi"]


def test_clients_that_never_read(impatient: Server) -> None:
    """Request more than the kernel buffers, on more connections than threads."""
    page = b"GET /docs/swagger/js/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert len(requests.get(f"{impatient.url}{page.split()[1].decode()}", timeout=60).content) > 1e6
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(impatient, page * 100)) for _ in range(20)]
        works(impatient, 5)
        time.sleep(2 * SECONDS)
        for connection in silent:
            assert is_closed(connection)


def test_clients_that_disconnect(impatient: Server) -> None:
    image_hash = impatient.post(photo(6))
    for start in (
        b"",
        b"GET",
        posting(1000, 10),
        posting(10, 10),
        b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3,
        f"GET /{image_hash}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
        f"GET /{image_hash}/status?wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    ):
        for reset in (False, True):
            connection = connect(impatient, start)
            if reset:
                linger = (1).to_bytes(4, "little") + bytes(4)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()
    works(impatient, 7)


def test_unfinished_uploads_stay_within_budget(impatient: Server) -> None:
    """80 MB of uploads that stop just before their end; the budget is 50 MB."""
    before = memory(impatient)
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(impatient, posting(2_000_001, 2_000_000)))
        works(impatient, 8)
        # A refused body is still read to its end, and gets an answer.
        victim = stack.enter_context(connect(impatient, posting(2_000_001, 2_000_000)))
        victim.sendall(b" ")
        victim.shutdown(socket.SHUT_WR)
        assert error(victim) in (400, 503)
    assert memory(impatient) - before < 40


def test_evicted_upload_may_come_again(start_server: Callable[..., Server], tmp_path: Path) -> None:
    """20 MB of unfinished uploads evict the oldest; the budget is 14 MB."""
    server = start_server(tmp_path / "data", CARSEG_MAX_UPLOAD_MB="0.5", CARSEG_BATCH_MB="0.05")
    with ExitStack() as stack:
        start = posting(800_001, 800_000)
        oldest, *_ = [stack.enter_context(connect(server, start)) for _ in range(25)]
        for _ in range(10):  # each answer takes a round, in which 128 kB of each upload are read
            assert requests.get(server.url, timeout=60).status_code == 200
        oldest.sendall(b" ")
        oldest.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := oldest.recv(65_536):
            received += chunk
    assert received.split()[1] == b"503"
    assert b"\r\nRetry-After: 2\r\n" in received
    server.kill()


def test_unfinished_small_uploads_stay_within_memory(impatient: Server) -> None:
    """Of 50 MB, 16 may be in memory; the others are in files, or refused."""
    before = memory(impatient)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connect(impatient, posting(900_001, 900_000)))
        works(impatient, 10)
    assert memory(impatient) - before < 40


def test_bodies_share_memory_budget() -> None:
    bodies = BodyBudget(limit=100_000, memory=40_000)
    with ExitStack() as stack:

        def body(size: int) -> BudgetedBody:
            made = BudgetedBody(30_000, bodies)
            stack.callback(made.close)
            sent = b"".join(b"%d," % number for number in range(size))[:size]
            for start in range(0, size, 9000):
                made.append(sent[start : start + 9000])
            assert made.getfile().read() == sent
            made.getfile().seek(0)
            return made

        first, large, second = body(20_000), body(30_000), body(20_000)
        assert [made.overflowed for made in (first, large, second)] == [False, True, False]
        assert body(10_000).overflowed  # the memory is full
        first.close()
        first.close()  # is given back once
        assert not body(20_000).overflowed
        last = body(10_000)
        assert last.overflowed
        last.append(bytes(60_000))
        assert last.refused is None  # an older upload has made room
        assert large.refused == "busy"


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b"5;" + b"x" * 500_000, 400),
        (b"1\r\na\r\n" * 100_000, 400),
        (b"0\r\n" + b"X: y\r\n" * 50_000, 400),
        (b"5\r\naaaaaa\r\n", 400),
        (b"-5\r\naaaaa\r\n", 400),
    ],
)
def test_abusive_chunks(impatient: Server, chunks: bytes, status: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(impatient, head + chunks) as connection:
        assert error(connection) == status


def test_header_flood(impatient: Server) -> None:
    """The client sends all of it before it reads; it still sees the answer."""
    flood = b"".join(b"X-%d: %s\r\n" % (i, b"a" * 100) for i in range(10_000))
    with connect(
        impatient, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + flood + b"\r\n"
    ) as connection:
        assert error(connection) == 431


@pytest.mark.parametrize("chunked", [False, True])
def test_hundred_megabytes(impatient: Server, chunked: bool) -> None:
    before = memory(impatient)
    piece = b"A" * 1_000_000
    answer = requests.post(
        impatient.url,
        data=(piece for _ in range(100)) if chunked else piece * 100,
        headers={"Content-Type": "application/json"},
        timeout=120,
    )
    assert answer.status_code == 413
    assert set(answer.json()) == {"error"}
    assert memory(impatient) - before < 40


def test_wrong_content_length(impatient: Server) -> None:
    with connect(impatient, posting(100_000_000, 1000)) as connection:
        assert error(connection) == 408
    with connect(impatient, posting(10, 1000)) as connection:  # the rest is another "request"
        connection.shutdown(socket.SHUT_WR)
        assert answer(connection)[0] == 400
    works(impatient, 9)
