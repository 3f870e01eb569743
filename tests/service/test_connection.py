"""A connection over HTTP/1.1: what is sent, in whatever pieces, is answered in its order, and nothing piles up."""

import asyncio
import socket
import threading
from contextlib import contextmanager
from http import HTTPStatus
from itertools import pairwise
from queue import SimpleQueue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.service.server import connection as module
from recbole_cocorr.service.server.connection import Connection, Response
from recbole_cocorr.service.server.web import Web

HOST = b"Host: localhost\r\n"
GET = b"GET /%d HTTP/1.1\r\n" + HOST + b"\r\n"


class Wire:
    """A transport that keeps what is written, and can say that nobody reads it."""

    def __init__(self):
        self.sent, self.closed, self.reading, self.limit = b"", False, True, 65536

    def get_extra_info(self, name):
        return "127.0.0.1", 1

    def set_write_buffer_limits(self, high):
        self.limit = high

    def write(self, data):
        assert not self.closed
        self.sent += data

    def writelines(self, lines):
        self.write(b"".join(lines))

    def close(self):
        self.closed = True

    abort = close

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        assert self.reading
        self.reading = False

    def resume_reading(self):
        assert not self.reading
        self.reading = True


class Echo:
    """Answers with the method, the path and the body; a POST after a turn of the event loop."""

    def __init__(self, size: int = 0):
        self.asked, self._more = [], bytes(size)

    def most_bytes(self, path):
        return 20

    def serve(self, request):
        self.asked.append(request)
        return self._later(request) if request.method == "POST" else self._answer(request)

    async def _later(self, request):
        await asyncio.sleep(0)
        return self._answer(request)

    def _answer(self, request):
        body = b"too long" if request.body is None else request.body
        line = f"{request.method} {request.path} ".encode() + body + b"\n"
        return Response(HTTPStatus.OK, [("X-A", "a")], line + self._more)


class Nobody:
    """Has connections, and no limit for them."""

    def add(self, connection):
        pass

    again = remove = add


def talk(pieces, app=None, wire=None) -> Wire:
    """A connection after it was sent some pieces, and had time to answer."""

    async def run():
        connection = Connection(app or Echo(), Nobody())
        connection.connection_made(wire)
        for piece in pieces:
            if not wire.closed:
                connection.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)

    wire = wire or Wire()
    asyncio.run(run())
    return wire


def lines_of(wire: Wire) -> list[bytes]:
    return [line for line in wire.sent.split(b"\n") if line.startswith((b"GET ", b"POST ", b"HTTP/1.1 4"))]


STREAM = (
    GET % 1
    + b"POST /two HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
    + GET % 3
    + b"POST /four HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\nHost: x\r\n\r\n"
    + b"POST /five HTTP/1.1\r\n" + HOST + b"Content-Length: 21\r\n\r\n" + b"x" * 21
    + GET % 6
)  # fmt: skip
ANSWERS = [b"GET /1 ", b"POST /two abc", b"GET /3 ", b"POST /four def", b"POST /five too long", b"GET /6 "]


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(1, len(STREAM) - 1), max_size=12))
def test_requests_in_any_pieces_are_answered_in_their_order(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    wire = talk([STREAM[a:b] for a, b in pairwise(edges)])
    assert lines_of(wire) == ANSWERS
    assert wire.reading and not wire.closed


def test_headers_behind_a_body_are_not_those_of_the_request():
    app = Echo()
    talk([STREAM], app)
    assert app.asked[3].header(b"host") == "localhost"


@pytest.mark.parametrize(
    ("sent", "answers", "why"),
    [
        (b"GET /1 HTTP/1.0\r\n\r\n" + GET % 2, [b"GET /1 "], "a connection of HTTP/1.0 has one request"),
        (b"GET /1 HTTP/1.1\r\nConnection: close\r\n\r\n" + GET % 2, [b"GET /1 "], "nothing follows the last request"),
        (
            b"GET /1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
            [b"GET /1 "],
            "another protocol is not spoken",
        ),
        (b"CONNECT there:80 HTTP/1.1\r\n\r\n" + GET % 2, [], "nor is this a proxy"),
        (GET % 1 + b"\x16\x03\x01nonsense\r\n\r\n", [b"GET /1 ", b"HTTP/1.1 400 Bad Request\r"], "no HTTP"),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET % 2,
            [b"HTTP/1.1 400 Bad Request\r"],
            "two lengths: a proxy before this may have read the other one",
        ),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", [b"HTTP/1.1 400 Bad Request\r"], ""),
    ],
)
def test_what_ends_a_connection(sent, answers, why):
    wire = talk([sent])
    assert lines_of(wire) == answers, why
    assert wire.closed
    assert b"Connection: close\r\n" in wire.sent


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (b"/a?b=/c", "/a"),
        (b"/a%20b", "/a b"),
        (b"http://there:80/a?b", "/a"),
        (b"http://there", ""),
        (b"/\xff", "/\xff"),
        (b"/%ff", "/\ufffd"),
    ],
)
def test_the_path_of_a_request(url, path):
    app = Echo()
    wire = talk([b"GET " + url + b" HTTP/1.1\r\n" + HOST + b"\r\n"], app)
    assert [request.path for request in app.asked] == [path] or wire.sent.startswith(b"HTTP/1.1 400 ")


