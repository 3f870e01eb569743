"""An HTTP server for an application (ASGI) that neither slow clients nor strangers' pages hold up or misuse.

Uvicorn speaks HTTP. What it lacks is here: a deadline for a whole request, a number of connections that nobody can use
up, and a look at the header Host.
"""

import asyncio
import ipaddress
import logging
import re
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
Headers = Iterable[tuple[str, str]]

# Seconds for a request's head and body together, for its answer to be made and read, and between two requests.
READ, ANSWER, IDLE = 10.0, 15.0, 30.0
_MOST_HEAD = 32768
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


class Web:
    """Serves an application.

    Parameters
    ----------
    app : callable
        An ASGI application; it gets HTTP requests alone.
    most : int
        Connections. When one more comes, the client that has the most of them loses the one that has been silent or
        incomplete for longest.
    """

    def __init__(self, app: App, most: int = 256):
        self._app, self._most = app, most
        self._open: dict[_Connection, None] = {}
        self._by_client: dict[tuple[str, int] | None, _Connection] = {}
        # What clients do wrong is their own affair.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._config = Config(
            self._run,
            interface="asgi3",
            lifespan="off",
            ws="none",
            proxy_headers=False,
            access_log=False,
            log_config=None,
            timeout_keep_alive=int(IDLE),
        )
        self._state = ServerState()

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port.

        Raises
        ------
        OSError
            If the address is not usable.
        """
        times = {"ssl_handshake_timeout": READ} if tls else {}
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), host, port, ssl=tls, **times
        )
        return self._server.sockets[0].getsockname()[1]

    async def stop(self, grace: float) -> None:
        """Take nothing more in, answer earlier requests within ``grace`` seconds, end."""
        self._server.close()
        for connection in list(self._open):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=grace)
        await asyncio.sleep(0)
        for connection in list(self._open):
            connection.transport.close()

    async def _run(self, scope: Message, receive: Callable, send: Callable) -> None:
        connection = self._by_client.get(scope["client"])
        try:
            await self._app(scope, receive, send)
        finally:
            if connection is not None:
                connection.answered()

    def add(self, connection: "_Connection") -> None:
        """Have one more connection, in the place of another if there are too many."""
        self._open[connection] = None
        self._by_client[connection.client] = connection
        if len(self._open) <= self._most:
            return
        waiting = [c for c in self._open if not c.busy]
        count = Counter(c.host for c in waiting)
        victim = max(waiting, key=lambda c: count[c.host], default=connection)  # of the first of these, the oldest
        victim.end()

    def again(self, connection: "_Connection") -> None:
        """Note that a connection has done something."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def remove(self, connection: "_Connection") -> None:
        """Have one connection less."""
        self._open.pop(connection, None)
        if self._by_client.get(connection.client) is connection:
            del self._by_client[connection.client]


class _Connection(HttpToolsProtocol):
    """One connection, with a deadline for what it does now."""

    def __init__(self, web: Web):
        super().__init__(config=web._config, server_state=web._state, app_state={})
        self._web, self._deadline = web, None
        self._head = 0
        self._in_head, self.busy, self.host = False, False, ""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.host = self.client[0] if self.client else ""
        self._within(READ)
        self._web.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._web.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head = self._head + len(data) if self._in_head else 0
        if self._head > _MOST_HEAD:
            self.end()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if not self.busy:
            self._within(READ)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.busy = not self.cycle.response_complete
        self._within(ANSWER if self.busy else IDLE)

    def answered(self) -> None:
        """The application is done with a request."""
        if self.busy:
            self.busy = False
            self._within(READ if self.pipeline or self._in_head else IDLE)
            self._web.again(self)

    def end(self) -> None:
        """Close at once, whether what was sent was read or not."""
        if not self.transport.is_closing():
            self.transport.abort()

    def _within(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.end)


def header(scope: Message, name: str) -> str | None:
    """A header of a request; None if it is not there, or there more than once."""
    values = [value for key, value in scope["headers"] if key == name.lower().encode()]
    return values[0].decode("latin-1") if len(values) == 1 else None


def host_is_known(scope: Message, names: Iterable[str] | None = ()) -> bool:
    """Whether a request's Host is well-formed, and an address of this machine's kind rather than a stranger's name.

    A page of a stranger's may have its own name lead to 127.0.0.1 and then read what it likes of a server here; an
    address, localhost and ``names`` cannot be had that way.

    Parameters
    ----------
    names : iterable of str or None
        Further names; None for all.
    """
    text = header(scope, "host")
    match = _HOST.fullmatch(text.encode("latin-1")) if text is not None else None
    if match is None or (match[2] and int(match[2][1:]) > 65535):
        return False
    host = match[1].decode().lower().rstrip(".")
    try:
        ipaddress.ip_address(host.strip("[]"))
        return True
    except ValueError:
        return host == "localhost" or names is None or host in names


async def body_of(receive: Callable[[], Awaitable[Message]], most: int) -> bytes | None:
    """A request's body; None if it is longer than ``most`` bytes.

    Raises
    ------
    ConnectionError
        If the client is gone.
    """
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client is gone")
        body += message.get("body", b"")
        if len(body) > most:
            return None
        if not message.get("more_body"):
            return body


async def respond(send: Callable[[Message], Awaitable[None]], status: int, headers: Headers, body: bytes) -> None:
    """Send an answer."""
    lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    lines.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
