"""One connection of HTTP/1.1: its requests are answered one after another, each within its time.

llhttp (the package httptools) reads requests. What it leaves to a server is here: sizes, deadlines, and a client that
asks for more before it has read.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserInvalidURLError, HttpParserUpgrade, HttpRequestParser, parse_url

# Seconds for a request's head and body together, for its answer to be made and read, and between two requests.
READ, ANSWER, IDLE = 10.0, 15.0, 30.0
# A large answer has a second more for so many bytes of it.
SLOWEST = 32768
_MOST_HEAD = 32768
_FIRST_LINES = {status: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_NO_CONTENT = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Request(NamedTuple):
    """What a client asks.

    Attributes
    ----------
    method, path : str
    headers : dict of bytes to bytes or None
        By their names in lower case; None for one that is there more than once.
    body : bytes or None
        None if it was too long.
    client : tuple
        Its address: host and port.
    """

    method: str
    path: str
    headers: dict[bytes, bytes | None]
    body: bytes | None
    client: tuple[str, int]

    def header(self, name: bytes) -> str | None:
        """A header by its name in lower case; None if it is not there, or there more than once."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


class Response(NamedTuple):
    """What a client is answered.

    Attributes
    ----------
    status : HTTPStatus
    headers : list of tuple of str
    body : bytes
    """

    status: HTTPStatus
    headers: list[tuple[str, str]]
    body: bytes


class Application(Protocol):
    """What answers requests."""

    def most_bytes(self, path: str) -> int:
        """Most bytes of a request's body."""

    def serve(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """The answer; a coroutine where something has to be computed first. Raises nothing."""


class Owner(Protocol):
    """What has connections."""

    def add(self, connection: "Connection") -> None:
        """Have one more."""

    def again(self, connection: "Connection") -> None:
        """Note that one has done something."""

    def remove(self, connection: "Connection") -> None:
        """Have one less."""


class Connection(asyncio.Protocol):
    """One connection.

    Attributes
    ----------
    host : str
        The client's.
    busy : bool
        Whether a request is being answered.
    until : float
        The loop's time at which it ends unless something happens.
    task : asyncio.Task or None
        What computes an answer.
    """

    def __init__(self, app: Application, owner: Owner):
        self._app, self._owner, self._loop = app, owner, asyncio.get_running_loop()
        self._parser = HttpRequestParser(self)
        # Requests, and whether more may follow; None for what is no request.
        self._waiting: deque[tuple[Request | None, bool]] = deque()
        self._in_head = self._over = self._paused = self._unread = self._last = False
        self._head_size = self._body_size = self._most = 0
        self.host, self.busy, self.until = "", False, 0.0
        self.task: asyncio.Task[None] | None = None

    # -- what the transport tells ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        # So that we hear of every answer that is not read at once.
        transport.set_write_buffer_limits(1)
        peer = transport.get_extra_info("peername") or ("", 0)
        self._client = peer[0], peer[1]
        self.host = peer[0]
        self._within(READ)
        self._owner.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.remove(self)
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._in_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:  # the request is in the queue; what follows is another protocol
            self._over = True
        except HttpParserError:
            self._over = True
            self._waiting.append((None, False))
        if self._in_head and self._head_size > _MOST_HEAD:
            self.end()
        else:
            self._next()

    def pause_writing(self) -> None:
        self._unread = True

    def resume_writing(self) -> None:
        self._unread = False
        if not self.transport.is_closing():
            self._within(READ if self._in_head else IDLE)
            self._next()

    # -- what the parser tells ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head, self._head_size, self._body_size, self._url = True, 0, 0, b""
        self._body: list[bytes] | None = []
        self._headers: dict[bytes, bytes | None] = {}
        if not self.busy and not self._unread:
            self._within(READ)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # a body in pieces may have more of them behind it
            name = name.lower()
            self._headers[name] = None if name in self._headers else value

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._path = _path_of(self._url)
        self._most = self._app.most_bytes(self._path)
        if self._headers.get(b"expect", b"").lower() == b"100-continue" and not self.busy and not self._waiting:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > self._most:
            self._body = None
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        more = parser.should_keep_alive() and not parser.should_upgrade() and parser.get_http_version() == "1.1"
        body = None if self._body is None else b"".join(self._body)
        method = parser.get_method().decode("ascii")
        self._waiting.append((Request(method, self._path, self._headers, body, self._client), more))

    # -- answers -----------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Begin to answer the request that is next, unless there is none or the answer before it was not read."""
        if self.busy or self._unread or self.transport.is_closing():
            self._read(not self._waiting)
            return
        if self._waiting:
            request, more = self._waiting.popleft()
            self._more, self._is_head = more, request is not None and request.method == "HEAD"
            if request is None:
                self._answer(Response(HTTPStatus.BAD_REQUEST, [("Content-Type", "text/plain")], b"this is no HTTP\n"))
            else:
                self.busy = True
                self._within(ANSWER)
                response = self._app.serve(request)
                if isinstance(response, Response):
                    self._answer(response)
                else:
                    self.task = self._loop.create_task(self._compute(response))
        self._read(not self._waiting)

    async def _compute(self, response: Coroutine[Any, Any, Response]) -> None:
        self._answer(await response)

    def _answer(self, response: Response) -> None:
        self.task, self.busy = None, False
        if self.transport.is_closing():
            return
        more = self._more and not self._last
        body = b"" if self._is_head else response.body
        self.transport.writelines((_head_of(response, more), body))
        self._owner.again(self)
        if self._unread:
            self._within(ANSWER + len(body) / SLOWEST)
        else:
            self._within(READ if self._in_head else IDLE)
        if not more:
            self.transport.close()
        elif self._waiting:  # others' requests come between those that one client sent at once
            self._loop.call_soon(self._next)

    def _read(self, wanted: bool) -> None:
        """Whether to read: not while requests wait, so that their number has a limit."""
        if wanted == self._paused and not self.transport.is_closing():
            self._paused = not wanted
            (self.transport.resume_reading if wanted else self.transport.pause_reading)()

    # -- the end -----------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Answer what is being answered, and close then."""
        self._last = True
        if not self.busy:
            self.transport.close()

    def end(self) -> None:
        """Close at once, whether what was sent was read or not."""
        self.transport.abort()

    def _within(self, seconds: float) -> None:
        self.until = self._loop.time() + seconds


def _path_of(url: bytes) -> str:
    """The path of ``/path?query`` or ``http://host/path``; "" if there is none."""
    if not url.startswith(b"/"):
        try:
            url = parse_url(url).path or b""
        except HttpParserInvalidURLError:
            url = b""
    path = url.partition(b"?")[0].decode("latin-1")
    return unquote(path) if "%" in path else path


def _head_of(response: Response, more: bool) -> bytes:
    status, headers, body = response
    lines = [_FIRST_LINES[status], *(f"{name}: {value}\r\n" for name, value in headers)]
    if status not in _NO_CONTENT:
        lines.append(f"Content-Length: {len(body)}\r\n")
    if not more:
        lines.append("Connection: close\r\n")
    lines.append(_date(int(time.time())))
    return "".join(lines).encode("latin-1")


@lru_cache(1)
def _date(seconds: int) -> str:
    return f"Date: {formatdate(seconds, usegmt=True)}\r\n\r\n"