def test_the_length_of_an_answer_without_a_body():
    class Empty(Echo):
        def serve(self, request):
            status = HTTPStatus.NOT_MODIFIED if request.path == "/1" else HTTPStatus.NO_CONTENT
            return Response(status, [], b"")

    sent = talk([GET % 1 + GET % 2], Empty()).sent
    assert b" 304 " in sent and b" 204 " in sent and b"Content-Length" not in sent
    head = talk([b"HEAD /1 HTTP/1.1\r\n" + HOST + b"\r\n"]).sent
    assert b"Content-Length: 9\r\n" in head and head.endswith(b"\r\n\r\n")


def test_nothing_more_is_answered_until_an_answer_was_read():
    app, wire = Echo(), Wire()

    async def run():
        connection = Connection(app, Nobody())
        connection.connection_made(wire)
        assert wire.limit <= 1, "it hears of every byte that is not read"
        connection.pause_writing()
        connection.data_received(GET % 1 + GET % 2)
        await asyncio.sleep(0)
        assert not app.asked and not wire.reading
        connection.resume_writing()
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(run())
    assert [request.path for request in app.asked] == ["/1", "/2"] and wire.reading


def test_a_client_that_leaves_ends_its_computation():
    ended = []

    class Slow(Echo):
        async def _later(self, request):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append(request.path)
                raise

    async def run():
        connection = Connection(Slow(), Nobody())
        connection.connection_made(Wire())
        connection.data_received(b"POST /1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0)
        connection.connection_lost(None)
        for _ in range(10):
            await asyncio.sleep(0)
        assert ended == ["/1"]

    asyncio.run(run())


def test_the_last_answer_of_a_server_that_stops():
    wire, idle = Wire(), Wire()

    async def run():
        busy, other = Connection(Echo(), Nobody()), Connection(Echo(), Nobody())
        busy.connection_made(wire)
        other.connection_made(idle)
        busy.data_received(b"POST /1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + GET % 2)
        for connection in (busy, other):
            connection.finish()
        assert idle.closed and not wire.closed
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(run())
    assert lines_of(wire) == [b"POST /1 "] and b"Connection: close\r\n" in wire.sent and wire.closed


# -- over sockets ------------------------------------------------------------------------------------


class Watched(Web):
    """Says which connections have ended, by the ports of their clients."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.ended = SimpleQueue()

    def remove(self, connection):
        super().remove(connection)
        self.ended.put(connection.transport.get_extra_info("peername")[1])


@contextmanager
def listening(app, most: int = 256):
    """The port of an application that is served in a thread, and the queue of connections that have ended."""
    loop, web = asyncio.new_event_loop(), Watched(app, most)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(web.start("127.0.0.1", 0), loop).result(20), web.ended
    finally:
        asyncio.run_coroutine_threadsafe(web.stop(1.0), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"])
def test_an_answer_that_nobody_reads(last, monkeypatch):
    monkeypatch.setattr(module, "ANSWER", 0.2)
    monkeypatch.setattr(module, "SLOWEST", 1 << 40)
    with (
        listening(Echo(1 << 24)) as (port, ended),
        socket.create_connection(("127.0.0.1", port), 20) as made,
    ):
        made.sendall(b"GET /1 HTTP/1.1\r\n" + HOST + last + b"\r\n")
        assert ended.get(timeout=20) == made.getsockname()[1]


def test_a_newcomer_has_the_place_of_one_that_reads_nothing():
    with listening(Echo(1 << 24), most=2) as (port, ended):
        slow = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(2)]
        for one in slow:
            one.sendall(b"GET /1 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            one.recv(1)
        with socket.create_connection(("127.0.0.1", port), 20) as made:
            made.sendall(GET % 2)
            assert made.recv(20).startswith(b"HTTP/1.1 200 ")
            assert ended.get(timeout=20) == slow[0].getsockname()[1]
        for one in slow:
            one.close()
